// The recorder: at each trace event of a recorded process, one line of JSON with a snapshot of all
// recorded processes goes to a debug port of the machine (docs/explorer-format.md). The explorer
// is made from such lines.
//
// It takes no lock and allocates nothing, so that an event may be anywhere, in the middle of a
// change too; in return it needs to be alone: one CPU. Interrupts are off while it writes.
#pragma once

#include "lib/result.h"

#include <string_view>

struct process;

// What is written to /proc/self/record: "1" begins, "0" ends, other text is a mark; see the
// document. For the running process. ENODEV when the machine has no port for it, or more than one
// CPU.
status record_store(std::string_view text);
