// vmspace: the address space of a process (or of several: vfork, CLONE_VM, threads): a vm_map, its
// pmap, and the accounts that go with them. Reference counted: sharing is taking a ref_ptr.
//
// Every public call locks the map itself; none may be called with a spin lock held, and all may
// sleep.
#pragma once

#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/serial.h"
#include "lib/trace_kinds.h"
#include "vm/prot.h"
#include "vm/uvm_handle.h"
#include "vm/uvm_object.h"
#include "vm/vm_map.h"

#include <atomic>
#include <optional>
#include <span>

class pmap;
class commit_reservation;

// As Linux's vm.mmap_min_addr: below it nothing is mapped but at a fixed place and by those who
// may, so that a null pointer with an offset finds nothing.
inline constexpr vaddr_t mmap_min_addr{0x10000};

// How fork makes the child's copy (kept per process; see docs/).
enum class fork_mode : uint8_t { copy, cow, cow_pte };

// A fork that is to be made, and what will count the faults that it causes later, if anybody asked
// for that.
struct fork_job {
    fork_job(fork_mode how, ref_ptr<vm_aftermath> by = {}) : mode(how), observer(std::move(by)) {}
    remembered_fork seen_from(vm_aftermath::side side) const { return {observer, side}; }

    const fork_mode mode;
    const ref_ptr<vm_aftermath> observer;
};

struct map_request {
    vaddr_t address{}; // hint, or the place when fixed
    uint64_t size = 0; // bytes, > 0; rounded up to pages
    vm_prot prot = vm_prot::none;
    vm_prot max_prot = vm_prot::all; // mprotect may not exceed it
    bool fixed = false;              // replaces what is there
    bool no_replace = false;         // with fixed: EEXIST instead
    bool below_minimum = false;      // with fixed: may be below mmap_min_addr
    bool shared = false;
    bool no_reserve = false; // not charged in modes 0 and 1
    bool populate = false;
    bool locked = false;          // MAP_LOCKED: wired from the start
    bool low = false;             // MAP_32BIT: below 2 GiB
    bool stack = false;           // grows down (MAP_GROWSDOWN)
    ref_ptr<uvm_handle> handle{}; // of a file: what it is mapped through
    ref_ptr<uvm_object> object{}; // null: anonymous memory
    uint64_t offset = 0;          // bytes into the object, page aligned
    bool storing() const { return shared && object && allows(max_prot, vm_prot::write); }
    const char* tag = nullptr; // static string shown in maps: "[heap]", "[stack]"
};

enum class fault_outcome : uint8_t {
    resolved,
    maperr,   // SIGSEGV, SEGV_MAPERR: nothing mapped there
    accerr,   // SIGSEGV, SEGV_ACCERR: mapped, but not with that right
    adrerr,   // SIGBUS, BUS_ADRERR: past the end of the object
    io_error, // SIGBUS
    nomem,    // no page to be had
};

// A byte of memory by its identity, which stays when its page is replaced and is not another's when
// it is gone.
struct memory_place {
    uint64_t shared_by; // the serial of the object or amap that has it; 0 for private memory
    uint64_t offset;    // in there, in bytes; for private memory, the address
    friend bool operator==(const memory_place&, const memory_place&) = default;
};

// One line of /proc/PID/maps. Copied out under the map lock.
struct map_region {
    vaddr_t start, end;
    vm_prot prot, max_prot;
    vm_inherit inheritance;
    vm_advice advice;
    bool shared, grows_down, locked, no_reserve, charged;
    uint64_t offset;
    uint64_t device, inode;
    char name[64];
};

// What smaps says of the pages that are mapped, as Linux has it: a page with several mappings is
// shared. The page of zeros is nobody's and not counted. Bytes, but where it says otherwise.
struct vm_usage {
    // A page counts with its size divided by the number of its mappings; in bytes / 2^12.
    static constexpr unsigned fraction_bits = 12;
    uint64_t resident = 0, anonymous = 0, referenced = 0;
    uint64_t shared_clean = 0, shared_dirty = 0, private_clean = 0, private_dirty = 0;
    uint64_t proportional = 0, proportional_dirty = 0, proportional_anonymous = 0; // fractions
    uint64_t lazily_freed = 0, swapped = 0, swapped_proportional = 0; // the last a fraction

