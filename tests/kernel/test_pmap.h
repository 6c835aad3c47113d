// What the tests of pmap and of TLB shootdown have in common.
#pragma once

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "arch/uaccess.h"
#include "kernel/process/thread.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

// A pmap for one test.
class test_pmap {
public:
    test_pmap() : pmap_(pmap::create()) {}
    test_pmap(const test_pmap&) = delete;
    ~test_pmap() { destroy(); }
    void destroy() {
        if (pmap_)
            pmap_->destroy();
        pmap_ = nullptr;
    }
    explicit operator bool() const { return pmap_ != nullptr; }
    pmap* operator->() const { return pmap_; }
    pmap& operator*() const { return *pmap_; }

private:
    pmap* pmap_;
};

// Pages for one test. They are unmapped from wherever they are before they are freed. (An
// owned_page is not: declare it before the pmap that maps it.)
class test_pages {
public:
    explicit test_pages(size_t count) : pages_(count) {
        for (vm_page*& page : pages_)
            if (!(page = vm_page_alloc(page_owner::anon, true)))
                return;
        complete_ = static_cast<bool>(pages_);
    }
    ~test_pages() {
        for (vm_page* page : pages_) {
            if (!page)
                continue;
            pmap::page_protect(*page, vm_prot::none);
            vm_page_free(page);
        }
    }
    test_pages(const test_pages&) = delete;
    bool complete() const { return complete_; }
    vm_page& operator[](size_t i) const { return *pages_[i]; }

private:
    kmem_array<vm_page*> pages_;
    bool complete_ = false;
};

// The running thread uses the pmap for the scope, over context switches too. The CPU keeps
// it loaded afterwards, as it does for any kernel thread.
class loaded_pmap {
public:
    explicit loaded_pmap(const test_pmap& p) {
        current_thread().user_map = &*p;
        cpu::interrupts_push_off();
        p->activate();
        cpu::interrupts_pop_off();
    }
    ~loaded_pmap() { current_thread().user_map = nullptr; }
    loaded_pmap(const loaded_pmap&) = delete;
};

// One access to the word at `va` of the loaded pmap, without any fault handling.
inline expected<uint32_t> try_read(vaddr_t va) {
    cpu::interrupts_push_off();
    expected<uint32_t> value = user_load(va);
    cpu::interrupts_pop_off();
    return value;
}
// Writes `value` if the word holds `expect`.
inline expected<uint32_t> try_write(vaddr_t va, uint32_t expect, uint32_t value) {
    cpu::interrupts_push_off();
    expected<uint32_t> seen = user_compare_exchange(va, expect, value);
    cpu::interrupts_pop_off();
    return seen;
}
inline bool can_read(vaddr_t va) { return try_read(va).has_value(); }
// Adds one to the word if it can.
inline bool can_write(vaddr_t va) {
    expected<uint32_t> seen = try_read(va);
    return seen && try_write(va, *seen, *seen + 1);
}
// The word; all ones when it cannot be read.
inline uint32_t read_word(vaddr_t va) { return try_read(va).value_or(UINT32_MAX); }
