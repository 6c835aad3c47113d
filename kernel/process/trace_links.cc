#include "kernel/process/trace_links.h"

#include "kernel/process/thread.h"

void trace_link(thread& t, thread& tracer, ref_ptr<tracee> how) {
    how->traced = &t;
    how->proc = t.proc.get();
    how->tracer = &tracer;
    tracer.tracees.push_back(*how);
    t.trace = std::move(how);
    t.signals.traced = traced_on;
}

void trace_unlink(tracee& t) {
    trace_has_no_news(t);
    t.tracer->tracees.remove(t);
    t.tracer = nullptr;
    t.stop = trace_stop::none;
    t.resumed.wake_all();
    if (t.traced) {
        t.traced->signals.traced = 0;
        t.traced->trace.reset();
    } else {
        t.proc->end_traced.reset();
    }
}

tracee* tracee_find(pid_t tid) {
    if (const thread* t = thread_lookup(tid))
        return t->trace.get();
    const process* p = process_lookup(tid);
    return p ? p->end_traced.get() : nullptr;
}

tracee* trace_of_process(const process& p) {
    if (p.end_traced)
        return p.end_traced.get();
    const thread* first = p.threads.front();
    return first && first->tid == p.pid ? first->trace.get() : nullptr;
}

process* tracer_of(const process& p) {
    const tracee* t = trace_of_process(p);
    return t ? t->tracer->proc.get() : nullptr;
}

void trace_has_news(tracee& t) {
    if (!t.among_news.linked())
        t.tracer->proc->trace_news.push_back(t);
}

void trace_has_no_news(tracee& t) {
    if (t.among_news.linked())
        t.tracer->proc->trace_news.remove(t);
}
