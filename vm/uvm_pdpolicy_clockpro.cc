// CLOCK-Pro (Jiang, Chen and Zhang 2005): by the distance between the last two uses of a page, not by
// the time since the last one.
//
// A page is hot when it was used again soon after it came, within its test period; else it is cold,
// and cold ones go. Its test period begins when a page comes, and outlives its stay in memory: one that
// is wanted again soon after it went is hot when it comes back. So a scan passes through the few cold
// pages and leaves the hot ones where they are, and of a loop that is larger than memory as much stays
// as there is room for.
//
// In the paper all pages, also those that are out, stand on one clock with three hands. Here a page has
// the time (a serial number) at which it was put at the clock's head, and what a hand of the paper
// comes past is what has a smaller one:
//
//      out, in test   [] -> [] -> []           records: slot and time, the oldest first
//      cold           [] -> [] -> [] -> []     front: the cold hand; what is there goes, or is used
//      hot            [] -> [] -> [] -> []     front: the hot hand; what is not used is cold
//      ---------------------------------------> time
//               ^
//               test_end: test periods that began before are over. The hot hand takes it along, and
//               so does a record that is overwritten (the paper's test hand)
//
// How many pages are to be cold adapts itself: one more when a test period ends by a use, one less when
// by time.
//
// A fault leaves the referenced bit set, which is no second use: the first look at a page that came by
// itself takes it away.
#include "vm/phys/pool.h"
#include "vm/uvm_pdpolicy_impl.h"

#include <algorithm>

namespace {

// A serial number of 26 bits, which wraps round: what is mistaken then costs a page-in.
using serial = uint32_t;
constexpr serial serial_mask = (1 << 26) - 1;
bool is_later(serial a, serial b) { return int32_t((a - b) << 6) > 0; }

// The pages that have gone within their test periods, by slot: a ring of so many at most, and chains
// through it by the slots' remainders. Nothing here is a pointer to what may have ended: a slot that
// has become another page's is another's when that one goes.
class gone_pages {
public:
    // Page by page: memory that is worth a policy is short, and in pieces.
    status make(uint64_t pages) {
        first_ = used_ = 0;
        size_ = uint32_t(std::min<uint64_t>(pages, most));
        for (uint32_t number = 0; number < size_; number += per_block) {
            record*& block = blocks_[number / per_block];
            block = static_cast<record*>(kmem_zalloc(page_size));
            if (!block) {
                free();
                return fail(Errno::nomem);
            }
        }
        return {};
    }
    void free() {
        for (record*& block : blocks_)
            if (block)
                kmem_free(std::exchange(block, nullptr), page_size);
    }

    bool full() const { return used_ == size_; }
    bool empty() const { return used_ == 0; }
    serial oldest() const { return at(first_).when; }
    // Whether it was still out.
    bool drop_oldest() {
        const swap_slot slot = at(first_).slot;
        first_ = (first_ + 1) % size_;
        used_--;
        serial when;
        return take(slot, when);
    }
    // There is room.
    void add(swap_slot slot, serial when) {
        const uint32_t number = (first_ + used_++) % size_;
        record& r = at(number);
        r.slot = slot;
        r.when = when;
        r.after = chain(slot);
        chain(slot) = number + 1;
    }
    // The record of the slot is of no use any more; false: there was none.
    bool take(swap_slot slot, serial& when) {
        if (slot == 0)
            return false;
        for (uint32_t* link = &chain(slot); *link != 0; link = &at(*link - 1).after) {
            record& r = at(*link - 1);
            if (r.slot != slot)
                continue;
            *link = r.after;
            r.slot = 0;
            when = r.when;
            return true;
        }
        return false;
    }

private:
    struct record {
        swap_slot slot; // 0: it has come back
        serial when;
        uint32_t after; // in the slot's chain: a record's number + 1, or 0
        uint32_t chain; // the first of the chain that has this record's number
    };
    static constexpr uint32_t per_block = page_size / sizeof(record), most = 1 << 17;

    record& at(uint32_t number) const { return blocks_[number / per_block][number % per_block]; }
    uint32_t& chain(swap_slot slot) { return at(slot % size_).chain; }