    void add_page(vm_page& page, const struct pmap_mapping& mapping);
    void add(const vm_usage& other);
};

// The limits of setrlimit(2) that the VM enforces. They are a process's, and several may have one
// address space (vfork), so they are not kept in it.
enum class vm_limit : uint8_t {
    address_space, // RLIMIT_AS
    data,          // RLIMIT_DATA
    stack,         // RLIMIT_STACK: how far a growing stack may reach
    memlock,       // RLIMIT_MEMLOCK
};
inline constexpr uint64_t vm_unlimited = UINT64_MAX;
// The limit, in bytes, of the process that calls; any lock of vm/ may be held. The kernel sets it
// once: who calls is nothing that vm/ knows of. Until then nothing is limited.
extern uint64_t (*vm_limit_of_caller)(vm_limit which);
// Likewise: while the caller is a child that borrows this address space, what counts what comes of
// that. Null: it does not, or nobody counts.
extern ref_ptr<vm_aftermath> (*vm_borrowing_of_caller)(const class vmspace& borrowed);

// Linux's MADV_*, MREMAP_* and MS_* numbers, which advise(), remap() and sync() take.
namespace linux_abi {
enum madvise : int {
    madv_normal = 0,
    madv_random = 1,
    madv_sequential = 2,
    madv_willneed = 3,
    madv_dontneed = 4,
    madv_free = 8,
    madv_dontfork = 10,
    madv_dofork = 11,
    madv_wipeonfork = 18,
    madv_keeponfork = 19,
    madv_cold = 20,
    madv_pageout = 21,
    madv_populate_read = 22,
    madv_populate_write = 23,
};
enum mremap : int { mremap_maymove = 1, mremap_fixed = 2, mremap_dontunmap = 4 };
enum msync : int { ms_async = 1, ms_invalidate = 2, ms_sync = 4 };
} // namespace linux_abi

// Whether a fault also maps its resident neighbours, as advice says. Changed at any time
// (/proc/sys/vm).
extern std::atomic<bool> uvm_fault_ahead_enabled;
// Whether a write into a page table that fork has write-protected as a whole gives the right to
// write back to all pages in it that are the writer's alone by now, too.
extern std::atomic<bool> uvm_rights_ahead_enabled;
// Whether a read of untouched anonymous memory maps one shared page of zeros, to be replaced at the
// first write.
extern std::atomic<bool> uvm_zero_page_enabled;
// That page, which belongs to the kernel; null before memory is up.
vm_page* uvm_zero_page();
// Whether every operation that changes an address space ends with a check of it, of the first 8192
// of its pages, and every page fault with one of its page; in builds with SPORK_CHECKS. Off at
// first but for the command line's `check`: it is linear in the size of the address space.
extern std::atomic<bool> uvm_check_at_seams;

struct uvm_faultinfo;

class vmspace : public ref_counted<vmspace> {
public:
    static constexpr auto end_takes = uvm_handle::end_takes; // lower than its map
    // Empty. ENOMEM.
    static expected<ref_ptr<vmspace>> create();

    // fork: a copy of this address space. In mode cow, entries are copied with needs_copy set on
    // both sides and resident writable pages are write-protected in this pmap (uvmspace_fork). The
    // child's whole commit charge is taken first. Both sides' entries remember the job's observer,
    // if there is one, which counts what faults the fork causes. ENOMEM; EINTR: the caller is about to
    // die. Nothing has changed then, but that what the child was to share (vm_inherit::share) may
    // be ready for it, see make_amap_shared(), and what others share may be mapped with fewer
    // rights, see copy_references(): costs of later faults, and nothing that a program sees.
    expected<ref_ptr<vmspace>> fork(const fork_job& job);
    // exec, at the point of no return: the vmspace to build the new image in. If `current` is the
    // only reference it is emptied and returned; otherwise it is left alone and `fresh` (made
    // before, see exec_prepare) is.
    static ref_ptr<vmspace> exec(ref_ptr<vmspace> current, ref_ptr<vmspace> fresh);
    // Removes every mapping.
    void unmap_all();

