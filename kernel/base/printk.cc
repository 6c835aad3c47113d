// The kernel's log.
#include "kernel/base/printk.h"

#include "arch/machine.h"
#include "arch/timer.h"
#include "lib/format.h"
#include "lib/lock.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>

namespace {

constexpr size_t ring_size = 64 * 1024;

spin_lock log_lock{lock_rank::console, "printk"};
char ring[ring_size] GUARDED_BY(log_lock);
uint64_t logged GUARDED_BY(log_lock); // bytes since boot; the newest byte is at logged - 1
bool to_console GUARDED_BY(log_lock) = true;

struct line {
    static constexpr size_t capacity = 512;
    char text[capacity];
    size_t length;

    void compose(const char* format, va_list args) __attribute__((format(printf, 2, 0))) {
        nanos_t t = now();
        length = static_cast<size_t>(format_to(
            text, capacity, "[%5lu.%06lu] ", static_cast<unsigned long>(t / nanos_per_second),
            static_cast<unsigned long>(t % nanos_per_second / 1000)));
        vformat(
            [](const char* piece, size_t n, void* to) { static_cast<line*>(to)->add({piece, n}); },
            this, format, args);
        text[length++] = '\n';
    }

    // One message is one line, and no more than text, whatever is in the names that it tells.
    void add(std::string_view piece) {
        for (char c : piece) {
            const bool plain = (c < 0 || c >= ' ' || c == '\t') && c != '\177';
            const size_t n = plain ? 1 : 4;
            if (length + n >= capacity) // one for the newline
                return;
            if (plain)
                text[length] = c;
            else
                for (size_t i = 0; i < n; i++)
                    text[length + i] = i ? char('0' + (c >> (9 - 3 * i) & 7)) : '\\';
            length += n;
        }
    }
};

void append(const line& l) REQUIRES(log_lock) {
    for (size_t i = 0; i < l.length; i++)
        ring[logged++ % ring_size] = l.text[i];
}

uint64_t oldest() REQUIRES(log_lock) { return logged > ring_size ? logged - ring_size : 0; }

// In a panic the lock may be held by a CPU that will never run again.
constinit std::atomic<bool> without_lock{false};
void log_without_lock(const line& l) NO_THREAD_SAFETY_ANALYSIS {
    append(l);
    console_write_polled(l.text, l.length);
}

} // namespace

void printk(const char* format, ...) {
    line l;
    va_list args;
    va_start(args, format);
    l.compose(format, args);
    va_end(args);
    if (without_lock.load(std::memory_order_relaxed)) {
        log_without_lock(l);
        return;
    }
    lock_guard guard(log_lock);
    append(l);
    if (to_console)
        console_write_polled(l.text, l.length);
}

void printk_without_lock() { without_lock.store(true, std::memory_order_relaxed); }

void printk_unlocked(const char* format, ...) {
    line l;
    va_list args;
    va_start(args, format);
    l.compose(format, args);
    va_end(args);
    log_without_lock(l);
}

void printk_to_console(bool on) {
    lock_guard guard(log_lock);
    to_console = on;
}

size_t printk_read(uint64_t& position, std::span<char> out) {
    lock_guard guard(log_lock);
    position = std::clamp(position, oldest(), logged);
    size_t n = std::min<uint64_t>(out.size(), logged - position);
    for (size_t i = 0; i < n; i++)
        out[i] = ring[position++ % ring_size];
    return n;
}

uint64_t printk_end() {
    lock_guard guard(log_lock);
    return logged;
}

uint64_t printk_begin() {
    lock_guard guard(log_lock);
    return oldest();
}
