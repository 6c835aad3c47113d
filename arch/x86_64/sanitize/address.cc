// The run-time of `make SANITIZE=address`: each load and store of the kernel's C++ is a call first, which
// asks whether the memory is anybody's (Serebryany et al., "AddressSanitizer", USENIX 2012).
//
// One byte of shadow says of eight bytes of memory: 0, they may be touched; 1 to 7, the first so many; else
// why not, as below. Allocators mark what is free and what lies between objects (lib/sanitize.h), and the
// compiler its own redzones of stacks and global objects, by stores that it writes into the code: so the
// shadow has to be there from the first instruction in C++. Until the kernel's page tables are made, one
// page stands for all of it.
//
//     memory mapped directly, the image, kernel stacks        shadow: address / 8 + offset
//     of the first of them, each 64 bytes have an `origin`:   the calls that allocated and freed them
//
// Device registers have no shadow, nor have programs: what touches those by a plain pointer is stopped by
// SMAP.
#define SPORK_SANITIZE_address 1 // as the Makefile says, for who looks at this file alone

#include "arch/boot_info.h"
#include "arch/cpu.h"
#include "arch/memory.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "lib/assert.h"
#include "lib/sanitize.h"

#include <atomic>
#include <iterator>
#include <machine/boot.h>
#include <machine/instructions.h>
#include <machine/layout.h>
#include <machine/sanitize.h>

namespace {

constexpr uint64_t shadow_offset = 0xdfff'fc00'0000'0000; // as the Makefile tells the compiler
constexpr size_t shadow_scale = 8;
constexpr uint64_t origins_base = 0xffff'fc00'0000'0000;
constexpr uint64_t kernel_stacks_size = kernel_stack_slots * kernel_stack_slot;

// Why a byte may not be touched. From 0xf1 on the compiler's.
enum : uint8_t {
    shadow_freed = 0xe0,
    shadow_behind = 0xe1,
    shadow_global = 0xe2,
    shadow_stack_first = 0xf1,
    shadow_stack_last = 0xf3,
};

bool watching;            // from shadow_use() on, until something was found
uint64_t directly_mapped; // bytes of it

uint8_t* shadow_of(uint64_t address) {
    return reinterpret_cast<uint8_t*>(address / shadow_scale + shadow_offset);
}

bool is_direct(uint64_t a) { return a - direct_map_base < directly_mapped; }

bool has_shadow(uint64_t a) {
    return is_direct(a) || a - kernel_stacks_base < kernel_stacks_size ||
           (a >= reinterpret_cast<uint64_t>(kernel_text_start) &&
            a < reinterpret_cast<uint64_t>(kernel_data_end));
}

void fill(uint8_t* from, uint8_t* to, uint8_t value) {
    auto n = static_cast<size_t>(to - from);
    asm volatile("rep stosb" : "+D"(from), "+c"(n) : "a"(value) : "memory");
}

// The first n bytes from `address` on may be touched, those up to `room` not.
void mark(uint64_t address, size_t n, size_t room, uint8_t why) {
    ASSERT(address % shadow_scale == 0);
    uint8_t* first = shadow_of(address);
    uint8_t* rest = first + n / shadow_scale;
    fill(first, rest, 0);
    if (n % shadow_scale)
        *rest++ = static_cast<uint8_t>(n % shadow_scale);
    fill(rest, first + (room + shadow_scale - 1) / shadow_scale, why);
}

// ---- Who had it: backtraces, each kept once -----------------------------------------------------

struct trace {
    static constexpr size_t most_calls = 15;
    std::atomic<uint32_t> hash; // 0: nobody's
    uint32_t calls[most_calls]; // the lower halves of the image's addresses
};

constexpr size_t trace_count = 32768, most_probes = 16;
trace traces[trace_count]; // 0 is never used

struct origin {
    uint32_t allocated, freed; // numbers of traces, 0: not known
};

origin* origin_of(uint64_t address) {
    return reinterpret_cast<origin*>(origins_base) + (address - direct_map_base) / sanitize_granule;
}

// The calls that led to the caller's caller, by frame pointers that are on one stack.
size_t unwind(uint64_t rbp, uint32_t (&calls)[trace::most_calls]) {
    size_t n = 0;
    while (n < trace::most_calls) {
        const auto* frame = reinterpret_cast<const uint64_t*>(rbp);
        if (!has_shadow(rbp) || frame[1] < reinterpret_cast<uint64_t>(kernel_text_start) ||
            frame[1] >= reinterpret_cast<uint64_t>(kernel_text_end))
            break;
        calls[n++] = static_cast<uint32_t>(frame[1]);
        if (frame[0] <= rbp || frame[0] - rbp > kernel_stack_size)
            break;
        rbp = frame[0];
    }
    return n;
}

[[gnu::noinline]] uint32_t remember_calls() {
    uint32_t calls[trace::most_calls] = {};
    const size_t n = unwind(*static_cast<uint64_t*>(__builtin_frame_address(0)), calls);
    uint32_t hash = 1;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ calls[i]) * 0x9e37'79b1;
    hash |= 1;
    for (size_t probe = 0; probe < most_probes; probe++) {
        const uint32_t number = ((hash >> 12) + probe) % trace_count;
        trace& t = traces[number];
        uint32_t seen = 0;
        if (number && t.hash.compare_exchange_strong(seen, hash)) {
            for (size_t i = 0; i < n; i++)
                t.calls[i] = calls[i];
            return number;
        }
        if (number && seen == hash)
            return number;
    }
    return 0;
}

