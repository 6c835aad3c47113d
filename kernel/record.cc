#include "kernel/record.h"

#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/timer.h"
#include "kernel/process.h"
#include "kernel/snapshot.h"
#include "lib/text_sink.h"

namespace {

using ull = unsigned long long;

class port_sink final : public text_sink {
public:
    void append(std::string_view text) override { machine_record_write(text.data(), text.size()); }
};

// An address space that a fork under way makes and that no process has yet.
constinit vmspace* being_made = nullptr;

// Everything up to the arguments, then write_args(sink), then the snapshot.
template <class WriteArgs> void write_line(const char* event, WriteArgs write_args) {
    cpu::interrupts_push_off();
    thread& self = current_thread();
    port_sink out;
    out.print("{\"t\":%llu,\"cpu\":%u,\"event\":\"%s\",\"pid\":%d,\"tid\":%d,\"args\":{",
              ull(now()), cpu::id(), event, self.proc->pid, self.tid);
    write_args(out);
    out.append("},\"snap\":");
    snapshot_json({.recorded = true, .being_made = being_made}, out, true);
    out.append("}\n");
    cpu::interrupts_pop_off();
}

void no_args(text_sink&) {}

} // namespace

status record_store(std::string_view text) {
    process& self = current_process();
    if (!machine_has_record_port() || cpu::count() != 1)
        return fail(Errno::nodev);
    if (text == "1") {
        self.recorded = true;
        write_line("begin", no_args);
    } else if (text == "0") {
        if (self.recorded)
            write_line("end", no_args);
        self.recorded = false;
    } else if (self.recorded) {
        write_line("mark", [&](text_sink& out) {
            out.append("\"text\":");
            out.append_json_string(text);
        });
    }
    return {};
}
