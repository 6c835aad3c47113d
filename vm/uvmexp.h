// uvmexp: the counters of the VM system, with NetBSD's names where it has them, per CPU and
// summed when read. The one table: X(name, "what it counts").
#pragma once

#include <cstdint>

#define UVMEXP_COUNTERS(X)                                                                         \
    X(faults, "page faults")                                                                       \
    X(forks, "address spaces copied by fork")                                                      \
    X(forks_ppwait, "forks whose parent waited (vfork, in whichever mode)")                        \
    X(forks_sharevm, "forks that shared the address space")                                        \
    X(flt_acow, "1B: anon copied, because others reference it")                                    \
    X(flt_anon, "1A and 1B: faults on a page in the amap layer")                                   \
    X(flt_obj, "2A: faults on an object's page, mapped as it is")                                  \
    X(flt_prcopy, "2B: object page promoted by copying")                                           \
    X(flt_przero, "2B: zero-filled page promoted")                                                 \
    X(flt_noram, "faults that found no free page")                                                 \
    X(flt_amcopy, "amap copies made by a fault (needs_copy cleared)")                              \
    X(flt_amcopy_free, "needs_copy cleared without a copy: the other side was gone")               \
    X(flt_anon_takeover, "write to a read-only anon that nobody else references any more")         \
    X(flt_ahead, "neighbouring pages mapped by fault-ahead")                                       \
    X(flt_spurious, "faults that found the mapping in place")                                      \
    X(flt_maperr, "faults where nothing is mapped")                                                \
    X(flt_accerr, "faults without the right")                                                      \
    X(pages_copied, "pages copied")                                                                \
    X(pages_zeroed, "pages zero-filled")                                                           \
    X(map_entries_copied, "map entries copied by fork")

enum class uvm_counter : uint8_t {
#define X(name, text) name,
    UVMEXP_COUNTERS(X)
#undef X
        count
};

// Adds to the calling CPU's counter.
void uvm_count(uvm_counter counter, uint64_t n = 1);
uint64_t uvm_read(uvm_counter counter); // summed over CPUs
const char* uvm_counter_name(uvm_counter counter);
