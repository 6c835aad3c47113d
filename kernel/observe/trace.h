// The rings that trace events (lib/trace.h) go to, and their way out of the machine.
//
// Each CPU has a ring of CTF packets (https://diamon.org/ctf, version 1.8), which it alone writes,
// with interrupts off. What happens when a packet is full is said by the word `trace_full=`:
//
//     drain      the CPU writes it to the trace port (arch/machine.h) and waits meanwhile: nothing
//                is lost. The default when there is a port
//     drop       packets stay until the end; when all are full, events are dropped and counted: the
//                run is not held up
//     overwrite  the oldest packet is used again: the ring has the newest events, for `spork trace`
//                in GDB. The default without a port
//
// Lost events are counted in each packet (events_discarded, as CTF has it) and in the log.
// The trace port gets packets in no particular order of CPUs, metadata first; tools/spork splits
// them into the files of a CTF trace.
#pragma once

#include <cstddef>
#include <cstdint>

// Reads the words trace=, trace_full= and trace_buffer= and turns on what they ask for. Once,
// after all CPUs are up.
void trace_init();
// Before the machine is powered off or reset: turns the trace points off, writes what is left, and
// says how many events were recorded and lost.
void trace_finish();

// The metadata in CTF's language TSDL, NUL-terminated. kernel/observe/trace_metadata.cc.
extern const char trace_metadata[];
extern const size_t trace_metadata_size; // without the NUL

// The bytes of each event's fields, without the padding that its struct has at the end: a packet
// must not end in padding. By trace::point.
extern const uint8_t trace_field_bytes[];

// What is at the start of each packet, as the metadata says.
struct trace_packet_header {
    static constexpr uint32_t ctf_magic = 0xc1fc1fc1;
    uint32_t magic;
    uint32_t stream_id;
    uint64_t timestamp_begin, timestamp_end; // ns since boot
    uint64_t content_size, packet_size;      // bits
    uint64_t events_discarded;               // of this CPU, since the start
    uint64_t packet_seq_num;
    uint32_t cpu_id;
    uint32_t event_count;
};

// What is at the start of each event, at a multiple of 8 bytes; its fields follow.
struct trace_event_header {
    uint64_t timestamp;
    uint32_t id; // trace::point
    int32_t pid, tid;
    uint32_t serial; // counts the events of all CPUs, lost ones too
};
