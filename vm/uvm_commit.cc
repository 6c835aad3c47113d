#include "vm/uvm_commit.h"

#include "lib/lock.h"
#include "lib/types.h"
#include "vm/phys/event.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_swap.h"

#include <utility>

namespace uvm_commit {

namespace {
constinit spin_lock account_lock{lock_rank::vm_commit, "vm_commit"};
mode current_mode GUARDED_BY(account_lock) = mode::heuristic;
uint64_t ratio_percent GUARDED_BY(account_lock) = 50;
uint64_t limit_kib GUARDED_BY(account_lock) = 0;
uint64_t committed_pages GUARDED_BY(account_lock) = 0;

uint64_t limit_locked() REQUIRES(account_lock) {
    const uint64_t of_memory =
        limit_kib != 0 ? limit_kib / (page_size / 1024) : vm_page_total() * ratio_percent / 100;
    return of_memory + uvm_swap::pages();
}
status refuse(uint64_t pages) REQUIRES(account_lock) {
    EVENT(commit_refused, .pages = pages, .committed = committed_pages);
    return fail(Errno::nomem);
}
} // namespace

mode get_mode() {
    lock_guard guard(account_lock);
    return current_mode;
}

void set_mode(mode m) {
    lock_guard guard(account_lock);
    current_mode = m;
}

uint64_t ratio() {
    lock_guard guard(account_lock);
    return ratio_percent;
}

void set_ratio(uint64_t percent) {
    lock_guard guard(account_lock);
    ratio_percent = percent;
    limit_kib = 0;
}

uint64_t kbytes() {
    lock_guard guard(account_lock);
    return limit_kib;
}

void set_kbytes(uint64_t kib) {
    lock_guard guard(account_lock);
    limit_kib = kib;
    ratio_percent = 0;
}

status charge(uint64_t pages) {
    if (pages == 0)
        return {}; // also beyond the limit, which may have been lowered
    lock_guard guard(account_lock);
    uint64_t limit = UINT64_MAX;
    switch (current_mode) {
    case mode::heuristic:
        if (pages > vm_page_total() + uvm_swap::pages())
            return refuse(pages);
        break;
    case mode::always: break;
    case mode::strict: limit = limit_locked(); break;
    }
    if (committed_pages > limit || pages > limit - committed_pages)
        return refuse(pages);
    committed_pages += pages;
    EVENT(commit_charged, .pages = pages, .committed = committed_pages);
    return {};
}

void uncharge(uint64_t pages) {
    if (pages == 0)
        return;
    lock_guard guard(account_lock);
    if (pages > committed_pages) [[unlikely]]
        panic("broken rule: commit: what is given back was promised, and once: %lu pages are given "
              "back, of %lu that are promised",
              pages, committed_pages);
    committed_pages -= pages;
    EVENT(commit_returned, .pages = pages, .committed = committed_pages);
}

uint64_t committed() {
    lock_guard guard(account_lock);
    return committed_pages;
}

uint64_t commit_limit() {
    lock_guard guard(account_lock);
    return limit_locked();
}

account look() NO_THREAD_SAFETY_ANALYSIS { return {committed_pages, limit_locked()}; }

} // namespace uvm_commit

status commit_reservation::take(uint64_t pages) {
    TRY(uvm_commit::charge(pages));
    pages_ += pages;
    return {};
}

void commit_reservation::hand_over(uint64_t pages) {
    ASSERT(pages <= pages_);
    pages_ -= pages;
}

status commit_exchange::begin(uint64_t take, uint64_t give_back) {
    if (take > give_back) {
        TRY(uvm_commit::charge(take - give_back));
        taken_ = take - give_back;
    } else {
        left_over_ = give_back - take;
    }
    return {};
}

void commit_exchange::finish() {
    uvm_commit::uncharge(std::exchange(left_over_, 0));
    taken_ = 0;
}