template <class Change> void change_origins(uint64_t address, size_t n, Change change) {
    if (!watching || !is_direct(address))
        return;
    const uint32_t calls = remember_calls();
    for (origin* o = origin_of(address); o <= origin_of(address + n - 1); o++)
        change(*o, calls);
}

// ---- What was found -----------------------------------------------------------------------------

uint64_t found; // the first byte that should not have been touched; 0: nothing was found

void print_trace(const char* what, uint32_t number) {
    printk_unlocked("it was %s%s", what, number ? " in" : ", it is not known where");
    if (number)
        for (uint32_t call : traces[number].calls)
            if (call)
                panic_print_address(0xffff'ffff'0000'0000 | call);
}

const char* reason(uint8_t shadow) {
    switch (shadow) {
    case shadow_freed: return "it is free";
    case shadow_behind: return "it is behind an object";
    case shadow_global: return "it is behind a global object";
    default: break;
    }
    if (shadow >= shadow_stack_first && shadow <= shadow_stack_last)
        return "it is beside a variable on a stack";
    return "it is nobody's";
}

[[gnu::always_inline]] inline bool nobodys(uint64_t a, size_t n) {
    const uint64_t last = a + n - 1;
    const auto at_last = static_cast<int8_t>(*shadow_of(last));
    if (at_last != 0 && static_cast<int8_t>(last % shadow_scale) >= at_last)
        return true;
    for (uint64_t at = a; at / shadow_scale != last / shadow_scale; at += shadow_scale)
        if (*shadow_of(at) != 0)
            return true;
    return false;
}

[[noreturn, gnu::noinline, gnu::cold]] void report(uint64_t a, size_t n, bool write) {
    watching = false;
    found = a;
    while (!nobodys(found, 1))
        found++;
    uint8_t why = *shadow_of(found);
    if (why < shadow_scale) // it ends within these eight bytes
        why = *shadow_of(found + shadow_scale);
    panic("address sanitizer: %s of %zu bytes at %p: %s", write ? "write" : "read", n,
          reinterpret_cast<void*>(a), reason(why));
}

[[gnu::always_inline]] inline void check(uint64_t a, size_t n, bool write) {
    if (watching && n != 0 && has_shadow(a) && nobodys(a, n)) [[unlikely]]
        report(a, n, write);
}

// ---- The shadow ---------------------------------------------------------------------------------

constexpr uint64_t early_bits = 3; // present, writable
constexpr size_t shadow_first_slot = 472, shadow_slots = 32;
alignas(page_size) uint64_t early_tables[3][512];
alignas(page_size) char early_shadow[page_size];

uint64_t physical(const void* in_image) {
    return reinterpret_cast<uint64_t>(in_image) - kernel_image_base;
}

struct compiler_global { // GCC's struct __asan_global
    uint64_t start, size, size_with_redzone;
    const char *name, *module;
    uint64_t dynamic;
    const void *location, *odr;
};
// Until there is a shadow to mark.
struct {
    const compiler_global* globals;
    size_t count;
} registered[1024];
size_t registered_count;

// `size` bytes of pages at `va`, of zeros.
void back(uint64_t va, uint64_t size, const shadow_maker& maker, uint64_t bits) {
    for (uint64_t at = page_round_down(va); at < va + size; at += page_size)
        if (uint64_t& entry = maker.entry(at); !entry)
            entry = maker.page().value() | bits;
}

void back_shadow(uint64_t start, uint64_t end, const shadow_maker& maker, uint64_t bits) {
    back(reinterpret_cast<uint64_t>(shadow_of(start)), (end - start) / shadow_scale, maker, bits);
}

} // namespace

