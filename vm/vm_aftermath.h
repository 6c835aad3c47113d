// vm_aftermath: the page faults that one fork causes later, in the parent and in the child.
//
// Owned by the ledger of the process that forked (kernel/process/ledger.h) and by the map entries
// that remember the fork. The counts are atomic: both sides fault when they like.
//
// Which faults are laid to a fork. Each map entry remembers the last fork that changed what its
// faults will be, and on which side of it the entry is (vm_map_entry::last_fork):
//
//      parent's entry     the last fork that write-protected it. Its faults are the writes to a page
//                         of the amap that the page table has, but without the right.
//      child's entry      the fork that made it, until a fork of the child's own write-protects it.
//                         Its faults are those on a page that some layer has and the page table was
//                         not given, and the same writes as the parent's.
//
// So a fault that would have come without the fork is not counted: a page that nobody has touched
// (zeros), or the first write to a page of a private file. Two rough edges, both for the sake of
// one pointer an entry. Where two forks have write-protected pages of one entry, the later one has
// them all. And a page that the process itself has unmapped or made read-only (MADV_DONTNEED of a
// file, mprotect) and touches again looks as if the fork had done that.
//
// Page-ins are laid by the page: to the child's fork, if it has the page from its parent; to the
// parent's, while the child has the page, too. A child that borrows its parent's address space has
// no entries of its own: all that its faults bring in until it lets go is laid to what made it
// (vm_borrowing_of_caller).
#pragma once

#include "lib/ref_ptr.h"
#include "lib/trace_kinds.h"

#include <atomic>
#include <cstdint>

// X(name, "what it counts"), for each side.
#define VM_AFTERMATH(X)                                                                            \
    X(write_copied, "write faults that copied a page, because others still have it (1B)")          \
    X(write_reused, "write faults that copied nothing: nobody else has the page any more (1A)")    \
    X(read_anon, "read faults on a page of the amap (1A)")                                         \
    X(read_object, "faults on a page of the object, mapped as it is (2A)")                         \
    X(amap_copied, "amaps copied, before the first write to one that both sides had")              \
    X(amap_reused, "amaps not copied: the other side had let go of it")                            \
    X(paged_in, "faults that waited for a page from swap that both sides had")

class vm_aftermath final : public ref_counted<vm_aftermath> {
public:
    static constexpr auto end_takes = lock_rank::pool;
    enum class side : uint8_t { parent, child };
    enum class kind : uint8_t {
#define X(name, text) name,
        VM_AFTERMATH(X)
#undef X
            count
    };
    static constexpr unsigned kinds = unsigned(kind::count);

    // Null when out of memory: then nobody keeps count.
    static ref_ptr<vm_aftermath> create();
    void last_reference_gone();

    void count(side s, kind k) {
        counts_[unsigned(s)][unsigned(k)].fetch_add(1, std::memory_order_relaxed);
    }
    uint64_t read(side s, kind k) const {
        return counts_[unsigned(s)][unsigned(k)].load(std::memory_order_relaxed);
    }
    bool nothing_yet(side s) const;
    static const char* name(kind k);
    // Whether this fork came after `other`.
    bool later_than(const vm_aftermath& other) const { return number_ > other.number_; }
    // How many forks there have been; whether this one came after so many.
    static uint32_t now();
    bool came_after(uint32_t so_many) const { return int32_t(uint32_t(number_) - so_many) >= 0; }

    explicit vm_aftermath(uint64_t number) : number_(number) {}

private:
    const uint64_t number_; // of the fork, since boot
    std::atomic<uint64_t> counts_[2][kinds]{};
};

// A map entry's memory of a fork. Guarded as the entry is.
struct remembered_fork {
    ref_ptr<vm_aftermath> aftermath; // null: none
    vm_aftermath::side side = vm_aftermath::side::parent;

    // A fault that it caused; an amap that it left shared, and that may be written to now.
    void count(trace::fault_kind kind, bool write) const;
    void count(trace::write_right how) const;
    void count_page_in() const {
        if (aftermath)
            aftermath->count(side, vm_aftermath::kind::paged_in);
    }
    bool child() const { return aftermath && side == vm_aftermath::side::child; }
    // Of two entries that become one.
    void keep_later(const remembered_fork& other);
};
