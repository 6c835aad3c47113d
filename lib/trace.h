// Trace points: what happens in the kernel, as typed events. lib/trace_points.def declares them;
// the kernel's code tells of one with EVENT (vm/phys/event.h).
//
// An event that is on goes to two places, each with a switch of its own:
//   * the ring of the calling CPU (kernel/observe/trace.h), from where it comes into a CTF trace;
//   * `trace_hook`, a function that is called at once, with the event's fields in their struct.
//     The change that the event names is complete in memory and counted (vm/phys/uvmexp.h), but the
//     caller may hold any lock:
//     page_table_*, tlb_*, commit_*, sched_*, signal_sent and exit_zombie come with spin locks
//     held. What the hook itself does makes no events.
// On the host, events go to a sink that tests read (arch/host/host_trace.h).
#pragma once

#include "lib/types.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace trace {

enum class category : uint8_t {
#define TRACE_CATEGORY(name, text) name,
#include "lib/trace_points.inc"
    count
};

enum class point : uint16_t {
#define TRACE_POINT(category, name, literature, text, ...) name,
#include "lib/trace_points.inc"
    count
};

// The types of fields. Their layout is C's and CTF's alike: each aligned to its size.
using s32 = int32_t;
using u32 = uint32_t;
using s64 = int64_t;
using u64 = uint64_t;

// An address, of whatever kind; or bits.
struct addr {
    constexpr addr(uint64_t bits) : value(bits) {}
    constexpr addr(vaddr_t va) : value(va.value()) {}
    constexpr addr(paddr_t pa) : value(pa.value()) {}
    addr(const void* object) : value(reinterpret_cast<uint64_t>(object)) {}
    uint64_t value;
};

// The beginning of a text; NUL-terminated.
struct text {
    static constexpr size_t size = 16;
    text(const char* from) {
        size_t i = 0;
        for (; from && from[i] && i < size - 1; i++)
            bytes[i] = from[i];
        for (; i < size; i++)
            bytes[i] = '\0';
    }
    char bytes[size];
};

#define TRACE_ENUM(name, values) enum class name : uint32_t { values };
#define TRACE_VALUE(name) name,
#include "lib/trace_points.inc"

constexpr yes_no yes_if(bool b) { return b ? yes_no::yes : yes_no::no; }

// A struct for each event, whose members are its fields.
namespace event {
#define TRACE_POINT(kind, name, literature, text, ...)                                             \
    struct name {                                                                                  \
        static constexpr auto id = point::name;                                                    \
        static constexpr auto switched_by = category::kind;                                        \
        __VA_ARGS__                                                                                \
    };
#define TRACE_FIELD(type, name) trace::type name;
#define TRACE_TEXT(name) trace::text name;
#include "lib/trace_points.inc"
} // namespace event

// The switches: a bit for each category that the ring or the hook wants. Change them by
// set_ring_categories() and set_hook().
extern std::atomic<uint32_t> wanted;

constexpr uint32_t bit(category c) { return uint32_t{1} << unsigned(c); }
inline constexpr uint32_t all_categories = (uint32_t{1} << unsigned(category::count)) - 1;
inline bool on(category c) { return wanted.load(std::memory_order_relaxed) & bit(c); }

void set_ring_categories(uint32_t bits);
uint32_t ring_categories();
// `fields` is the event's struct from above. Null turns the hook off; a call may still be under way
// on another CPU then.
using hook = void (*)(point id, const void* fields, size_t size);
void set_hook(hook h, uint32_t categories = all_categories);

const char* category_name(category c);
const char* point_name(point id);
// The bits of a comma-separated list of categories, or of "all"; 0 if one of them is unknown.
uint32_t parse_categories(const char* list);

// What record() hands an event to: where the hook and the ring, or the host's sink, are. In
// kernel/observe/trace.cc and arch/host/host_trace.cc.
void deliver(point id, category c, const void* fields, size_t size);

template <class Event> [[gnu::noinline, gnu::cold]] void record(const Event& e) {
    deliver(Event::id, Event::switched_by, &e, sizeof e);
}

// deliver()'s: which of the two want it.
bool wanted_by_ring(category c);
hook wanted_by_hook(category c);

} // namespace trace
