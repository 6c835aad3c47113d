// The names of the system: uname(2), /proc/version, /proc/sys/kernel/hostname.
#pragma once

#include "lib/result.h"

#include <cstddef>

inline constexpr size_t utsname_length = 65;
inline constexpr const char* kernel_name = "Linux"; // whose system calls programs find here
inline constexpr const char* kernel_release = "6.1.0-spork";
inline constexpr const char* kernel_version = "#1 SMP Spork";

// Copies it, NUL-terminated.
void hostname_get(char (&out)[utsname_length]);
// EINVAL when it is too long.
status hostname_set(const char* name, size_t length);
