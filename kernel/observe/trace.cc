#include "kernel/observe/trace.h"

#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/timer.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "lib/lock.h"
#include "lib/string.h"
#include "lib/trace.h"
#include "vm/phys/vm_page.h"

#include <algorithm>
#include <bit>

namespace {

constexpr size_t ring_packet_size = 32 * 1024;

enum class when_full : uint8_t { drain, drop, overwrite };

// Written by its own CPU alone, with interrupts off.
struct alignas(64) cpu_ring {
    char* packets = nullptr; // `count` of ring_packet_size each; null: the ring is off
    uint32_t count = 0;
    uint32_t current = 0;   // which is being filled
    uint32_t first = 0;     // the oldest one that is not written to the port yet
    uint64_t sequence = 0;  // of the next packet
    uint64_t discarded = 0; // events
    uint64_t recorded = 0;
    std::atomic<bool> busy{false}; // an event is being put in: trace_finish() waits

    trace_packet_header& packet(uint32_t i) const {
        return *reinterpret_cast<trace_packet_header*>(packets + i * ring_packet_size);
    }
};

cpu_ring rings[max_cpus];
when_full policy;
bool has_port;
std::atomic<uint32_t> next_serial{0};
spin_lock port_lock{lock_rank::trace, "trace port"};

size_t bytes_in(const trace_packet_header& p) { return p.content_size / 8; }
// Where in a packet the next event goes.
size_t place_of_next(const trace_packet_header& p) { return (bytes_in(p) + 7) & ~size_t{7}; }

// ---- The way out -----------------------------------------------------------------------------

// Padded, so that the next packet of the stream is aligned in its file, too.
void write_packet(trace_packet_header& p) {
    const size_t size = place_of_next(p);
    p.packet_size = size * 8;
    machine_write_trace_port(&p, size);
}

// CTF 1.8.3, section 7.1: metadata as a packet.
struct [[gnu::packed]] metadata_packet_header {
    uint32_t magic = 0x75d11d57;
    uint8_t uuid[16] = {};
    uint32_t checksum = 0;
    uint32_t content_size; // bits
    uint32_t packet_size;
    uint8_t compression_scheme = 0, encryption_scheme = 0, checksum_scheme = 0;
    uint8_t major = 1, minor = 8;
};

void write_metadata() {
    const auto bits = uint32_t((sizeof(metadata_packet_header) + trace_metadata_size) * 8);
    const metadata_packet_header header{.content_size = bits, .packet_size = bits};
    machine_write_trace_port(&header, sizeof header);
    machine_write_trace_port(trace_metadata, trace_metadata_size);
}

// ---- The rings -------------------------------------------------------------------------------

void begin_packet(cpu_ring& r, unsigned cpu) {
    const nanos_t time = now();
    r.packet(r.current) = {.magic = trace_packet_header::ctf_magic,
                           .stream_id = 0,
                           .timestamp_begin = time,
                           .timestamp_end = time,
                           .content_size = sizeof(trace_packet_header) * 8,
                           .packet_size = ring_packet_size * 8,
                           .events_discarded = r.discarded,
                           .packet_seq_num = r.sequence++,
                           .cpu_id = cpu,
                           .event_count = 0};
}

// Makes room for another packet's worth of events; false if there is none.
bool next_packet(cpu_ring& r, unsigned cpu) {
    const uint32_t following = (r.current + 1) % r.count;
    switch (policy) {
    case when_full::drain: {
        lock_guard guard(port_lock);
        write_packet(r.packet(r.current));
        r.first = following;
        break;
    }
    case when_full::drop:
        if (following == r.first)
            return false;
        break;
    case when_full::overwrite:
        if (following == r.first) {
            r.discarded += r.packet(following).event_count;
            r.first = (following + 1) % r.count;
        }
        break;
    }
    r.current = following;
    begin_packet(r, cpu);
    return true;
}

// Interrupts are off.
void put(cpu_ring& r, unsigned cpu, trace::point id, const void* fields) {
    const uint32_t serial = next_serial.fetch_add(1, std::memory_order_relaxed);
    const size_t size = trace_field_bytes[unsigned(id)];
    if (place_of_next(r.packet(r.current)) + sizeof(trace_event_header) + size > ring_packet_size &&
        !next_packet(r, cpu)) {
        r.packet(r.current).events_discarded = ++r.discarded;
        return;
    }
    trace_packet_header& p = r.packet(r.current);
    const size_t place = place_of_next(p);
    char* at = reinterpret_cast<char*>(&p) + place;
    const thread* self = cpu::current();
    const trace_event_header header{.timestamp = now(),
                                    .id = uint32_t(id),
                                    .pid = self && self->proc ? self->proc->pid : 0,
                                    .tid = self ? self->tid : 0,
                                    .serial = serial};
    memcpy(at, &header, sizeof header);
    memcpy(at + sizeof header, fields, size);
    p.timestamp_end = header.timestamp;
    p.event_count++;
    r.recorded++;
    std::atomic_signal_fence(std::memory_order_release); // whoever stops the machine sees it whole
    p.content_size = (place + sizeof header + size) * 8;
}

void put_into_own_ring(trace::point id, trace::category c, const void* fields) {
    cpu::interrupts_push_off();
    const unsigned cpu = cpu::id();
    cpu_ring& r = rings[cpu];
    r.busy.store(true); // before the look at the switch: trace_finish() does it the other way round
    if (r.packets && trace::wanted_by_ring(c))
        put(r, cpu, id, fields);
    r.busy.store(false, std::memory_order_release);
    cpu::interrupts_pop_off();
}

bool make_ring(unsigned cpu, size_t size) {
    const size_t pages =
        std::bit_ceil(std::clamp<size_t>(size, 2 * ring_packet_size, 4096 * 1024)) / page_size;
    vm_page* memory =
        vm_page_alloc_contiguous(unsigned(std::countr_zero(pages)), page_owner::kernel);
    if (!memory)
        return false;
    cpu_ring& r = rings[cpu];
    r.count = uint32_t(pages * page_size / ring_packet_size);
    r.packets = static_cast<char*>(memory->data());
    begin_packet(r, cpu);
    return true;
}

struct totals {
    uint64_t recorded = 0, discarded = 0;
};

totals write_rest() {
    totals sum;
    for (cpu_ring& r : rings) {
        if (!r.packets)
            continue;
        sum.recorded += r.recorded;
        sum.discarded += r.discarded;
        for (; has_port; r.first = (r.first + 1) % r.count) {
            write_packet(r.packet(r.first));
            if (r.first == r.current)
                break;
        }
    }
    return sum;
}

bool is_on() { return rings[0].packets != nullptr; }

} // namespace