    // mmap. Returns the address. EINVAL, ENOMEM, EEXIST as mmap(2).
    // What request.populate cannot bring in, or not before the caller is killed, comes when
    // touched.
    expected<vaddr_t> map(const map_request& request);
    status unmap(vaddr_t start, uint64_t size); // EINVAL
    // mprotect. EINVAL; ENOMEM for want of memory, limits or commit charge: nothing has changed;
    // ENOMEM for a hole, EACCES over max_protection: what lies before it has changed, as on Linux.
    // `whole_stack` (PROT_GROWSDOWN): from where the stack begins that the range lies in; EINVAL if
    // that does not grow down.
    status protect(vaddr_t start, uint64_t size, vm_prot prot, bool whole_stack = false);
    // EINVAL, ENOMEM, EAGAIN, EFAULT as madvise(2); EINTR: killed while pages were brought in.
    status advise(vaddr_t start, uint64_t size, int linux_advice);
    status inherit(vaddr_t start, uint64_t size, vm_inherit value);
    expected<vaddr_t> remap(vaddr_t old_start, uint64_t old_size, uint64_t new_size,
                            int linux_flags, vaddr_t new_start, bool below_minimum = false);
    status sync(vaddr_t start, uint64_t size, int linux_flags); // msync
    status mincore(vaddr_t start, uint64_t size,
                   uint8_t* vec); // vec: kernel memory, a byte for each page
    // mlock2; `on_fault`: what is not resident is wired when it comes. EINVAL; EAGAIN and ENOMEM
    // for want of memory or over the limit: nothing has changed; ENOMEM for a hole (what lies
    // before it is wired) or a page that may not be accessed (all is wired), as on Linux. EINTR:
    // killed before all pages were there; nothing is wired.
    status lock_pages(vaddr_t start, uint64_t size, bool on_fault = false);
    // munlock. EINVAL; ENOMEM for want of memory: nothing has changed; for a hole: what lies before
    // it has.
    status unlock_pages(vaddr_t start, uint64_t size);
    // mlockall: what is mapped now, what will be, or both. ENOMEM over the limit.
    enum class wiring : uint8_t { none, on_fault, at_once };
    status lock_all(wiring current, wiring future);
    void unlock_all(); // munlockall
    // shmdt: unmaps what is left of a mapping of an object that `wanted` takes, whose first byte
    // was mapped at `start`. EINVAL if there is none.
    status unmap_object(vaddr_t start, bool (*wanted)(uvm_object&));

    // The heap: [brk_start, brk). Set by exec. set_brk returns the new break, or the old one when
    // it cannot be (as brk(2)).
    void init_brk(vaddr_t start);
    vaddr_t set_brk(vaddr_t wanted);
    vaddr_t brk() const;
    // For exec: below what (the stack) requests without a hint are placed, top-down.
    void set_layout(vaddr_t mmap_top);

    // Resolves a fault at `address`; the whole of uvm_fault. `access` is exactly one right.
    // `maybe_mapped`: false if the processor has just found no mapping there.
    fault_outcome fault(vaddr_t address, vm_prot access, bool maybe_mapped = true);

    // Copies to or from this address space while it may not be the current one (exec's argument
    // stack, process_vm_readv, /proc/PID/cmdline). EFAULT, ENOMEM; stops at the first page that
    // cannot be had. Ignores protection when `force` is set.
    status read_memory(vaddr_t from, void* to, size_t size, bool force = false);
    status write_memory(vaddr_t to, const void* from, size_t size, bool force = false);

