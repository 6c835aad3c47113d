// A page of a program's memory without a program.
#pragma once

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "lib/assert.h"
#include "vm/phys/vm_page.h"

// One page at `base`, in the pmap that is loaded. The kernel thread that runs the test keeps it,
// for nothing that it does sleeps.
class mapped_page {
public:
    static constexpr vaddr_t base{0x40'0000};

    explicit mapped_page(vm_prot prot)
        : map_(pmap::create()), page_(vm_page_alloc(page_owner::kernel, true)) {
        ASSERT(map_ && page_);
        status entered = map_->enter(base, *page_, prot);
        ASSERT(entered.has_value());
        activate(*map_);
    }
    ~mapped_page() {
        activate(pmap::kernel());
        map_->remove(base, base + page_size);
        map_->destroy();
        vm_page_free(page_);
    }
    mapped_page(const mapped_page&) = delete;
    char* data() const { return static_cast<char*>(page_->data()); }

private:
    static void activate(pmap& map) {
        cpu::interrupts_push_off();
        map.activate();
        cpu::interrupts_pop_off();
    }
    pmap* map_;
    vm_page* page_;
};
