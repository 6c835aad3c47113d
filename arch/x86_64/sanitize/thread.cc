// The run-time of `make SANITIZE=thread`: finds two processors at one word, one of them writing, where
// nothing orders them. The compiler calls it before each load and store. After DataCollider (Erickson et
// al., OSDI 2010) and Linux's KCSAN: one access in some hundreds sets a watchpoint on its word and
// dawdles; who comes by meanwhile with an access that conflicts is caught in the act, and leaves its
// calls. So nothing has to be known of locks, and what is reported did happen.
//
// An access by std::atomic sets no watchpoint, but runs into those of plain ones: a race that is meant is
// written as one, with std::atomic or std::atomic_ref on each side. Volatile ones are devices' and are left
// alone. Assembly is not seen; but a word that has changed under a watchpoint is told as well.
#include "arch/cpu.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "lib/assert.h"
#include "lib/types.h"

#include <atomic>
#include <machine/boot.h>
#include <machine/instructions.h>
#include <machine/percpu.h>

namespace {

enum class kind : uint8_t { read, write, atomic_read, atomic_write };

bool is_write(kind k) { return k == kind::write || k == kind::atomic_write; }

struct access {
    uint64_t address = 0;
    size_t size = 0;
    kind what{};
    uint64_t calls[16] = {};
};

// One word that somebody waits at. Who has it caught writes `other` and then sets `told`.
struct watchpoint {
    std::atomic<uint64_t> word; // 0: free
    std::atomic<bool> told;
    access other;
};

// In `word`: the address's lower 48 bits, then the size, then whether it is a write.
constexpr uint64_t address_bits = (uint64_t{1} << 48) - 1;
constexpr unsigned size_shift = 48;
constexpr uint64_t for_write = uint64_t{1} << 62, caught = uint64_t{1} << 63;

constexpr size_t watchpoint_count = 256, line_size = 64;
constexpr uint32_t least_skip = 500, skip_range = 1024; // accesses between two watchpoints
constexpr uint64_t dawdle_cycles = 20'000;

watchpoint watchpoints[watchpoint_count];
uint32_t countdown = least_skip; // a race that is meant: it need not be exact
access first, second;            // what was found
bool found_other;

std::atomic<bool> stopped;

// The others have begun to start; and nothing was found yet.
bool watching() { return cpus[1].self && !stopped.load(std::memory_order_relaxed); }

uint64_t encode(uint64_t address, size_t size, kind what) {
    return (address & address_bits) | uint64_t{size} << size_shift |
           (is_write(what) ? for_write : 0);
}

watchpoint& watchpoint_of(uint64_t address) {
    return watchpoints[address / line_size % watchpoint_count];
}

bool conflicts(uint64_t word, uint64_t address, size_t size, kind what) {
    const uint64_t at = word & address_bits, watched = word >> size_shift & 31;
    address &= address_bits;
    return !(word & caught) && (is_write(what) || (word & for_write)) && address < at + watched &&
           at < address + size;
}

[[gnu::noinline]] void note(access& a, uint64_t address, size_t size, kind what, void* frame) {
    a = {.address = address, .size = size, .what = what};
    backtrace_from(reinterpret_cast<uint64_t>(frame), a.calls);
}

[[noreturn]] void report() {
    auto text = [](kind k) {
        return k == kind::read          ? "read"
               : k == kind::write       ? "write"
               : k == kind::atomic_read ? "atomic read"
                                        : "atomic write";
    };
    if (found_other)
        panic("data race: %s of %zu bytes at %p, and %s of %zu at %p by another processor",
              text(first.what), first.size, reinterpret_cast<void*>(first.address),
              text(second.what), second.size, reinterpret_cast<void*>(second.address));
    panic("data race: %s of %zu bytes at %p, which changed meanwhile", text(first.what), first.size,
          reinterpret_cast<void*>(first.address));
}

uint64_t value_at(uint64_t address, size_t size) {
    switch (size) {
    case 1: return *reinterpret_cast<volatile uint8_t*>(address);
    case 2: return *reinterpret_cast<volatile uint16_t*>(address);
    case 4: return *reinterpret_cast<volatile uint32_t*>(address);
    case 8: return *reinterpret_cast<volatile uint64_t*>(address);
    default: return 0;
    }
}

void dawdle() {
    for (const uint64_t begin = read_tsc(); read_tsc() - begin < dawdle_cycles;)
        pause_instruction();
}

[[gnu::noinline, gnu::cold]] void watch(uint64_t address, size_t size, kind what, void* frame) {
    const uint64_t flags = read_flags();
    interrupts_off();
    countdown = least_skip + static_cast<uint32_t>(read_tsc() * 0x9e37'79b9 >> 7) % skip_range;
    watchpoint& w = watchpoint_of(address);
    uint64_t nothing = 0;
    if (w.word.compare_exchange_strong(nothing, encode(address, size, what))) {
        const uint64_t before = value_at(address, size);
        dawdle();
        const bool changed = value_at(address, size) != before;
        const bool hit = w.word.load() & caught;
        if ((hit || (changed && w.word.exchange(0) != 0)) && !stopped.exchange(true)) {
            while (hit && !w.told.load())
                pause_instruction();
            second = w.other;
            found_other = hit;
            note(first, address, size, what, frame);
            report();
        }
        w.told.store(false);
        w.word.store(0);
    }
    if (flags & RFLAGS_IF)
        interrupts_on();
}

[[gnu::noinline, gnu::cold]] void run_into(watchpoint& w, uint64_t word, uint64_t address,
                                           size_t size, kind what, void* frame) {
    if (!w.word.compare_exchange_strong(word, word | caught))
        return;
    note(w.other, address, size, what, frame);
    w.told.store(true);
}

[[gnu::always_inline]] inline void look(uint64_t address, size_t size, kind what) {
    if (!watching())
        return;
    watchpoint& w = watchpoint_of(address);
    const uint64_t word = w.word.load(std::memory_order_relaxed);
    if (word && conflicts(word, address, size, what)) [[unlikely]]
        run_into(w, word, address, size, what, __builtin_frame_address(0));
    if ((what == kind::read || what == kind::write) && --countdown > least_skip + skip_range)
        [[unlikely]]
        watch(address, size, what, __builtin_frame_address(0));
}

void look_at_range(uint64_t address, size_t size, kind what) {
    for (size_t done = 0; done < size; done += 8)
        look(address + done, size - done < 8 ? size - done : 8, what);
}

} // namespace

void panic_describe_memory() {
    if (!stopped.load() || !found_other)
        return;
    printk_unlocked("the other processor was in");
    for (uint64_t call : second.calls)
        if (call)
            panic_print_address(call);
}

// ---- What the compiler calls --------------------------------------------------------------------

#define OF_SIZE(n)                                                                                 \
    void __tsan_read##n(uint64_t a) { look(a, n, kind::read); }                                    \
    void __tsan_write##n(uint64_t a) { look(a, n, kind::write); }                                  \
    void __tsan_unaligned_read##n(uint64_t a) { look(a, n, kind::read); }                          \
    void __tsan_unaligned_write##n(uint64_t a) { look(a, n, kind::write); }                        \
    void __tsan_volatile_read##n(uint64_t) {}                                                      \
    void __tsan_volatile_write##n(uint64_t) {}                                                     \
    void __tsan_unaligned_volatile_read##n(uint64_t) {}                                            \
    void __tsan_unaligned_volatile_write##n(uint64_t) {}

// All are at least what was asked for: on this machine loads acquire, stores release, the rest is whole.
#define CHANGES(bits, type, name, operation)                                                       \
    type __tsan_atomic##bits##_##name(type* a, type v, int) {                                      \
        look(reinterpret_cast<uint64_t>(a), bits / 8, kind::atomic_write);                         \
        return operation(a, v, __ATOMIC_SEQ_CST);                                                  \
    }