    // The region at or after `from`; nullopt at the end. For /proc. `usage`: what it has in memory;
    // linear in what is resident.
    std::optional<map_region> region_at_or_after(vaddr_t from, vm_usage* usage = nullptr);
    // The last region that ends at or before `to`; nullopt if there is none.
    std::optional<map_region> region_before(vaddr_t to);
    // resident_pages: mappings, those of the page of zeros with them; of those the anons' and the
    // objects'.
    struct sizes {
        uint64_t virtual_pages, resident_pages, anonymous_pages, object_pages, data_pages,
            stack_pages, text_pages, shared_pages, locked_pages, peak_virtual_pages,
            peak_resident_pages;
    };
    sizes get_sizes();
    uint64_t
    swapped_pages(); // of anonymous memory. Linear in what there is of it, if anything is out
    uint64_t commit_charge() const; // pages
    // Pages that would come free with it, about, with what the kernel keeps for it.
    uint64_t footprint();
    // What the byte at `va` is, by whatever addresses it is mapped (futexes). Memory that a child
    // is going to share by inheritance counts as shared. EFAULT; ENOMEM.
    expected<memory_place> place_of(vaddr_t va);

    pmap& physical_map() { return *pmap_; }
    // Which of membarrier(2)'s private commands its programs have announced; copied by fork,
    // emptied by exec.
    std::atomic<uint32_t> announced_barriers{0};
    snapshot_mark mark GUARD_UNCHECKED("the machine stands still");
    const vm_serial serial;
    vm_map& map_for_tests() { return map_; }
    void last_reference_gone();
    // What it holds, for who counts what there is.
    struct holding {
        uint64_t entries, amaps, anons, charged; // pages
    };
    holding holds();
    // Panics unless map, amaps, pmap and sums agree: above all, that nothing is mapped writable
    // that is to be copied before it is written. Linear.
    void check();

    // Image facts for /proc/PID/stat; set by exec, copied by fork.
    struct image {
        vaddr_t code_start, code_end, data_start, data_end, stack_start, arg_start, arg_end,
            env_start, env_end;
    } image{};

    explicit vmspace(pmap* p) : pmap_(p) {}
    ~vmspace();

private:
    friend struct uvm_faultinfo; // one fault; uvm_fault.cc
    using inherit_outcome = trace::inherit_outcome;

    // uvm_fault.cc. A fault's steps from the map on, and the same for who wants a page there. `force`: as if
    // the protection allowed it (a debugger's store into program text).
    fault_outcome fault_in(vaddr_t page, vm_prot access, bool force) EXCLUDES(map_.lock());
    [[gnu::always_inline]] fault_outcome fault_page(vaddr_t page, vm_prot access, bool force,
                                                    bool maybe_mapped) EXCLUDES(map_.lock());
    status resolve_needs_copy(vaddr_t page) EXCLUDES(map_.lock());
    enum class fault_lacks : uint8_t {
        entry,  // nothing is mapped there; a stack may grow
        amap,   // needs_copy
        page,   // it is in swap
        memory, // there was none
    };
    struct fault_patience {
        unsigned waits = 0, copies_failed = 0;
    };
    fault_outcome provide(vaddr_t page, vm_prot access, fault_lacks lacks, fault_patience& so_far)
        EXCLUDES(map_.lock());
    fault_outcome bring_in(vaddr_t page, vm_prot access) EXCLUDES(map_.lock());
    fault_outcome grow_stack(vaddr_t page) EXCLUDES(map_.lock());

    // vmspace_fork.cc
    expected<ref_ptr<vmspace>> fork_locked(const fork_job& job) EXCLUDES(map_.lock());
    status inherit_map(vmspace& parent, const fork_job& job, commit_reservation& promise)
        REQUIRES(parent.map_.lock());
    static std::optional<memory_place> shared_place(vm_map_entry& e, vaddr_t va);
    status inherit_entry(vmspace& parent, vm_map_entry& e, const fork_job& job)
        REQUIRES(map_.lock(), parent.map_.lock());
    static expected<inherit_outcome> give_memory(vmspace& parent, vm_map_entry& e, vm_map_entry& c,
                                                 fork_mode mode) REQUIRES(parent.map_.lock());
    status make_amap_shared(vm_map_entry& e) REQUIRES(map_.lock());
    static status share_amap(vmspace& parent, vm_map_entry& e, vm_map_entry& c)
        REQUIRES(parent.map_.lock());
    static expected<inherit_outcome> copy_amap(vm_map_entry& e, vm_map_entry& c, fork_mode mode);
    static expected<inherit_outcome> copy_pages(vm_map_entry& e, vm_map_entry& c);
    static status copy_references(vm_map_entry& e, vm_map_entry& c);
    void put_off_copies(const fork_job& job) REQUIRES(map_.lock());
    static bool copy_is_deferred(const vm_map_entry& e, fork_mode mode);
    static bool copy_has_the_same_anons(const vm_map_entry& e, fork_mode mode);
    uint64_t child_charge() const REQUIRES_SHARED(map_.lock());
    void write_protect_for_fork(vm_map_entry& e, const fork_job& job) REQUIRES(map_.lock());
    void seed_page_tables(vmspace& parent) REQUIRES(parent.map_.lock());

