// What the model knows: vm_model.cc compares it with the real state; vm_model_memory.cc,
// vm_model_process.cc and vm_model_access.cc change both.
#pragma once

#include "tests/host/vm_model.h"
#include "tests/host/vm_paging.h"
#include "tests/host/vm_program.h"

#include <array>
#include <memory>

namespace vm_model {

inline constexpr unsigned window = 40; // pages of each process
inline constexpr unsigned heap_page = 30;
inline constexpr unsigned most_processes = 4;
inline constexpr unsigned files = 2, file_pages = 12;
inline constexpr vaddr_t base{0x1000'0000};

constexpr vaddr_t address(unsigned page) { return base + pages(page); }

// The bytes of a page that are ever written. All others must stay zero.
inline constexpr uint64_t offsets[] = {0, 1, 511, 1024, 2047, 2048, 4000, 4095};
inline constexpr size_t samples = std::size(offsets);
using contents = std::array<uint8_t, samples>;

struct object {
    ref_ptr<uvm_aobj> real; // null for anonymous shared memory: the kernel has it
    uint64_t size = 0;      // bytes
    uint64_t charged = 0;   // pages
    std::vector<contents> page;

    bool has(uint64_t index) const { return index < pages_of(size); }
};
using object_ref = std::shared_ptr<object>;

// The private contents of a page. After inheritance by sharing several processes have one cell.
struct cell {
    bool promoted = false; // false: what the object has, or zeros
    contents value{};
    // After MADV_FREE: it may have become this instead, or yet do so; until somebody sees which.
    bool lazy = false;
    contents lost{};

    void free_lazily() {
        lazy = promoted;
        lost = {};
    }
    void is_lost() {
        value = lost;
        lazy = false;
    }
    void put(unsigned sample, uint8_t byte) { value[sample] = lost[sample] = byte; }
};

struct page {
    bool mapped = false, shared = false, charged = false, wired = false, on_fault = false,
         no_reserve = false, stack = false, heap = false;
    object_ref object{};
    uint64_t index = 0; // in the object
    vm_prot prot = vm_prot::none;
    vm_inherit inherit = vm_inherit::copy, default_inherit = vm_inherit::copy;
    vm_advice advice = vm_advice::normal;
    std::shared_ptr<cell> own{}; // private mappings

    bool accountable() const { return !shared && allows(prot, vm_prot::write); }
};

// An address space; after a vfork two processes have one.
struct space {
    std::array<page, window> pages;
    uint64_t brk = 0; // bytes above the heap's start
};

// What the limits of a process are about, in pages.
struct amounts {
    uint64_t mapped = 0, data = 0, locked = 0;

    void add(const page& p) {
        mapped += p.mapped;
        data += p.mapped && p.accountable() && !p.stack;
        locked += p.mapped && p.wired;
    }
    amounts beyond(const amounts& other) const {
        auto excess = [](uint64_t a, uint64_t b) { return a > b ? a - b : 0; };
        return {excess(mapped, other.mapped), excess(data, other.data),
                excess(locked, other.locked)};
    }
};

struct process {
    vm_ref vm;
    std::shared_ptr<space> memory;
    struct { // pages
        uint64_t address_space = UINT64_MAX, data = UINT64_MAX, memlock = UINT64_MAX;
    } limits{};

    page& at(unsigned i) const { return memory->pages[i]; }
};

// What a program gets for an access: a byte, or a signal (signal_of()).
inline constexpr int maperr = -1, accerr = -2, adrerr = -3, nomem = -4;

// What vm/ has at an address, looked up without a fault.
struct real_page {
    bool anon = false;         // the amap has it
    bool past_the_end = false; // of the object
    page_place place{};        // nowhere: zeros

    // In swap alone.
    bool out() const { return place.there && !place.resident && !place.busy; }
};
real_page look(vm_map_entry& entry, vaddr_t at);

class model {
public:
    model();
    void step(const model_operation& op);
    // All pages of all processes, their attributes, the accounts.
    void compare();
    // As compare(), but every byte of every page, and by the program's own loads, which bring all
    // pages in.
    void compare_by_loads();

private:
    struct range {
        process& p;
        unsigned first, end;
        uint32_t value;

        unsigned count() const { return end - first; }
        vaddr_t start() const { return address(first); }
        uint64_t size() const { return pages(count()); }
    };

    static void expect(bool agrees, const char* what);

    process start_process();
    static void runs(const process& p);
    void add_space(process& p);
    page* next_mapped(const process& p, unsigned from, unsigned* where = nullptr) const;
    const contents* read_contents(const page& p) const;
    bool would_refuse(uint64_t pages) const;
    bool promised(bool no_reserve) const;
    uint64_t charge_of_all() const;
    static amounts amounts_of(const process& p, unsigned first, unsigned end);
    // Whether so much more is over a limit of the process: ENOMEM; of locked memory: EAGAIN.
    static bool over_limits(const process& p, const amounts& more);
    static bool over_memlock(const process& p, uint64_t more);

    // Accesses. Each returns what the program gets.
    int expected_fault(process& p, unsigned at, vm_prot access, bool force = false);
    int expected_read(process& p, unsigned at, unsigned sample);
    // Whether that is what a program may read.
    bool reads(process& p, unsigned at, unsigned sample, int got);
    int expected_write(process& p, unsigned at, unsigned sample, uint8_t byte, bool force = false);
    bool grow_stack(process& p, unsigned at);
    bool promote(page& p);
    void populate(process& p, unsigned first, unsigned end);
    void populate_real(process& p, unsigned first, unsigned end);

    static unsigned first_hole(const range& r);
    static bool has_hole(const range& r);
    static bool any_mapped(const range& r);
    static bool any_wired(const range& r);
    static bool one_mapping(const process& p, unsigned first, unsigned end);
    uint64_t charged(const process& p, unsigned first, unsigned end) const;

    // Nothing fails any more in this step.
    void fail_nothing();
    // Whether the allocation that was to fail has; as fail_nothing().
    bool allocation_failed();

    // The operations: vm_model_memory.cc,
    void map(range r);
    void unmap(range r);
    void protect(range r);
    void advise(range r);
    void inherit(range r);
    void remap(range r);
    void resize_in_place(range r, unsigned new_count, bool may_move);
    void move(range r, unsigned new_count, unsigned to, int flags);
    void lock(range r);
    void unlock(range r);
    void sync(range r);
    void brk(process& p, uint32_t value);
    // vm_model_process.cc,
    void fork(process& p, uint32_t value);
    void vfork(process& p);
    void exec(process& p);
    void exit(process& p);
    void limit(process& p, uint32_t value);
    void overcommit(uint32_t value);
    void switches(uint32_t value);
    // vm_model_paging.cc,
    void swap_on(uint32_t value);
    void swap_off(uint32_t value);
    void page_out(uint32_t value);
    void disk_error(process& p, unsigned first, uint32_t value);
    void read_error(process& p, unsigned at, swap_slot slot, uint32_t value);
    void write_error(uint32_t value);
    void look_at_swapoffs();
    bool too_much_is_promised_without(const sim_disk& d) const;
    // and vm_model_access.cc.
    void read(range r);
    void write(range r);
    void poke(range r);
    void truncate(unsigned file, uint32_t value);
    void file_write(unsigned file, uint32_t value);
    void file_read(unsigned file, uint32_t value);

    // Comparing (vm_model.cc).
    void compare_process(const process& p);
    void compare_page(const process& p, unsigned at, vm_map_entry& entry);
    void compare_accounts(bool quiet);
    void compare_swap(uint64_t slots);
    void compare_file(object& file);

    // First: pages are queued from the beginning, and what is out ends before it does.
    paging_machine paging_;
    object_ref file_[files];
    std::vector<std::weak_ptr<object>> anonymous_; // shared memory that is charged for
    std::vector<process> processes_;
    uint64_t committed_before_, anons_before_, object_pages_before_;
    bool strict_ = false;
    uint64_t limit_ = 0;     // pages, in strict mode; swap comes on top of them
    uint64_t committed_ = 0; // when the step began
    // An allocation may fail in this step, or a request.
    bool injected_ = false, allocation_fails_ = false;
    // A swapoff that goes on beside the operations.
    struct {
        bool under_way = false, ended = false;
        sim_disk* of = nullptr;
        status result{};
        bool refused = false;       // the account has promised too much
        uint64_t failed_before = 0; // requests
    } swapoff_;
    bool daemon_at_work_ = false; // beside them, too
    // What compare() has come by; kept to save allocations.
    struct seen_anon {
        const vm_anon* anon;
        page_place place;
    };
    std::vector<seen_anon> anons_;
    std::vector<uvm_aobj*> object_list_;
};

} // namespace vm_model
