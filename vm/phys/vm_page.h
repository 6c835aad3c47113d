// vm_page: one per physical page frame; and the allocator of free pages.
//
// Owned by the free list, by a vm_anon, by a uvm_object, or by the kernel (page tables, pools,
// stacks).
//
// The machine's part, page_machine, comes from <machine/pmap_machine.h>: default-constructed it
// says "no mapping, never referenced, never modified", and `bool mapped() const` tells whether
// there are mappings.
#pragma once

#include "arch/memory.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/result.h"
#include "lib/types.h"

#include <atomic>
#include <cstdint>
#include <machine/pmap_machine.h>

struct boot_info;
class vm_anon;
class uvm_object;

enum class page_owner : uint8_t { free, kernel, page_table, anon, object, reserved };

struct vm_page {
    page_owner owner_kind = page_owner::free;
    // Under the owner's lock, from here to `busy`.
    bool clean : 1 = true;        // object pages: not written since the pager last wrote it
    bool queued : 1 = false;      // the page daemon may choose it (vm/uvm_pdpolicy.h)
    bool wanted : 1 = false;      // while busy: somebody waits for it
    bool released : 1 = false;    // while busy: nobody has it any more
    bool placed : 1 = false;      // of a uvm_vnode: all of it has a place on the disk
    bool rests : 1 = false;       // the page daemon looks at it no more, since it is wired
    uint8_t unused_flags : 2 = 0; // so that the byte is written at once, and not changed bit by bit
    // On its way between memory and a disk (vm/uvm_pager.h): its contents are the disk's, it has no
    // mapping, and it stays its owner's.
    std::atomic<bool> busy{false};
    std::atomic<uint8_t> block_order{0}; // free pages only, for the allocator: see vm_page.cc
    // Mappings that must stay, plus holds by code that uses the page without the owner's lock.
    // Under the owner's lock.
    uint32_t wire_count = 0;
    union {
        vm_anon* anon;      // owner_kind anon
        uvm_object* object; // owner_kind object
    };
    // Object: page number within it. `unlisted`: the page of zeros, whose mappings cannot be found
    // from it. Constant while there are any.
    uint64_t index = 0;
    static constexpr uint64_t unlisted = UINT64_MAX;
    bool mappings_unlisted() const { return index == unlisted; }
    list_node queue; // free list, or a list of its owner: of anons and objects, the page daemon's
    [[no_unique_address]] page_machine md; // pv list head; belongs to pmap
    // Of the page daemon's policy, under its lock: which one has the page (vm/uvm_pdpolicy.cc), and
    // what that knows of it. In what would be padding of `md`.
    struct {
        uint32_t number : 3 = 0;
        uint32_t kind : 3 = 0;
        uint32_t when : 26 = 0;
    } policy;

    paddr_t physical() const;
    void* data() const { return direct_map(physical()); }
};

// Hands over the machine's memory. Once, before anything else in vm/.
void vm_page_init(boot_info& info);

// A page of undefined (zeroed when asked) contents. Null when there is none. Does not sleep. `kind`
// is recorded.
vm_page* vm_page_alloc(page_owner kind, bool zeroed = false);
// The same for a page of an object that the kernel itself must have: it may be one of the reserve.
vm_page* vm_page_alloc_urgently(page_owner kind, bool zeroed = false);
// The page has no mapping, no wire count and is on no list.
NO_ALLOC void vm_page_free(vm_page* page);
// The same for a page all of whose bytes are 0: who asks for a zeroed one gets it as it is.
NO_ALLOC void vm_page_free_zeroed(vm_page* page);
// 2^order physically contiguous pages, naturally aligned, for pools' big blocks and kernel stacks;
// order <= 10. Their vm_pages are neighbours in memory. Null when there are none: then, if make_room()
// gives pages back, it is tried again. No lock of this file is held while that is called.
vm_page* vm_page_alloc_contiguous(unsigned order, page_owner kind, bool (*make_room)() = nullptr);
// Frees such a block; or free its pages one by one.
NO_ALLOC void vm_page_free_contiguous(vm_page* page, unsigned order);
// Gives [start, start + size), so far occupied (a boot module), to the allocator as far as whole
// pages of it lie between the lowest and the highest usable address of the boot_info.
void vm_page_add_range(paddr_t start, uint64_t size);
// The vm_page of a physical address; null if it is not RAM that the allocator was given.
vm_page* vm_page_of(paddr_t pa);

// All pages that the allocator was given.
uint64_t vm_page_total();

struct vm_page_statistics {
    uint64_t total, free, kernel, page_table, anon, object;
};
// Takes no lock: exact while nothing changes; the total always is.
vm_page_statistics vm_page_get_statistics();
// Those that are free: exact while nothing changes.
uint64_t vm_page_count_free();
// Below `reserve` free pages, programs' pages (of anons and objects) are not to be had: what is left
// is the kernel's. Below `low`, vm_page_are_low is set, which whoever sees to that clears. 0 at first.
struct vm_page_marks {
    uint64_t reserve = 0, low = 0;
};
void vm_page_set_reserve(vm_page_marks marks);
uint64_t vm_page_get_reserve();
extern std::atomic<bool> vm_page_are_low;
// How many of the free pages wait with a processor: see vm_page.cc.
uint64_t vm_page_in_stocks();
// Pages of objects that some address space has mapped. Walks all pages, without their locks.
uint64_t vm_page_count_mapped();
// Pages that some address space has wired (mlock). Walks all pages, without their owners' locks.
uint64_t vm_page_count_wired();
// Puts an end to fear: walks all pages and panics unless the counts agree.
void vm_page_check();

// Owns a page until it is handed on.
class owned_page {
public:
    owned_page() = default;
    explicit owned_page(vm_page* page) : page_(page) {}
    owned_page(owned_page&& other) noexcept : page_(other.release()) {}
    owned_page& operator=(owned_page&& other) noexcept {
        reset();
        page_ = other.release();
        return *this;
    }
    ~owned_page() { reset(); }
    explicit operator bool() const { return page_ != nullptr; }
    vm_page* get() const { return page_; }
    vm_page* operator->() const { return page_; }
    [[nodiscard]] vm_page* release() {
        vm_page* p = page_;
        page_ = nullptr;
        return p;
    }
    void reset() {
        if (page_)
            vm_page_free(release());
    }

private:
    vm_page* page_ = nullptr;
};
