#include "vm/uvm_pdpolicy.h"

#include "lib/long_work.h"
#include "vm/uvm_pdpolicy_impl.h"

#include <iterator>

sleep_lock& page_owner_lock::get() const {
    return family_ ? static_cast<sleep_lock&>(*family_) : object_->lock();
}

namespace uvm_pdpolicy {

constinit std::atomic<bool> paging{false};

namespace {

// The policies, by the number that a page's mark has: first the one for the pages that were
// deactivated, which go before all others; then those that can be chosen, the default first.
page_policy& deactivated_pages() {
    static constinit second_chance policy("deactivated");
    return policy;
}
constexpr page_policy& (*policies[])() = {deactivated_pages, second_chance_policy,
                                          fifo_policy,       random_policy,
                                          lru_policy,        clock_pro_policy};
constexpr uint32_t deactivated = 0, first_choice = 1, policies_end = std::size(policies);

page_policy& policy(uint32_t number) { return policies[number](); }

// Who chooses a policy: one at a time.
sleep_lock choosing{lock_rank::page_policy, "page policy"};
constinit spin_lock queue_lock{lock_rank::paging, "page queue"};
// Where pages go that are queued; written under both locks.
constinit std::atomic<uint32_t> chosen{first_choice};
uint64_t count GUARDED_BY(queue_lock) = 0;

void put(vm_page& page, uint32_t number, swap_slot from) REQUIRES(queue_lock) {
    page.policy.number = number;
    policy(number).enqueue(page, from);
}

void take(vm_page& page) REQUIRES(queue_lock) { policy(page.policy.number).dequeue(page); }

// One that was deactivated is as good as any other from then on.
void pass_over(vm_page& page) REQUIRES(queue_lock) {
    if (page.policy.number != deactivated) {
        policy(page.policy.number).skip(page);
    } else {
        take(page);
        put(page, chosen, 0);
    }
}

} // namespace

void enqueue(vm_page& page, swap_slot from) {
    if (page.queued || !on())
        return;
    page.queued = true;
    page.policy = {}; // of its former life
    lock_guard guard(queue_lock);
    put(page, chosen, from);
    count++;
}

void dequeue(vm_page& page) {
    if (!page.queued)
        return;
    page.queued = false;
    lock_guard guard(queue_lock);
    take(page);
    count--;
}

void rest(vm_page& page) {
    dequeue(page);
    page.rests = true;
}

void wake(vm_page& page) {
    if (!page.rests)
        return;
    page.rests = false;
    enqueue(page);
}

void deactivate(vm_page& page) {
    if (!page.queued)
        return;
    lock_guard guard(queue_lock);
    take(page);
    put(page, deactivated, 0);
}

void went(vm_page& page, swap_slot to) {
    lock_guard guard(queue_lock);
    if (page.policy.number == chosen)
        policy(chosen).went(page, to);
}

candidate next_candidate(page_owner_lock owner_of(const vm_page&)) {
    lock_guard guard(queue_lock);
    candidate found;
    found.page = policy(deactivated).select_victim();
    if (!found.page)
        found.page = policy(chosen).select_victim();
    if (!found.page)
        return found;
    found.owner = owner_of(*found.page);
    if (found.owner && found.owner.get().try_lock())
        return found;
    pass_over(*found.page);
    found.page = nullptr;
    return found;
}

void skip(vm_page& page) {
    lock_guard guard(queue_lock);
    pass_over(page);
}

bool spares(vm_page& page, bool referenced) {
    lock_guard guard(queue_lock);
    if (policy(page.policy.number).spares(page, referenced)) {
        if (page.policy.number == deactivated)
            pass_over(page);
        return true;
    }
    take(page);
    page.queued = false;
    count--;
    if (page.policy.number == deactivated)
        page.policy = {.number = chosen, .kind = 0, .when = 0}; // which knows nothing of it
    return false;
}

uint64_t queued_pages() {
    lock_guard guard(queue_lock);
    return count;
}

const char* name(unsigned n) {
    return first_choice + n < policies_end ? policy(first_choice + n).name() : nullptr;
}

const char* name() { return policy(chosen).name(); }

// A few of the pages of a policy that is no longer chosen go to the one that is; false: there were
// none.
static bool hand_over(page_policy& from) {
    lock_guard guard(queue_lock);
    for (unsigned n = 0; n < 32; n++) {
        vm_page* page = from.select_victim();
        if (!page)
            return false;
        from.dequeue(*page);
        put(*page, chosen, 0);
    }
    return true;
}

status choose(std::string_view name) {
    uint32_t number = first_choice;
    while (number != policies_end && name != policy(number).name())
        number++;
    if (number == policies_end)
        return fail(Errno::inval);
    lock_guard choice(choosing);
    if (number == chosen)
        return {};
    page_policy& before = policy(chosen);
    TRY(policy(number).begin(vm_page_total()));
    {
        lock_guard guard(queue_lock);
        chosen = number;
    }
    while (hand_over(before))
        long_work::pause();
    before.end();
    return {};
}

} // namespace uvm_pdpolicy
