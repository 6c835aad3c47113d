// The counters of the VM system (vm/phys/uvmexp.h), in the one table: X(name, "what it counts").
// docs/counters.md is made from it by tools/counters, and the programs of docs/experiments explain
// by it what they print: it is C as well as C++.
#pragma once

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
    X(map_entries_made, "map entries made")                                                        \
    X(map_entries_copied, "map entries of a parent that fork copied to its child")                 \
    X(map_entries_freed, "map entries freed")                                                      \
    X(amaps_made, "amaps made")                                                                    \
    X(amaps_referenced, "amaps that fork gave to the child by a reference, to be copied later")    \
    X(amaps_copied, "amaps that fork copied for the child at once")                                \
    X(amaps_freed, "amaps freed")                                                                  \
    X(anons_made, "anons made, each with its page")                                                \
    X(anons_referenced, "anons that one more amap references")                                     \
    X(anons_freed, "anons freed, each with its page")                                              \
    X(pages_copied, "pages of private memory filled by copying")                                   \
    X(pages_zeroed, "pages of memory that had to be zeros")                                        \
    X(ptps_made, "page-table pages made")                                                          \
    X(ptps_freed, "page-table pages freed")                                                        \
    X(ptes_written, "page-table entries written to map a page or to raise its rights")             \
    X(ptes_protected, "mappings whose rights were lowered")                                        \
    X(ptps_protected, "page-table pages that were write-protected as a whole")                     \
    X(ptps_unprotected, "of those, how many a write has opened again")                             \
    X(rights_regained, "pages that may be written again since a neighbour was")                    \
    X(ptes_copied, "page-table entries copied from parent to child (fork mode cow+pte)")           \
    X(ptes_removed, "page-table entries removed")                                                  \
    X(flushes_local, "times that a CPU dropped translations from its own TLB")                     \
    X(flushes_remote, "times that a CPU asked others to drop translations, and waited")            \
    X(shootdowns_sent, "CPUs that were asked so")                                                  \
    X(shootdown_interrupts, "interrupts taken to answer such a request")                           \
    X(commit_charged, "pages taken into the commit account")                                       \
    X(commit_returned, "pages given back to the commit account")                                   \
    X(pageins, "page faults and others that waited for a page from swap")                          \
    X(pgswapin, "pages that came from swap")                                                       \
    X(pgswapout, "pages that were written to swap")                                                \
    X(pdpageouts, "requests that wrote them")                                                      \
    X(pgfilein, "pages that were read from files on disks, and from disks")                        \
    X(pgfileout, "pages that were written to them")                                                \
    X(fileputs, "calls of a file system that wrote them")                                          \
    X(pdwoke, "turns of the page daemon")                                                          \
    X(pdscans, "pages that it looked at")                                                          \
    X(pdreact, "of those, how many stayed: used since the last look, or wired")                    \
    X(pdbusy, "pages that it passed by, since their owner was locked")                             \
    X(pdfreed, "pages that it has freed")
