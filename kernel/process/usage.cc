#include "kernel/process/usage.h"

#include "kernel/abi/arguments.h"
#include "lib/types.h"

#include <algorithm>

void usage::add(const usage& other) {
    user_time += other.user_time;
    system_time += other.system_time;
    minor_faults += other.minor_faults;
    major_faults += other.major_faults;
    voluntary_switches += other.voluntary_switches;
    involuntary_switches += other.involuntary_switches;
    max_rss_pages = std::max(max_rss_pages, other.max_rss_pages);
}

linux_rusage usage_to_linux(const usage& u) {
    auto timeval = [](nanos_t t) {
        return linux_timeval{int64_t(t / nanos_per_second), int64_t(t % nanos_per_second / 1000)};
    };
    linux_rusage r{};
    r.utime = timeval(u.user_time);
    r.stime = timeval(u.system_time);
    r.maxrss = int64_t(u.max_rss_pages * (page_size / 1024));
    r.minflt = int64_t(u.minor_faults);
    r.majflt = int64_t(u.major_faults);
    r.nvcsw = int64_t(u.voluntary_switches);
    r.nivcsw = int64_t(u.involuntary_switches);
    return r;
}
