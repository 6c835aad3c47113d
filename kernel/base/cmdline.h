// Words of the kernel command line. The table of words, with what each does, is below: the one
// place that declares a word.
#pragma once

#include "lib/result.h"

#include <cstddef>
#include <cstdint>

// X(word, what it does). A word that ends in `=` takes a value: "a number: ..." says that it is one, and
// words in backquotes at the beginning which there are. tools/spork looks at them before it boots.
#define CMDLINE_WORDS(X)                                                                           \
    X("init=", "the first program, instead of /sbin/init")                                         \
    X("root=", "a disk with an ext2, /dev/vda1: the root, instead of the archive")                 \
    X("ro", "that root is read-only")                                                              \
    X("maxcpus=", "a number: use at most this many processors")                                    \
    X("quiet", "the log is not shown on the console")                                              \
    X("norandmaps", "addresses of stack, heap, mappings and programs are the same in each run")    \
    X("strace", "print every system call")                                                         \
    X("strace=", "print the system calls of programs of this name")                                \
    X("log_enosys", "log, once for each program and number, system calls that are not there")      \
    X("ktest", "run all in-kernel tests instead of init, and power off")                           \
    X("ktest=", "run the in-kernel tests whose name contains this, and power off")                 \
    X("trace=", "record these categories of events, or `all` (kernel/observe/trace.h)")            \
    X("trace_full=", "`drain`, `drop` or `overwrite`: what is done when the ring is full")         \
    X("trace_buffer=", "a number: KiB of ring for each processor (256)")                           \
    X("check", "each change of an address space ends with a check of its rules")                   \
    X("watchdog=", "a number: seconds without progress until a panic (60); 0: no watchdog")        \
    X("onpanic=", "`halt`: stay after a panic instead of powering off")                            \
    X("ktest_seed=", "a number: what shuffles the tests, as a failed run has printed it")          \
    X("ktest_stop", "a failed check of an in-kernel test is a panic")                              \
    X("plant=", "with a sanitizer: make this mistake (tests/kernel/planted)")                      \
    X("panic=", "`test`, `check`, `deadlock`, `lost-wake-up`, `loop`, `loop-interrupts-off` or "   \
                "`sleeper`: fail so when everything is up (tests/kernel/hang.h)")                  \
    X("break_in=", "`stack-smashed`, `recursion`, `write-constant`, `write-code`, `write-alias`, " \
                   "`run-data`, `run-heap`, `run-program`, `read-program` or `write-program`: "    \
                   "do what a defence is there to stop (tests/kernel/break_in.h)")

// Keeps the text. Words that are none of ours go to init, as on Linux, when they do not contain a
// dot. Once, first of all.
void cmdline_init(const char* text);

bool cmdline_has(const char* word);
// The value of `word=value`, copied; false if it is not there. The last one counts.
bool cmdline_value(const char* word, char* out, size_t size);
uint64_t cmdline_number(const char* word, uint64_t otherwise);
const char* cmdline_text(); // all of it, for /proc/cmdline
// The n-th word that is none of ours, and init's to use; false at the end.
bool cmdline_foreign_word(size_t n, char* out, size_t size);
