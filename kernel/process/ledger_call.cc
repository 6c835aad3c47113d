#include "kernel/process/ledger_call.h"

#include "arch/cpu.h"
#include "arch/timer.h"
#include "kernel/process/process.h"
#include "lib/no_alloc.h"
#include "lib/string.h"

#include <utility>

MAY_LOSE("an entry of the ledger, which says how many it has lost")
void ledger_call::begin(ledger_kind kind) {
    ASSERT(!begun_);
    thread& self = current_thread();
    ASSERT(!self.measured);
    begun_ = true;
    entry_ = ledger_entry::create();
    if (!entry_)
        return;
    entry_->kind = kind;
    cpu::interrupts_push_off();
    self.measured = this;
    resume();
    cpu::interrupts_pop_off();
}

ref_ptr<vm_aftermath> ledger_call::expect_faults() {
    if (entry_)
        entry_->aftermath = vm_aftermath::create();
    return entry_ ? entry_->aftermath : nullptr;
}

void ledger_call::blocked(nanos_t time) {
    if (entry_)
        entry_->blocked += time;
}

void ledger_call::keep(pid_t child, const char* mode) {
    kept_ = true;
    if (!entry_)
        return;
    thread& self = current_thread();
    entry_->pid = self.proc->pid;
    entry_->child = child;
    entry_->mode = mode;
    memcpy(entry_->name, self.name, sizeof entry_->name);
}

void ledger_call::end() {
    if (!std::exchange(begun_, false))
        return;
    thread& self = current_thread();
    ledger_entry* entry = std::exchange(entry_, nullptr);
    if (!entry) {
        if (kept_)
            self.proc->costs.note_lost();
        return;
    }
    cpu::interrupts_push_off();
    entry->cycles += cycle_count();
    cpu::add_counters(entry->counters, uvm_ledger_counters);
    self.measured = nullptr;
    cpu::interrupts_pop_off();
    if (kept_)
        self.proc->costs.enter(*entry);
    else
        ledger_entry::destroy(entry);
}

// The sums that are on their way hold what was counted so far, less what the CPU's counters had
// when the thread came to it; unsigned numbers that wrap, until the thread leaves.
void ledger_call::pause() {
    entry_->cycles += cycle_count();
    cpu::add_counters(entry_->counters, uvm_ledger_counters);
}

void ledger_call::resume() {
    cpu::subtract_counters(entry_->counters, uvm_ledger_counters);
    entry_->cycles -= cycle_count();
}
