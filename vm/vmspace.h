// vmspace: the address space of a process (or of several: vfork, CLONE_VM, threads): a vm_map, its pmap, and the
// accounts that go with them. Reference counted: sharing is taking a ref_ptr.
//
// Every public call locks the map itself; none may be called with a spin lock held, and all may sleep.
#pragma once

#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "vm/prot.h"
#include "vm/uvm_object.h"
#include "vm/vm_map.h"

#include <optional>
#include <span>

class pmap;

// How fork makes the child's copy (kept per process; see docs/).
enum class fork_mode : uint8_t { copy, cow, cow_pte };

// What one fork, exec or exit did, for the ledger.
struct vm_ledger {
    uint64_t entries_copied = 0, amaps_referenced = 0, amaps_copied = 0, pages_copied = 0, ptes_protected = 0;
};

struct map_request {
    vaddr_t address{};               // hint, or the place when fixed
    uint64_t size = 0;               // bytes, > 0; rounded up to pages
    vm_prot prot = vm_prot::none;
    vm_prot max_prot = vm_prot::all; // mprotect may not exceed it
    bool fixed = false;              // replaces what is there
    bool no_replace = false;         // with fixed: EEXIST instead
    bool shared = false;
    bool no_reserve = false;         // not charged in modes 0 and 1
    bool populate = false;
    bool stack = false;              // grows down (MAP_GROWSDOWN)
    ref_ptr<uvm_object> object;      // null: anonymous memory
    uint64_t offset = 0;             // bytes into the object, page aligned
    const char* tag = nullptr;       // static string shown in maps: "[heap]", "[stack]"
};

enum class fault_outcome : uint8_t {
    resolved,
    maperr,   // SIGSEGV, SEGV_MAPERR: nothing mapped there
    accerr,   // SIGSEGV, SEGV_ACCERR: mapped, but not with that right
    adrerr,   // SIGBUS, BUS_ADRERR: past the end of the object
    io_error, // SIGBUS
    nomem,    // no page to be had
};

// One line of /proc/PID/maps, with what smaps adds. Copied out under the map lock.
struct map_region {
    vaddr_t start, end;
    vm_prot prot;
    bool shared;
    uint64_t offset;
    uint64_t device, inode;
    char name[64];
    uint64_t resident_pages, anonymous_pages;
};

class vmspace : public ref_counted<vmspace> {
public:
    // Empty. ENOMEM.
    static expected<ref_ptr<vmspace>> create();

    // fork: a copy of this address space. In mode cow, entries are copied with needs_copy set on both sides
    // and resident writable pages are write-protected in this pmap (uvmspace_fork). The child's whole commit charge is taken
    // first. ENOMEM: nothing has changed.
    expected<ref_ptr<vmspace>> fork(fork_mode mode, vm_ledger& ledger);
    // exec, at the point of no return: the vmspace to build the new image in. If `current` is the only reference it is
    // emptied and returned; otherwise it is left alone and `fresh` (made before, see exec_prepare) is.
    static ref_ptr<vmspace> exec(ref_ptr<vmspace> current, ref_ptr<vmspace> fresh);
    // Removes every mapping.
    void unmap_all();

    // mmap. Returns the address. EINVAL, ENOMEM, EEXIST as mmap(2).
    expected<vaddr_t> map(const map_request& request);
    status unmap(vaddr_t start, uint64_t size);                       // EINVAL
    status protect(vaddr_t start, uint64_t size, vm_prot prot);       // EACCES ENOMEM EINVAL
    status advise(vaddr_t start, uint64_t size, int linux_advice);    // EINVAL ENOMEM
    status inherit(vaddr_t start, uint64_t size, vm_inherit value);
    expected<vaddr_t> remap(vaddr_t old_start, uint64_t old_size, uint64_t new_size, int linux_flags, vaddr_t new_start);
    status sync(vaddr_t start, uint64_t size, int linux_flags);       // msync
    status mincore(vaddr_t start, uint64_t size, uint8_t* vec);       // vec: kernel memory, a byte for each page
    status lock_pages(vaddr_t start, uint64_t size);                  // mlock
    status unlock_pages(vaddr_t start, uint64_t size);                // munlock

    // The heap: [brk_start, brk). Set by exec. set_brk returns the new break, or the old one when it cannot be (as brk(2)).
    void init_brk(vaddr_t start);
    vaddr_t set_brk(vaddr_t wanted);
    vaddr_t brk() const;
    // For exec: the layout that maps for hints-free requests use (top-down from below the stack), and stack limit.
    void set_layout(vaddr_t mmap_top, uint64_t stack_limit);

    // Resolves a fault at `address`; the whole of uvm_fault. `access` is exactly one right.
    fault_outcome fault(vaddr_t address, vm_prot access);

    // Copies to or from this address space while it may not be the current one (exec's argument stack, process_vm_readv,
    // /proc/PID/cmdline). EFAULT; stops at the first byte that cannot be copied. Ignores protection when `force` is set.
    status read_memory(vaddr_t from, void* to, size_t size);
    status write_memory(vaddr_t to, const void* from, size_t size, bool force = false);

    // The region at or after `from`; nullopt at the end. For /proc.
    std::optional<map_region> region_at_or_after(vaddr_t from);
    struct sizes { uint64_t virtual_pages, resident_pages, data_pages, stack_pages, text_pages, shared_pages, locked_pages; };
    sizes get_sizes();
    uint64_t commit_charge() const;  // pages

    pmap& physical_map() { return *pmap_; }
    vm_map& map_for_tests() { return map_; }
    void last_reference_gone();
    void check();

    // Image facts for /proc/PID/stat; set by exec, copied by fork.
    struct image { vaddr_t code_start, code_end, data_start, data_end, stack_start, arg_start, arg_end, env_start, env_end; } image{};

    ~vmspace();

private:
    explicit vmspace(pmap* p);
    friend class pool_access;
    vm_map map_;
    pmap* pmap_;
    vaddr_t brk_start_{}, brk_{};
};
