// Least recently used, as far as referenced bits tell: aging.
//
// Each page has an age register of eight bits. Now and then all pages are gone through (a tick): each
// register is shifted to the right, and the referenced bit comes in at the left, so that the smallest
// belongs to the page that has been used least recently. It goes first; of those that are alike the one
// that has been so for longest.
//
//      register   pages                          10110000   used in the last interval, not in the one
//      00000000   [oldest] -> [] -> []                      before, in the two before that
//      00000001
//      ...                                       a tick begins when an eighth of the pages have gone:
//      10110000   [] -> []                       eight registers' bits are a whole memory's worth of
//      ...                                       page-ins, and eight looks are paid for each page
//      11111111   [] -> [] -> []
#include "vm/uvm_pdpolicy_impl.h"

namespace {

class lru final : public page_policy {
public:
    constexpr lru() : page_policy("lru") {}

    status begin(uint64_t) override {
        tick_ = gone_ = 0;
        swept_ = registers;
        return {};
    }

    void enqueue(vm_page& page, swap_slot) override {
        put(page, just_used);
        count_++;
    }

    void dequeue(vm_page& page) override {
        pages_[age(page)].remove(page);
        count_--;
    }

    vm_page* select_victim() override {
        for (; swept_ != registers; swept_++)
            if (vm_page* page = pages_[swept_].front(); page && !is_swept(*page))
                return page;
        for (const page_list& alike : pages_)
            if (vm_page* page = alike.front())
                return page;
        return nullptr;
    }

    void skip(vm_page& page) override { put_anew(page, age(page)); }

    bool spares(vm_page& page, bool referenced) override {
        const uint32_t used = referenced ? just_used : 0;
        if (!is_swept(page)) {
            put_anew(page, age(page) >> 1 | used);
            return true;
        }
        if (referenced) {
            put_anew(page, age(page) | used);
            return true;
        }
        if (++gone_ * bits >= count_)
            begin_tick();
        return false;
    }

private:
    static constexpr uint32_t bits = 8, registers = 1 << bits, just_used = registers / 2;
    static constexpr uint32_t ticks = 1 << (26 - bits); // that a mark tells from one another

    // The mark: the register, and the last tick that the page was part of. In each list those that
    // are still to be gone through come first.
    static uint32_t age(const vm_page& page) { return page.policy.when % registers; }
    bool is_swept(const vm_page& page) const { return page.policy.when / registers == tick_; }

    void put(vm_page& page, uint32_t age) {
        page.policy.when = tick_ * registers + age;
        pages_[age].push_back(page);
    }
    void put_anew(vm_page& page, uint32_t age) {
        pages_[this->age(page)].remove(page);
        put(page, age);
    }

    void begin_tick() {
        tick_ = (tick_ + 1) % ticks;
        swept_ = 0;
        gone_ = 0;
    }

    page_list pages_[registers];
    uint64_t count_ = 0;
    uint32_t gone_ = 0; // since the last tick began
    uint32_t tick_ = 0;
    uint32_t swept_ = registers; // registers whose pages the tick has gone through
};

} // namespace

page_policy& lru_policy() {
    static constinit lru policy;
    return policy;
}
