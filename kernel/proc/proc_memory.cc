// /proc/PID/maps, smaps, smaps_rollup, oom_score and oom_score_adj, in Linux's formats.
#include "kernel/files/permission.h"
#include "kernel/lifecycle/oom.h"
#include "kernel/proc/proc_facts.h"
#include "kernel/process/process.h"
#include "lib/format.h"
#include "lib/long_work.h"
#include "lib/string.h"

#include <algorithm>

namespace {

using ull = unsigned long long;

void print_region(const map_region& r, text_buffer& out) {
    char line[128];
    int n = format_to(line, sizeof(line), "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu ",
                      ull(r.start.value()), ull(r.end.value()),
                      allows(r.prot, vm_prot::read) ? 'r' : '-',
                      allows(r.prot, vm_prot::write) ? 'w' : '-',
                      allows(r.prot, vm_prot::execute) ? 'x' : '-', r.shared ? 's' : 'p',
                      ull(r.offset), device_major(r.device), device_minor(r.device), ull(r.inode));
    out.append({line, size_t(n)});
    constexpr int name_column = 73;
    if (r.name[0]) {
        for (; n < name_column; n++)
            out.append(' ');
        out.append_escaped(r.name, "\n");
    }
    out.append('\n');
}

// Calls each(region, usage, vm) for all regions.
template <class Each> status each_region(const proc_subject& of, bool with_usage, Each each) {
    ref_ptr<vmspace> vm = TRY(vmspace_of(of));
    vaddr_t from{};
    while (vm) {
        TRY(long_work::go_on());
        vm_usage usage;
        std::optional<map_region> r = vm->region_at_or_after(from, with_usage ? &usage : nullptr);
        if (!r)
            break;
        each(*r, usage);
        from = r->end;
    }
    return {};
}

struct smaps_line {
    const char* name;
    uint64_t bytes;
};

void print_lines(std::span<const smaps_line> lines, text_buffer& out) {
    for (const smaps_line& l : lines)
        print_kib(l.name, l.bytes / 1024, out);
}

uint64_t whole(uint64_t fractions) { return fractions >> vm_usage::fraction_bits; }

// What smaps and its sum have in common. There are no huge pages and no
// merged pages.
void print_usage(const vm_usage& u, uint64_t locked, bool rollup, text_buffer& out) {
    print_lines({{{"Rss", u.resident},
                  {"Pss", whole(u.proportional)},
                  {"Pss_Dirty", whole(u.proportional_dirty)}}},
                out);
    if (rollup)
        print_lines({{{"Pss_Anon", whole(u.proportional_anonymous)},
                      {"Pss_File", 0},
                      {"Pss_Shmem", whole(u.proportional - u.proportional_anonymous)}}},
                    out);
    print_lines({{{"Shared_Clean", u.shared_clean},
                  {"Shared_Dirty", u.shared_dirty},
                  {"Private_Clean", u.private_clean},
                  {"Private_Dirty", u.private_dirty},
                  {"Referenced", u.referenced},
                  {"Anonymous", u.anonymous},
                  {"KSM", 0},
                  {"LazyFree", u.lazily_freed},
                  {"AnonHugePages", 0},
                  {"ShmemPmdMapped", 0},
                  {"FilePmdMapped", 0},
                  {"Shared_Hugetlb", 0},
                  {"Private_Hugetlb", 0},
                  {"Swap", u.swapped},
                  {"SwapPss", whole(u.swapped_proportional)},
                  {"Locked", locked}}},
                out);
}

uint64_t locked_part(const map_region& r, const vm_usage& u) {
    return r.locked ? whole(u.proportional) : 0;
}

void print_flags(const map_region& r, text_buffer& out) {
    auto may = [](vm_prot prot, vm_prot right) { return allows(prot, right); };
    const struct {
        bool set;
        const char* name;
    } flags[] = {
        {may(r.prot, vm_prot::read), "rd"},
        {may(r.prot, vm_prot::write), "wr"},
        {may(r.prot, vm_prot::execute), "ex"},
        {r.shared, "sh"},
        {may(r.max_prot, vm_prot::read), "mr"},
        {may(r.max_prot, vm_prot::write), "mw"},
        {may(r.max_prot, vm_prot::execute), "me"},
        {r.shared && may(r.max_prot, vm_prot::write), "ms"},
        {r.grows_down, "gd"},
        {r.locked, "lo"},
        {r.advice == vm_advice::sequential, "sr"},
        {r.advice == vm_advice::random, "rr"},
        {r.inheritance == vm_inherit::none, "dc"},
        {r.charged, "ac"},
        {r.no_reserve, "nr"},
        {r.inheritance == vm_inherit::zero, "wf"},
    };
    out.append("VmFlags: ");
    for (const auto& f : flags)
        if (f.set)
            out.print("%s ", f.name);
    out.append('\n');
}

} // namespace

expected<ref_ptr<vmspace>> vmspace_of(const proc_subject& of) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    const auto context = process_context(*p);
    // Of another program than the one that was asked for there is nothing to be had.
    return of.program && context->program != of.program ? nullptr : context->vm;
}

status show_maps(const proc_subject& of, text_buffer& out) {
    return each_region(of, false,
                       [&](const map_region& r, const vm_usage&) { print_region(r, out); });
}

status show_smaps(const proc_subject& of, text_buffer& out) {
    return each_region(of, true, [&](const map_region& r, const vm_usage& u) {
        print_region(r, out);
        print_lines({{{"Size", r.end - r.start},
                      {"KernelPageSize", page_size},
                      {"MMUPageSize", page_size}}},
                    out);
        print_usage(u, locked_part(r, u), false, out);
        out.print("THPeligible:    %8u\n", 0u);
        print_flags(r, out);
    });
}

status show_smaps_rollup(const proc_subject& of, text_buffer& out) {
    vm_usage sum;
    uint64_t locked = 0;
    map_region all{};
    bool any = false;
    TRY(each_region(of, true, [&](const map_region& r, const vm_usage& u) {
        if (!any)
            all.start = r.start;
        all.end = r.end;
        any = true;
        sum.add(u);
        locked += locked_part(r, u);
    }));
    if (!any)
        return {};
    copy_string(all.name, sizeof(all.name), "[rollup]");
    print_region(all, out);
    print_usage(sum, locked, true, out);
    return {};
}

// ---- Out of memory ---------------------------------------------------------------------------

status show_oom_score(const proc_subject& of, text_buffer& out) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    out.print("%u\n", oom_score(*p));
    return {};
}

status show_oom_score_adj(const proc_subject& of, text_buffer& out) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    out.print("%d\n", p->oom_score_adj.load());
    return {};
}

// Anybody may make a process of his own easier to choose; root alone, harder.
status store_oom_score_adj(const proc_subject& of, std::string_view text) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    const bool negative = !text.empty() && text[0] == '-';
    text.remove_prefix(negative);
    if (text.empty() || text.size() > 4)
        return fail(Errno::inval);
    int value = 0;
    for (char c : text) {
        if (c < '0' || c > '9')
            return fail(Errno::inval);
        value = value * 10 + (c - '0');
    }
    value = negative ? -value : value;
    if (value < oom_score_adj_min || value > oom_score_adj_max)
        return fail(Errno::inval);
    if (value < p->oom_score_adj.load() && !is_superuser())
        return fail(Errno::acces);
    p->oom_score_adj.store(int16_t(value));
    return {};
}