void trace::deliver(point id, category c, const void* fields, size_t size) {
    thread* self = cpu::current();
    if (self && self->in_trace_hook)
        return;
    if (wanted_by_ring(c))
        put_into_own_ring(id, c, fields);
    hook call = wanted_by_hook(c);
    if (!call || !self)
        return;
    self->in_trace_hook = true;
    call(id, fields, size);
    self->in_trace_hook = false;
}

void trace_init() {
    char list[256], word[16] = "";
    if (!cmdline_value("trace=", list, sizeof list))
        return;
    const uint32_t categories = trace::parse_categories(list);
    if (!categories) {
        printk("trace: %s: there is no such category; those there are:", list);
        for (unsigned i = 0; i < unsigned(trace::category::count); i++)
            printk("trace:   %s", trace::category_name(trace::category(i)));
        return;
    }
    has_port = machine_has_trace_port();
    cmdline_value("trace_full=", word, sizeof word);
    policy = strcmp(word, "drop") == 0                     ? when_full::drop
             : !has_port || strcmp(word, "overwrite") == 0 ? when_full::overwrite
                                                           : when_full::drain;
    for (unsigned cpu = 0; cpu < cpu::count(); cpu++)
        if (!make_ring(cpu, cmdline_number("trace_buffer=", 256) * 1024))
            panic("no memory for the trace's ring");
    if (has_port)
        write_metadata();
    trace::set_ring_categories(categories);
}

void trace_finish() {
    if (!is_on())
        return;
    trace::set_ring_categories(0);
    for (cpu_ring& r : rings)
        while (r.busy.load())
            cpu::relax();
    const totals sum = write_rest();
    printk("trace: %lu events recorded, %lu lost", sum.recorded, sum.discarded);
}

void trace_finish_in_panic() {
    if (!is_on())
        return;
    trace::set_ring_categories(0);
    const totals sum = write_rest();
    printk_unlocked("trace: %lu events recorded, %lu lost", sum.recorded, sum.discarded);
}