#define OF_TYPE(bits, type)                                                                        \
    type __tsan_atomic##bits##_load(const type* a, int) {                                          \
        look(reinterpret_cast<uint64_t>(a), bits / 8, kind::atomic_read);                          \
        return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                               \
    }                                                                                              \
    void __tsan_atomic##bits##_store(type* a, type v, int order) {                                 \
        look(reinterpret_cast<uint64_t>(a), bits / 8, kind::atomic_write);                         \
        if (order == __ATOMIC_SEQ_CST)                                                             \
            __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                              \
        else                                                                                       \
            __atomic_store_n(a, v, __ATOMIC_RELEASE);                                              \
    }                                                                                              \
    CHANGES(bits, type, exchange, __atomic_exchange_n)                                             \
    CHANGES(bits, type, fetch_add, __atomic_fetch_add)                                             \
    CHANGES(bits, type, fetch_sub, __atomic_fetch_sub)                                             \
    CHANGES(bits, type, fetch_and, __atomic_fetch_and)                                             \
    CHANGES(bits, type, fetch_or, __atomic_fetch_or)                                               \
    CHANGES(bits, type, fetch_xor, __atomic_fetch_xor)                                             \
    bool __tsan_atomic##bits##_compare_exchange_strong(type* a, type* expected, type v, int,       \
                                                       int) {                                      \
        look(reinterpret_cast<uint64_t>(a), bits / 8, kind::atomic_write);                         \
        return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST,                \
                                           __ATOMIC_SEQ_CST);                                      \
    }                                                                                              \
    bool __tsan_atomic##bits##_compare_exchange_weak(type* a, type* expected, type v, int, int) {  \
        return __tsan_atomic##bits##_compare_exchange_strong(a, expected, v, 0, 0);                \
    }

extern "C" {

OF_SIZE(1)
OF_SIZE(2)
OF_SIZE(4)
OF_SIZE(8)
OF_SIZE(16)
void __tsan_read_range(uint64_t a, size_t n) { look_at_range(a, n, kind::read); }
void __tsan_write_range(uint64_t a, size_t n) { look_at_range(a, n, kind::write); }
void __tsan_vptr_update(uint64_t a, const void*) { look(a, 8, kind::write); }

OF_TYPE(8, uint8_t)
OF_TYPE(16, uint16_t)
OF_TYPE(32, uint32_t)
OF_TYPE(64, uint64_t)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

void __tsan_init() {}

} // extern "C"
