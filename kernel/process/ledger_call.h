// A call whose cost is counted, for the ledger of its process.
#pragma once

#include "kernel/process/ledger.h"

// Measures the call that the running thread is in, from begin() until end() or its own end. Without
// keep() nothing is entered.
class ledger_call {
public:
    ledger_call() = default;
    explicit ledger_call(ledger_kind kind) { begin(kind); }
    ledger_call(const ledger_call&) = delete;
    ~ledger_call() { end(); }

    void begin(ledger_kind kind);
    // For a fork that copies the address space: what will count its faults; null if nobody does.
    ref_ptr<vm_aftermath> expect_faults();
    void blocked(nanos_t time);
    // The call has come about.
    void keep(pid_t child = 0, const char* mode = nullptr);
    void end();

    // The scheduler: the thread leaves its CPU, or goes on on this one. Interrupts are off.
    void pause();
    void resume();

private:
    ledger_entry* entry_ = nullptr; // null: not measuring, or no memory for it
    bool begun_ = false, kept_ = false;
};
