#include "vm/uvm_pages.h"

#include "arch/pmap.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"

#include <algorithm>

void uvm_pages::set_identity(const char* name, uint64_t device, uint64_t inode) {
    size_t length = std::min(strlen(name), name_size - 1);
    memcpy(name_, name, length);
    name_[length] = '\0';
    device_ = device;
    inode_ = inode;
}

// ---- What is there ---------------------------------------------------------------------------

vm_page* uvm_pages::place::in_memory() const {
    vm_page* p = page();
    return p && !p->busy ? p : nullptr;
}

bool uvm_pages::place::clean() const { return page() ? page()->clean : word_ & 2; }

vm_page* uvm_pages::lookup(uint64_t index) { return at(index).in_memory(); }

vm_page* uvm_pages::next_resident(uint64_t& index, uint64_t end) {
    for (; place found = next_place(index, end); index++)
        if (found.in_memory())
            return found.page();
    return nullptr;
}

vm_page* uvm_pages::resident_from(uint64_t& index) const NO_THREAD_SAFETY_ANALYSIS {
    for (; place found = next_place(index, UINT64_MAX); index++)
        if (found.page())
            return found.page();
    return nullptr;
}

uint64_t uvm_pages::resident_pages() const {
    lock_guard guard(const_cast<sleep_lock&>(lock_));
    return pages_.used();
}

status uvm_pages::allocate(uint64_t, uint64_t) { return fail(Errno::opnotsupp); }
status uvm_pages::punch(uint64_t, uint64_t) { return fail(Errno::opnotsupp); }

uint64_t uvm_pages::next(contents wanted, uint64_t offset) {
    return wanted == contents::data ? std::min(offset, size()) : size();
}

void uvm_pages::zero(uint64_t start, uint64_t end) {
    vm_page* page = start < end ? at(start >> page_shift).in_memory() : nullptr;
    if (page)
        memset(static_cast<char*>(page->data()) + (start & page_mask), 0, end - start);
}

// ---- What goes -------------------------------------------------------------------------------

void uvm_pages::free_page(vm_page& page) {
    pmap::page_protect(page, vm_prot::none);
    if (page.queued)
        uvm_pdpolicy::dequeue(page);
    if (page.wire_count == 0 && !page.busy) {
        vm_page_free(&page);
        return;
    }
    page.released = page.busy; // who moves it frees it, or else let_go()
    page.object = nullptr;
    orphans_++;
}

void uvm_pages::free_orphan(vm_page& page) {
    orphans_--;
    vm_page_free(&page);
}

// ---- Held pages ------------------------------------------------------------------------------

expected<held_page> uvm_pages::hold_bytes(uint64_t start, uint64_t size, purpose what_for) {
    return hold_all({start, start + size, what_for});
}

expected<held_page> uvm_pages::hold_all(wanted_bytes bytes) {
    for (;;) {
        page_in later;
        expected<held_page> held = try_hold(bytes, later);
        if (held)
            return held;
        TRY(page_in_finish(later));
        const bool out = held.error() == Errno::again;
        if (!out &&
            (held.error() != Errno::nomem || bytes.urgent || !uvm_pdaemon::wait_for_memory()))
            return held;
        if (bytes.urgent) // what others wait for does not end because who does it is to die
            long_work::pause();
        else
            TRY(long_work::go_on());
    }
}

void uvm_pages::written(vm_page&) {}
void uvm_pages::make_held_dirty(vm_page& page, uint8_t) { page.clean = false; }

void uvm_pages::let_go(vm_page* page, bool wrote) {
    lock_guard guard(lock_);
    ASSERT(page->wire_count > 0);
    page->wire_count--;
    if (page->object) {
        if (wrote)
            written(*page);
    } else if (page->wire_count == 0) {
        free_orphan(*page);
    }
}

held_page::held_page(ref_ptr<uvm_pages> object, vm_page* page, bool writes)
    : object_(std::move(object)), page_(page), writes_(writes) {}

held_page::held_page(held_page&& other) noexcept
    : object_(std::move(other.object_)), page_(std::exchange(other.page_, nullptr)),
      writes_(other.writes_) {}

held_page& held_page::operator=(held_page&& other) noexcept {
    std::swap(object_, other.object_);
    std::swap(page_, other.page_);
    std::swap(writes_, other.writes_);
    return *this;
}

held_page::~held_page() {
    if (page_)
        object_->let_go(page_, writes_);
}

void held_page::make_dirty(uint8_t sectors) {
    ASSERT(writes_);
    lock_guard guard(object_->lock());
    if (page_->object)
        object_->make_held_dirty(*page_, sectors);
}

char* held_page::data() const { return static_cast<char*>(page_->data()); }
