#include "kernel/process/usage.h"

#include "vm/phys/vm_page.h"

usage process_usage(process& p) {
    usage u = p.own_usage;
    for (const thread& t : p.threads)
        u.add(thread_usage(t));
    return u;
}

usage thread_usage(const thread& t) {
    usage u{.user_time = t.modes.user(),
            .system_time = t.modes.system(),
            .minor_faults = t.minor_faults,
            .major_faults = t.major_faults,
            .voluntary_switches = t.voluntary_switches,
            .involuntary_switches = t.involuntary_switches};
    // What a running thread has used since it was last counted. It may be counted meanwhile.
    const nanos_t all = thread_cpu_time(t), counted = u.user_time + u.system_time;
    if (all > counted)
        (t.modes.in_kernel() ? u.system_time : u.user_time) += all - counted;
    return u;
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
