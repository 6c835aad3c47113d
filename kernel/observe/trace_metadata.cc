// What a trace begins with: the layout of its packets and events in TSDL, made from the table of
// trace points.
#include "kernel/observe/trace.h"

#include "lib/trace.h"

#define STRING(x) #x
#define STRING_OF(x) STRING(x)

static_assert(sizeof(trace_packet_header) == 64 && sizeof(trace_event_header) == 24);

const char trace_metadata[] = R"(/* CTF 1.8 */
typealias integer { size = 32; align = 32; signed = true; } := s32;
typealias integer { size = 32; align = 32; signed = false; } := u32;
typealias integer { size = 64; align = 64; signed = true; } := s64;
typealias integer { size = 64; align = 64; signed = false; } := u64;
typealias integer { size = 64; align = 64; signed = false; base = 16; } := addr;
typealias integer { size = 8; align = 8; signed = false; encoding = UTF8; } := utf8;

clock { name = monotonic; description = "nanoseconds since boot"; freq = 1000000000; };
typealias integer { size = 64; align = 64; signed = false; map = clock.monotonic.value; } := time;

trace {
    major = 1; minor = 8; byte_order = le;
    packet.header := struct { u32 magic; u32 stream_id; };
};
env { domain = "kernel"; sysname = "Spork"; };
stream {
    id = 0;
    packet.context := struct {
        time timestamp_begin; time timestamp_end; u64 content_size; u64 packet_size;
        u64 events_discarded; u64 packet_seq_num; u32 cpu_id; u32 event_count;
    };
    event.header := struct { time timestamp; u32 id; } align(64);
    event.context := struct { s32 pid; s32 tid; u32 serial; };
};
)"
#define TRACE_ENUM(name, values) "typealias enum : u32 { " values " } := " #name ";\n"
#define TRACE_VALUE(name) "\"" #name "\", "
#include "lib/trace_points.inc"
// GCC's and clang's __COUNTER__ gives each point its number.
#define TRACE_POINT(category, name, literature, text, ...)                                         \
    "event { id = " STRING_OF(__COUNTER__) "; name = \"" #name                                     \
                                           "\"; stream_id = 0; fields := struct {" __VA_ARGS__     \
                                           " } align(64); };\n"
#define TRACE_FIELD(type, name) " " #type " _" #name ";"
#define TRACE_TEXT(name) " utf8 _" #name "[16];"
#include "lib/trace_points.inc"
    ;
static_assert(__COUNTER__ == unsigned(trace::point::count));
const size_t trace_metadata_size = sizeof trace_metadata - 1;

const uint8_t trace_field_bytes[] = {
#define TRACE_POINT(category, name, literature, text, ...)                                         \
    [] consteval {                                                                                 \
        size_t end = 0;                                                                            \
        __VA_ARGS__                                                                                \
        return end;                                                                                \
    }(),
#define TRACE_FIELD(type, name)                                                                    \
    end = (end + alignof(trace::type) - 1) / alignof(trace::type) * alignof(trace::type) +         \
          sizeof(trace::type);
#define TRACE_TEXT(name) end += trace::text::size;
#include "lib/trace_points.inc"
};
