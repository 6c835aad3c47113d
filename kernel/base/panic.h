// What happens when the kernel finds that it is wrong. panic() itself is in lib/assert.h.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <span>

struct thread;
struct trap_frame;

// As panic(), with the registers of the code that failed.
[[noreturn]] void panic_with_frame(const trap_frame& frame, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// Describes a thread in a few words ("7 ash, in pipe_read"); without locks and without trusting
// anything. Supplied by the process code; where it is missing, threads have no names.
[[gnu::weak]] void panic_describe_thread(thread* t, char* out, size_t size);

// Tells of every thread: why it sleeps and where, what locks it holds; first of all, of threads that
// wait for each other. With all CPUs stopped, as above. Supplied by the scheduler.
[[gnu::weak]] void panic_describe_all_threads();
// A panic, of a machine that does not go on, that is to say all this.
[[noreturn]] void panic_hang(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void panic_hang_with_frame(const trap_frame& frame, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// What a sanitizer knows besides: whose memory it was. In builds that have one.
[[gnu::weak]] void panic_describe_memory();

// The tracer: no more events, and what is left is written. Waits for nobody.
void trace_finish_in_panic();

// NMI: stops this CPU if another one has panicked, after noting what it was doing. False otherwise.
bool panic_stop_this_cpu(const trap_frame& frame);

// Prints " [<address>]", which tools symbolise.
void panic_print_address(uint64_t address);

// Return addresses of the calls on a kernel stack, innermost first. Trusts nothing.
size_t backtrace_from(uint64_t rbp, std::span<uint64_t> out);
