// The resources that a process has used.
#pragma once

#include "kernel/abi/arguments.h"
#include "lib/types.h"

#include <cstdint>

// Resources used by a process, or by its children that were waited for.
struct usage {
    nanos_t user_time = 0, system_time = 0;
    uint64_t minor_faults = 0, major_faults = 0, voluntary_switches = 0, involuntary_switches = 0,
             max_rss_pages = 0;
    void add(const usage& other);
};
linux_rusage usage_to_linux(const usage& u); // as the ABI writes them
