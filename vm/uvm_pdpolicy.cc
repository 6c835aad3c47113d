#include "vm/uvm_pdpolicy.h"

#include "lib/string.h"
#include "vm/phys/vm_page.h"

#include <iterator>

sleep_lock& page_owner_lock::get() const {
    return family_ ? static_cast<sleep_lock&>(*family_) : object_->lock();
}

namespace uvm_pdpolicy {

constinit std::atomic<bool> paging{false};

namespace {

using page_list = list<vm_page, &vm_page::queue>;

constinit spin_lock queue_lock{lock_rank::paging, "page queue"};
constinit page_list pages GUARDED_BY(queue_lock); // the one that came first is at the front
uint64_t count GUARDED_BY(queue_lock) = 0;
uint64_t random_state GUARDED_BY(queue_lock) = 1;

// ---- The policies ----------------------------------------------------------------------------

struct policy {
    const char* name;
    // Where the daemon looks next: some page of the queue.
    vm_page* (*next)();
    bool (*spares)(bool referenced);
};

vm_page* oldest() REQUIRES(queue_lock) { return pages.front(); }

// One of the next few: so a page may wait long, and the queue need not be gone through.
vm_page* one_of_the_oldest() REQUIRES(queue_lock) {
    random_state = random_state * 6364136223846793005 + 1442695040888963407; // Knuth's MMIX
    vm_page* page = pages.front();
    for (uint64_t n = random_state >> 58; page && n != 0; n--)
        if (vm_page* after = pages.next(*page))
            page = after;
    return page;
}

constexpr policy policies[] = {
    // A page that was used since its last turn gets another one (Corbato 1968: the clock).
    {"second-chance", oldest, [](bool referenced) { return referenced; }},
    // First in, first out, used or not (Belady, Nelson and Shedler 1969: its anomaly).
    {"fifo", oldest, [](bool) { return false; }},
    {"random", one_of_the_oldest, [](bool) { return false; }},
};
constexpr const char* policy_names[] = {policies[0].name, policies[1].name, policies[2].name};
constinit std::atomic<const policy*> chosen{&policies[0]};

void append(vm_page& page) REQUIRES(queue_lock) {
    pages.push_back(page);
    count++;
}

void take(vm_page& page) REQUIRES(queue_lock) {
    pages.remove(page);
    count--;
}

} // namespace

void enqueue(vm_page& page) {
    if (page.queued || !on())
        return;
    page.queued = true;
    lock_guard guard(queue_lock);
    append(page);
}

void dequeue(vm_page& page) {
    if (!page.queued)
        return;
    page.queued = false;
    lock_guard guard(queue_lock);
    take(page);
}

candidate next_candidate(page_owner_lock owner_of(const vm_page&)) {
    lock_guard guard(queue_lock);
    candidate found{.page = chosen.load(std::memory_order_relaxed)->next(), .owner = {}};
    if (!found.page)
        return found;
    found.owner = owner_of(*found.page);
    take(*found.page);
    if (found.owner && found.owner.get().try_lock()) {
        found.page->queued = false;
    } else {
        append(*found.page);
        found.page = nullptr;
    }
    return found;
}

bool spares(bool referenced) { return chosen.load(std::memory_order_relaxed)->spares(referenced); }

uint64_t queued_pages() {
    lock_guard guard(queue_lock);
    return count;
}

std::span<const char* const> names() { return policy_names; }
const char* name() { return chosen.load(std::memory_order_relaxed)->name; }

status choose(const char* name) {
    for (const policy& p : policies)
        if (strcmp(p.name, name) == 0) {
            chosen.store(&p, std::memory_order_relaxed);
            return {};
        }
    return fail(Errno::inval);
}

} // namespace uvm_pdpolicy