// Called by start32.S with the boot page tables loaded.
extern "C" void shadow_map_early() {
    const void* below = early_shadow;
    for (auto& table : early_tables) {
        for (uint64_t& entry : table)
            entry = physical(below) | early_bits;
        below = table;
    }
    auto* root = reinterpret_cast<uint64_t*>(direct_map_base + page_round_down(read_cr3()));
    for (size_t slot = shadow_first_slot; slot < shadow_first_slot + shadow_slots; slot++)
        root[slot] = physical(below) | early_bits;
}

void shadow_map(const memory_range* ram, size_t count, shadow_maker maker, uint64_t bits) {
    for (size_t i = 0; i < count; i++) {
        const uint64_t start = ram[i].start.value(), end = start + ram[i].size;
        back_shadow(direct_map_base + start, direct_map_base + end, maker, bits);
        back(origins_base + start / sanitize_granule * sizeof(origin),
             (end - start) / sanitize_granule * sizeof(origin), maker, bits);
        directly_mapped = end;
    }
    back_shadow(reinterpret_cast<uint64_t>(kernel_text_start),
                reinterpret_cast<uint64_t>(kernel_data_end), maker, bits);
    for (uint64_t slot = 1; slot <= kernel_stack_slots; slot++) {
        const uint64_t top = kernel_stacks_base + slot * kernel_stack_slot;
        back_shadow(top - kernel_stack_size, top, maker, bits);
    }
}

void shadow_use() {
    for (size_t i = 0; i < registered_count; i++)
        for (size_t j = 0; j < registered[i].count; j++) {
            const compiler_global& g = registered[i].globals[j];
            mark(g.start, g.size, g.size_with_redzone, shadow_global);
        }
    watching = true;
}

void sanitize_unpoison(void* p, size_t n, size_t room) {
    const auto address = reinterpret_cast<uint64_t>(p);
    mark(address, n, room, shadow_behind);
    change_origins(address, room, [](origin& o, uint32_t calls) { o = {calls, 0}; });
}

void sanitize_poison(void* p, size_t n) {
    const auto address = reinterpret_cast<uint64_t>(p);
    mark(address, 0, n, shadow_freed);
    change_origins(address, n, [](origin& o, uint32_t calls) { o.freed = calls; });
}

void sanitize_read(const void* p, size_t n) { check(reinterpret_cast<uint64_t>(p), n, false); }
void sanitize_write(void* p, size_t n) { check(reinterpret_cast<uint64_t>(p), n, true); }

void panic_describe_memory() {
    if (!found || !is_direct(found))
        return;
    const origin& o = *origin_of(found);
    print_trace("allocated", o.allocated);
    if (o.freed)
        print_trace("freed", o.freed);
}

// ---- What the compiler calls --------------------------------------------------------------------

#define OF_SIZE(n)                                                                                 \
    void __asan_load##n##_noabort(uint64_t a) { check(a, n, false); }                              \
    void __asan_store##n##_noabort(uint64_t a) { check(a, n, true); }

extern "C" {

OF_SIZE(1)
OF_SIZE(2)
OF_SIZE(4)
OF_SIZE(8)
OF_SIZE(16)
void __asan_loadN_noabort(uint64_t a, size_t n) { check(a, n, false); }
void __asan_storeN_noabort(uint64_t a, size_t n) { check(a, n, true); }

// A stack is not used any more from there on, but by a new owner: kernel_stack_allocate().
void __asan_handle_no_return() {}

void __asan_register_globals(const compiler_global* globals, size_t count) {
    ASSERT(registered_count < std::size(registered));
    registered[registered_count++] = {globals, count};
}
void __asan_unregister_globals(const compiler_global*, size_t) {}
// Around a file's constructors, for its own objects.
void __asan_before_dynamic_init(const char*) {}
void __asan_after_dynamic_init() {}

} // extern "C"
