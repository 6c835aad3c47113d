// Words of the kernel command line. The table of words is in kernel/cmdline.cc, with what each does.
#pragma once

#include "lib/result.h"

#include <cstddef>
#include <cstdint>

bool cmdline_has(const char* word);
// The value of `word=value`, copied; false if it is not there.
bool cmdline_value(const char* word, char* out, size_t size);
uint64_t cmdline_number(const char* word, uint64_t otherwise);
const char* cmdline_text(); // all of it, for /proc/cmdline