    record* blocks_[most / per_block] = {};
    uint32_t size_ = 0, first_ = 0, used_ = 0;
};

class clock_pro final : public page_policy {
public:
    constexpr clock_pro() : page_policy("clock-pro") {}

    status begin(uint64_t pages) override {
        cold_wanted_ = std::max<uint64_t>(pages / 10, 1);
        now_ = test_end_ = 0;
        return gone_.make(pages);
    }
    void end() override { gone_.free(); }

    void enqueue(vm_page& page, swap_slot from) override {
        serial when;
        const bool soon = gone_.take(from, when) && is_later(when, test_end_);
        if (soon)
            want_more_cold();
        put(page, soon ? hot : fresh);
    }

    void dequeue(vm_page& page) override {
        if (page.policy.kind == hot) {
            hot_.remove(page);
            hot_count_--;
        } else {
            cold_.remove(page);
            cold_count_--;
        }
    }

    // The hot hand moves when there are too many hot pages, else the cold one.
    vm_page* select_victim() override {
        const uint64_t hot_wanted = count() - std::min(count(), cold_wanted_);
        return hot_count_ > hot_wanted || cold_.empty() ? hot_.front() : cold_.front();
    }

    void skip(vm_page& page) override { put_anew(page, cold); }

    bool spares(vm_page& page, bool referenced) override {
        const uint32_t kind = page.policy.kind;
        if (kind == hot) {
            end_tests_up_to(page.policy.when);
            put_anew(page, referenced ? hot : cold);
            return true;
        }
        if (kind == fresh && referenced) {
            put_anew(page, in_test);
            return true;
        }
        const bool tested = is_tested(page);
        if (kind != cold && !tested)
            want_fewer_cold(); // it came past its end in memory
        if (referenced) {
            if (tested)
                want_more_cold();
            put_anew(page, tested ? hot : in_test);
            return true;
        }
        if (!tested)
            page.policy.kind = cold;
        return false;
    }

    void went(const vm_page& page, swap_slot to) override {
        serial of_another;
        (void)gone_.take(to, of_another);
        if (!is_tested(page))
            return;
        if (gone_.full())
            end_oldest_test();
        gone_.add(to, page.policy.when);
    }

private:
    // The mark's kind: cold ones but for the last; those between them have a test period, and of a
    // fresh one nobody has looked at the referenced bit yet.
    enum : uint32_t { cold, in_test, fresh, hot };

    uint64_t count() const { return hot_count_ + cold_count_; }
    bool is_tested(const vm_page& page) const {
        return page.policy.kind != cold && is_later(page.policy.when, test_end_);
    }

    // At the clock's head.
    void put(vm_page& page, uint32_t kind) {
        page.policy.kind = kind;
        page.policy.when = now_ = (now_ + 1) & serial_mask;
        (kind == hot ? hot_ : cold_).push_back(page);
        (kind == hot ? hot_count_ : cold_count_)++;
    }
    void put_anew(vm_page& page, uint32_t kind) {
        dequeue(page);
        put(page, kind);
    }

    void end_tests_up_to(serial when) {
        while (!gone_.empty() && !is_later(gone_.oldest(), when))
            end_oldest_test();
        if (is_later(when, test_end_))
            test_end_ = when;
    }
    void end_oldest_test() {
        if (is_later(gone_.oldest(), test_end_))
            test_end_ = gone_.oldest();
        if (gone_.drop_oldest())
            want_fewer_cold();
    }
    void want_more_cold() { cold_wanted_ = std::min(cold_wanted_ + 1, count()); }
    void want_fewer_cold() { cold_wanted_ = std::max<uint64_t>(cold_wanted_ - 1, 1); }

    page_list hot_, cold_;
    uint64_t hot_count_ = 0, cold_count_ = 0;
    uint64_t cold_wanted_ = 1;
    serial now_ = 0, test_end_ = 0;
    gone_pages gone_;
};

} // namespace

page_policy& clock_pro_policy() {
    static constinit clock_pro policy;
    return policy;
}
