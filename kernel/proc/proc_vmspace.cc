// /proc/PID/vmspace, /proc/PID/vmspace.json and /proc/vmspaces.json: address spaces laid open, at
// one instant. Spork's own; the formats are told in docs/snapshots.md.
#include "kernel/observe/record.h"
#include "kernel/observe/snapshot.h"
#include "kernel/proc/proc_facts.h"
#include "kernel/process/process.h"
#include "kernel/sched/standstill.h"

namespace {

status finish(text_buffer& out) {
    out.append('\n');
    if (!out.complete())
        return fail(Errno::nomem);
    return {};
}

// Its process, if that still runs the program that was asked for; while nothing changes.
process* look_at(const proc_subject& of) {
    assume_held(process_tree_lock);
    process* p = process_look_next(of.pid);
    if (!p || p->serial.value() != of.process_serial)
        return nullptr;
    assume_held(p->lock);
    return p->context->program == of.program ? p : nullptr;
}

} // namespace

status show_vmspace(const proc_subject& of, text_buffer& out) {
    const credentials viewer = current_credentials();
    standstill now;
    if (process* p = look_at(of))
        snapshot_text(*p, viewer, out);
    if (!out.complete())
        return fail(Errno::nomem);
    return {};
}

status show_recorded(const proc_subject& of, text_buffer& out) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    out.print("%d\n", p->recorded.load());
    return {};
}

status store_recorded(const proc_subject& of, std::string_view text) {
    if (of.pid != current_process().pid)
        return fail(Errno::perm); // the first line is of the process's own making
    return record_store(text);
}

status show_vmspace_json(const proc_subject& of, text_buffer& out) {
    const credentials viewer = current_credentials();
    standstill now;
    if (!look_at(of))
        return {};
    snapshot_json({.first = of.pid, .last = of.pid, .viewer = &viewer}, out);
    return finish(out);
}

status show_all_vmspaces_json(const proc_subject&, text_buffer& out) {
    const credentials viewer = current_credentials();
    standstill now;
    snapshot_json({.viewer = &viewer}, out);
    return finish(out);
}
