// buffer: a block of a disk in memory, for a file system's metadata; and buffer_cache, where they lie.
//
// A block lies in a page of the disk's own object (vm/uvm_vnode.h), the same that /dev/vda shows. A
// buffer pins it:
//
//     buffer b = TRY(cache.get(block, block_size));
//     b.dirty();                             // before or after it is changed, while `b` is there; it is
//     b.as<ext2_format::inode>(0)->links++;  // written later: by sync(), the syncer, the page daemon
//
// What of a block belongs together is its file system's to guard: buffers do not exclude each other.
// Nothing here waits for memory, since who holds a file system's locks is whom the page daemon may
// need: what is the kernel's own is taken, and then it is ENOMEM. buffer_cache::make_room() waits for
// some, without locks, before an operation.
#pragma once

#include "lib/disk.h"
#include "vm/uvm_vnode.h"

class buffer {
public:
    buffer() = default;
    buffer(held_page page, uint32_t offset, uint32_t size)
        : page_(std::move(page)), offset_(offset), size_(size) {}
    explicit operator bool() const { return bool(page_); }
    char* data() const { return page_.data() + offset_; }
    template <class T> T* as(uint32_t offset = 0) const {
        return reinterpret_cast<T*>(data() + offset);
    }
    // It is newer than the disk from now on until it has been written after the buffer's end.
    NO_ALLOC void dirty();

private:
    held_page page_;
    uint32_t offset_ = 0, size_ = 0;
};

// The cache of a disk or partition. There is one of each that has been asked for, and it stays for
// good, as the disk does.
class buffer_cache final : public page_store {
public:
    static expected<buffer_cache*> of(disk& d); // ENOMEM

    // The block of `size` bytes, a power of two from sector_size to page_size. EIO ENOMEM; EFAULT: it
    // lies beyond the disk's end.
    expected<buffer> get(uint64_t block, uint32_t size) {
        return hold(block, size, uvm_pages::purpose::change);
    }
    // The same of one in which there is nothing: all zeros, dirty, and read only if it is not the whole
    // page.
    expected<buffer> get_new(uint64_t block, uint32_t size);
    // The block belongs to something else from now on: what is dirty of it is not written, nor being
    // written when this returns. Sleeps.
    void forget(uint64_t block, uint32_t size) {
        object_->forget(block * size, (block + 1) * size);
    }
    // Writes all that is dirty, and waits, also when the caller is to die. EIO.
    status sync() { return object_->flush_whole(); }
    // The same of one block, which is safe then. EIO.
    status make_safe(uint64_t block, uint32_t size);
    // FLUSH: what was written before is safe. EIO.
    static status flush(disk& d);
    // Waits until there is memory for the blocks of an operation, and makes the caller write some of what
    // is dirty if that is too much. No lock is held but vnode::lock() or one before.
    static void make_room();

    // Somebody uses the disk: a description of its file, or a mount; no more. After the last one everything
    // is written, as on Linux; and what cannot be is lost.
    void opened() { open_.fetch_add(1, std::memory_order_relaxed); }
    void closed();
    // /dev/vda, as bytes: what is read and written through it is the cache's.
    const ref_ptr<uvm_vnode>& object() const { return object_; }
    disk& of() const { return disk_; }

    status read_pages(uint64_t first, std::span<vm_page* const> pages) override;
    status write_pages(uint64_t first, std::span<const dirty_page> pages) override;
    status allocate(uint64_t, uint64_t) override { return {}; }

    explicit buffer_cache(disk& d) : disk_(d) {}
    list_node of_all GUARD_UNCHECKED("buffer.cc's lock");

private:
    expected<buffer> hold(uint64_t block, uint32_t size, uvm_pages::purpose what_for);

    disk& disk_;
    ref_ptr<uvm_vnode> object_ CONSTANT_ONCE_SHARED;
    std::atomic<uint32_t> open_{0};
};
