// EVENT: a step of the kernel is told of once, and all instruments hear of it.
//
//     EVENT(anon_created, .anon = anon, .page = anon->physical());
//
// lib/trace_points.def declares the events: their fields, which a trace and the explorer show
// (lib/trace.h), and the counters that each adds to (vm/phys/uvmexp.h), by how much. So ledgers and
// /proc/uvmexp need no line of their own. An event comes after its change is complete in memory.
//
// Which fork a fault is laid to (vm/vm_aftermath.h) is no column of that table: a map entry knows it,
// not the event, and uvm_faultinfo::tell says both in one line.
//
// An event may be anywhere: with locks held, interrupts off, in an interrupt. One whose category is
// off costs its counters, and a load, a test and a branch that is not taken; only the fields that
// are counted are computed then. Fields have no side effects: they may be computed twice.
#pragma once

#include "lib/trace.h"
#include "vm/phys/uvmexp.h"

#include <bit>

#define EVENT(name, ...)                                                                           \
    do {                                                                                           \
        if constexpr (trace::counted<trace::event::name>)                                          \
            trace::count(trace::event::name{__VA_ARGS__});                                         \
        if (trace::on(trace::event::name::switched_by)) [[unlikely]]                               \
            trace::record(trace::event::name{__VA_ARGS__});                                        \
    } while (false)

// ---- How it feeds the counters

namespace trace {

// Whether an event feeds a counter, and the feeding.
template <class Event> inline constexpr bool counted = false;
#define TRACE_POINT(category, name, literature, text, ...)                                         \
    template <> inline constexpr bool counted<event::name> = false __VA_ARGS__;
#define COUNTS(counter, amount) || true
#include "lib/trace_points.inc"

template <class Event> void count(const Event& event);
#define TRACE_POINT(category, name, literature, text, ...)                                         \
    template <> [[gnu::always_inline]] inline void count(const event::name& told) {                \
        (void)told;                                                                                \
        __VA_ARGS__                                                                                \
    }
#define TRACE_FIELD(type, name) [[maybe_unused]] const auto name = told.name;
#define COUNTS(counter, amount)                                                                    \
    if (const auto n = static_cast<uint64_t>(amount))                                              \
        uvm_count(uvm_counter::counter, n);
#include "lib/trace_points.inc"

} // namespace trace
