// page_policy: in what order pages go, for those who write a policy.
//
// A policy is one source file, vm/uvm_pdpolicy_NAME.cc, that knows nothing of locks, owners, page tables
// and disks: it has pages (the list node and the mark of each vm_page are its own while it has the
// page), says which to look at next, and is told what was seen there. So the same file runs in the
// kernel, on the simulated machine, and in a simulator over strings of references (tests/replacement).
//
//                         select_victim
//      enqueue ---> [ the policy's pages ] ---> looked at --- spares ---.
//         ^                    ^                    |                   |
//         |                    '--------------------+-------------------'
//         |                                         '--- goes: dequeue, and went
//         '---- comes back from its slot -------------------'
//
// All of it is called under the queue's lock (vm/uvm_pdpolicy.cc), with interrupts off for as long as
// one step takes: no step may go through all pages. Nothing but begin() allocates.
#pragma once

#include "lib/list.h"
#include "lib/result.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_swap.h"

class page_policy {
public:
    using page_list = list<vm_page, &vm_page::queue>;

    const char* name() const { return name_; }

    // Before the first page, with an idea of how many there will be: makes what the policy needs
    // to know of pages that are out. ENOMEM. end(): it has no page any more, and gives it back.
    virtual status begin(uint64_t pages) { return {}; }
    virtual void end() {}

    // The policy has the page from now on. `from`: the slot that it has come from, because somebody
    // wanted it; 0: a new one, or one that came along.
    virtual void enqueue(vm_page& page, swap_slot from) = 0;
    // It has it no more.
    virtual void dequeue(vm_page& page) = 0;

    // Where to look next; null: there is no page. It stays the policy's.
    virtual vm_page* select_victim() = 0;
    // The page, which was selected, cannot go now, used or not: others are to be looked at first.
    virtual void skip(vm_page& page) = 0;
    // Whether the page, which was selected, stays, by whether it was referenced since it was last
    // looked at. If it goes, dequeue() comes next; and went() when it is in its slot, unless it was
    // wanted again before. The mark tells went() what the policy knew; nothing, if all of it is 0.
    virtual bool spares(vm_page& page, bool referenced) = 0;
    virtual void went(const vm_page& page, swap_slot to) {}

protected:
    explicit constexpr page_policy(const char* name) : name_(name) {}
    ~page_policy() = default;

private:
    const char* const name_;
};

// One list, from whose front pages go: what the simplest policies have in common.
class one_list_policy : public page_policy {
public:
    void enqueue(vm_page& page, swap_slot) override { pages_.push_back(page); }
    void dequeue(vm_page& page) override { pages_.remove(page); }
    vm_page* select_victim() override { return pages_.front(); }
    void skip(vm_page& page) override {
        pages_.remove(page);
        pages_.push_back(page);
    }

protected:
    using page_policy::page_policy;
    page_list pages_; // the one that came first is at the front
};

// A page that was used since its last turn gets another one (Corbato 1968: the clock).
class second_chance final : public one_list_policy {
public:
    explicit constexpr second_chance(const char* name) : one_list_policy(name) {}
    bool spares(vm_page& page, bool referenced) override;
};

// Those that can be chosen (vm/uvm_pdpolicy.cc). Each has a file.
page_policy& second_chance_policy();
page_policy& fifo_policy();
page_policy& random_policy();
page_policy& lru_policy();
page_policy& clock_pro_policy();
