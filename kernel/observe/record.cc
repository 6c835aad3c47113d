#include "kernel/observe/record.h"

#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/timer.h"
#include "kernel/observe/snapshot.h"
#include "kernel/process/process.h"
#include "lib/text_sink.h"
#include "lib/trace.h"

namespace {

using ull = unsigned long long;
namespace event = trace::event;
using trace::category, trace::point;

class port_sink final : public text_sink {
public:
    void append(std::string_view text) override { machine_record_write(text.data(), text.size()); }
};

// An address space that a fork or exec under way makes and that no process has yet.
constinit vmspace* being_made = nullptr;

// What the counters moved while none of the recorded processes ran: from one switch of threads to
// the next, for there is one CPU.
class others_counters {
public:
    // The stretch that ends here was a recorded process's, or was not.
    void end_stretch(bool recorded) {
        for (unsigned i = 0; i < uvm_counters; i++) {
            const uint64_t now = cpu::counted(0, i);
            if (!recorded)
                sums_[i] += now - since_[i];
            since_[i] = now;
        }
    }
    const uint64_t* sums() const { return sums_; }

private:
    uint64_t since_[uvm_counters]{}, sums_[uvm_counters]{};
};
constinit others_counters others;

// ---- An event's fields as the members of a JSON object ----------------------------------------

#define TRACE_ENUM(name, values)                                                                   \
    const char* text_of(trace::name value) {                                                       \
        static constexpr const char* texts[] = {values};                                           \
        return texts[unsigned(value)];                                                             \
    }
#define TRACE_VALUE(name) #name,
#include "lib/trace_points.inc"

class json_members {
public:
    explicit json_members(text_sink& out) : out_(out) {}

    template <class T> void add(const char* name, const T& value) {
        out_.print("%s\"%s\":", first_ ? "" : ",", name);
        first_ = false;
        write(value);
    }

private:
    void write(int64_t value) { out_.print("%lld", static_cast<long long>(value)); }
    void write(uint64_t value) { out_.print("%llu", ull(value)); }
    void write(int32_t value) { write(int64_t{value}); }
    void write(uint32_t value) { write(uint64_t{value}); }
    void write(const trace::addr& value) { out_.print("\"0x%llx\"", ull(value.value)); }
    void write(const trace::text& value) { out_.append_json_string(value.bytes); }
    template <class Enum>
        requires std::is_enum_v<Enum>
    void write(Enum value) {
        out_.append_json_string(text_of(value));
    }

    text_sink& out_;
    bool first_ = true;
};

#define TRACE_POINT(category, name, literature, text, ...)                                         \
    void write_fields(const event::name& e, json_members& out) { __VA_ARGS__ }
#define TRACE_FIELD(type, name) out.add(#name, e.name);
#define TRACE_TEXT(name) out.add(#name, e.name);
#include "lib/trace_points.inc"

void write_fields(point id, const void* fields, text_sink& sink) {
    json_members out(sink);
    switch (id) {
#define TRACE_POINT(category, name, literature, text, ...)                                         \
    case point::name: write_fields(*static_cast<const event::name*>(fields), out); break;
#include "lib/trace_points.inc"
    case point::count: break;
    }
}

// ---- Lines -------------------------------------------------------------------------------------

// Everything up to the arguments, then write_args(sink), then the snapshot.
template <class WriteArgs> void write_line(const char* name, WriteArgs write_args) {
    cpu::interrupts_push_off();
    thread& self = current_thread();
    port_sink out;
    out.print("{\"t\":%llu,\"cpu\":%u,\"event\":\"%s\",\"pid\":%d,\"tid\":%d,\"args\":{",
              ull(now()), cpu::id(), name, self.proc->pid, self.tid);
    write_args(out);
    out.append("},\"snap\":");
    snapshot_json({.recorded = true, .being_made = being_made, .others = others.sums()}, out, true);
    out.append("}\n");
    cpu::interrupts_pop_off();
}

void no_args(text_sink&) {}

// What is recorded: not who runs when, nor what comes by the page while a whole range is dealt
// with. The event of the range follows, and its snapshot shows what became of the pages.
constexpr uint32_t categories =
    trace::all_categories & ~trace::bit(category::syscall) & ~trace::bit(category::page);
bool left_out(point id) {
    return id == point::anon_referenced || id == point::anon_released ||
           id == point::anon_destroyed || id == point::sched_switch || id == point::sched_sleep ||
           id == point::sched_wakeup;
}

void keep_being_made(point id, const void* fields) {
    switch (id) {
    case point::vmspace_created:
        being_made = reinterpret_cast<vmspace*>(
            static_cast<const event::vmspace_created*>(fields)->vmspace.value);
        break;
    case point::vmspace_destroyed: // of whichever: it cannot be looked at any more
    case point::fork_child:
    case point::exec_commit: being_made = nullptr; break;
    default: break;
    }
}

void record_event(point id, const void* fields, size_t) {
    const thread* self = cpu::current();
    if (!self)
        return;
    if (id == point::sched_switch)
        others.end_stretch(self->proc->recorded);
    if (!self->proc->recorded || left_out(id))
        return;
    keep_being_made(id, fields);
    write_line(trace::point_name(id), [&](text_sink& out) { write_fields(id, fields, out); });
}

// The running process is recorded from here on, or is not.
void record_running(process& self, bool on) {
    cpu::interrupts_push_off();
    others.end_stretch(self.recorded.exchange(on));
    cpu::interrupts_pop_off();
}

} // namespace

status record_store(std::string_view text) {
    process& self = current_process();
    if (!machine_has_record_port() || cpu::count() != 1)
        return fail(Errno::nodev);
    if (text == "1") {
        trace::set_hook(record_event, categories); // for good: others may be recorded too
        record_running(self, true);
        write_line("begin", no_args);
    } else if (text == "0") {
        if (self.recorded)
            write_line("end", no_args);
        record_running(self, false);
    } else if (self.recorded) {
        write_line("mark", [&](text_sink& out) {
            out.append("\"text\":");
            out.append_json_string(text);
        });
    }
    return {};
}