    // vmspace_mmap.cc
    expected<vaddr_t> choose_address(const map_request& request, uint64_t size) const
        REQUIRES_SHARED(map_.lock());
    bool space_free(vaddr_t start, uint64_t size) const REQUIRES_SHARED(map_.lock());
    std::optional<vaddr_t> find_space(uint64_t size) const REQUIRES_SHARED(map_.lock());
    status check_limits(uint64_t more, uint64_t more_data) const REQUIRES_SHARED(map_.lock());
    expected<vaddr_t> map_locked(map_request& request, uint64_t size, entry_list& dead)
        EXCLUDES(map_.lock());
    expected<vaddr_t> start_of_stack(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(map_.lock());
    status limit_protect(vaddr_t start, vaddr_t& end, vm_prot prot) const
        REQUIRES_SHARED(map_.lock());
    status pay_for_store(vaddr_t page) EXCLUDES(map_.lock());
    status protect_locked(vaddr_t start, vaddr_t end, vm_prot prot, bool whole_stack)
        EXCLUDES(map_.lock());
    [[nodiscard]] uint64_t unmap_locked(vaddr_t start, vaddr_t end, entry_stock& stock,
                                        entry_list& dead) REQUIRES(map_.lock());
    status grow_locked(const vm_map_entry& like, vaddr_t start, vaddr_t end) REQUIRES(map_.lock());
    status populate(vaddr_t start, vaddr_t end) EXCLUDES(map_.lock());

    // vmspace_remap.cc
    struct move; // a range on its way to another place
    expected<vaddr_t> remap_locked(move m, bool may_move, entry_list& dead) EXCLUDES(map_.lock());
    expected<vaddr_t> shrink_locked(const move& m, entry_list& dead) REQUIRES(map_.lock());
    bool grow_in_place(const move& m) REQUIRES(map_.lock());
    expected<vaddr_t> move_locked(const move& m, entry_list& dead) REQUIRES(map_.lock());
    static void fill_addition(const move& m, const vm_map_entry& like, vm_map_entry& addition);
    void detach_range(const move& m, entry_stock& stock, entry_list& moving) REQUIRES(map_.lock());
    bool is_one_mapping(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(map_.lock());

    // vmspace_advise.cc
    static bool known_advice(int advice);
    template <class Change>
    status change_range(vaddr_t start, vaddr_t end, Change change) EXCLUDES(map_.lock());
    status set_inheritance(vaddr_t start, vaddr_t end, int advice) EXCLUDES(map_.lock());
    status drop_pages(vaddr_t start, vaddr_t end, bool lazily) EXCLUDES(map_.lock());
    void drop_pages_of(vm_map_entry& e, bool lazily) REQUIRES(map_.lock());
    static void free_lazily(vm_map_entry& e, vm_amap& amap) REQUIRES(amap.lock());
    static void wipe_unshared(vm_amap& amap, slot_t first, slot_t end) REQUIRES(amap.lock());
    status populate_for_advice(vaddr_t start, vaddr_t end, vm_prot access) EXCLUDES(map_.lock());
    static bool page_resident(vm_map_entry& e, vaddr_t va);

    // vmspace_pageout.cc
    enum class layer : uint8_t { amap, object };
    status advise_paging(vaddr_t start, vaddr_t end, int advice, layer which = layer::amap)
        EXCLUDES(map_.lock());
    template <class Look>
    vaddr_t each_own_page(vm_map_entry& e, vaddr_t va, vaddr_t end, bool private_only, Look look)
        REQUIRES_SHARED(map_.lock());
    static vaddr_t bring_in_first(vm_map_entry& e, layer which, vaddr_t va, vaddr_t end,
                                  page_in& later);

    // vmspace_wire.cc
    status check_memlock(uint64_t more, Errno over) const REQUIRES_SHARED(map_.lock());
    status check_wirable(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(map_.lock());
    status lock_at_once(vaddr_t start, vaddr_t end) EXCLUDES(map_.lock());
    status set_wired(vaddr_t start, vaddr_t end, wiring how) EXCLUDES(map_.lock());
    static void set_wiring(vm_attributes& a, wiring how);
    void wire_entry(vm_map_entry& e, wiring how) REQUIRES(map_.lock());
    void wire_pages(vm_map_entry& e, bool wired) REQUIRES(map_.lock());
    void hold_wired(vaddr_t start, vaddr_t end) EXCLUDES(map_.lock());
    vaddr_t first_loose(vm_map_entry& e, vaddr_t va, vaddr_t end) REQUIRES_SHARED(map_.lock());
    void wire_as_future(vm_map_entry& e) const REQUIRES_SHARED(map_.lock());
    bool is_to_populate(vaddr_t at) const EXCLUDES(map_.lock());

    // vmspace_report.cc, vmspace_pages.h
    void note_peaks() REQUIRES(map_.lock());
    template <class Visit>
    void for_each_mapped_page(vm_map_entry& e, Visit visit) REQUIRES_SHARED(map_.lock());
    template <class Visit>
    void for_each_page(vm_map_entry& e, Visit visit) REQUIRES_SHARED(map_.lock());
    static void count_swapped_anons(vm_map_entry& e, vm_usage& usage);

    // vmspace.cc
    status move_brk(vaddr_t wanted, entry_list& dead) REQUIRES(map_.lock());
    template <class Use> bool with_resident_page(vaddr_t va, bool write, bool force, Use use);
    template <class Use>
    status for_each_piece(vaddr_t va, size_t size, bool write, bool force, Use use);
    void check_first(uint64_t pages);
    void check_entry(vm_map_entry& entry, uint64_t& pages) REQUIRES_SHARED(map_.lock());
    void check_page(vm_map_entry& entry, vaddr_t va) REQUIRES_SHARED(map_.lock());
    void check_mapping(vm_map_entry& entry, vaddr_t va, vm_anon* anon) REQUIRES_SHARED(map_.lock());
    void check_copy(const vm_map_entry& entry, vaddr_t va, const vm_anon& original,
                    const vm_anon& copy) const;
    void check_gaps() REQUIRES_SHARED(map_.lock());
    void check_gap(vaddr_t start, vaddr_t end);
    void check_empty() EXCLUDES(map_.lock());
    [[noreturn]] void rule_broken(const char* rule, const vm_map_entry& entry, vaddr_t va,
                                  const vm_anon* anon) const;
    void check_seam();
    bool afford_look() EXCLUDES(map_.lock());
    // After a fault: that one page.
    void check_fault_seam(vaddr_t page);

    vm_map map_;
    uint64_t seam_credit_ GUARDED_BY(map_.lock()) = 0; // entries that a seam may look at
    pmap* const pmap_;
    vaddr_t brk_start_ GUARDED_BY(map_.lock()){}, brk_ GUARDED_BY(map_.lock()){};
    vaddr_t mmap_top_ GUARDED_BY(map_.lock()) = user_max;
    wiring future_wiring_ GUARDED_BY(map_.lock()) = wiring::none; // MCL_FUTURE
    uint64_t peak_virtual_ GUARDED_BY(map_.lock()) = 0;           // pages; what was unmapped since
    uint64_t peak_resident_ GUARDED_BY(map_.lock()) = 0; // counts, what there is now does not
};
