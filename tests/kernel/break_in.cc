#include "tests/kernel/break_in.h"

#include "arch/memory.h"
#include "lib/assert.h"
#include "tests/kernel/mapped_page.h"
#include "vm/phys/pool.h"

#include <cstdint>
#include <cstring>
#include <machine/boot.h>
#include <machine/layout.h>

namespace {

constexpr uint8_t code_that_returns = 0xc3;

const int constant = 1;
uint8_t variable[16] = {code_that_returns};

[[gnu::noinline]] void copy_without_a_bound(char* to, const char* from) {
    while ((*to++ = *from++)) // NOLINT(bugprone-assignment-in-if-condition)
        asm volatile("");
}

[[gnu::noinline]] void smash_the_stack() {
    char small[8];
    copy_without_a_bound(small, "a string of more than eight bytes");
    asm volatile("" ::"r"(small) : "memory");
}

// NOLINTNEXTLINE(misc-no-recursion): that is what it is for
[[gnu::noinline]] unsigned call_itself(unsigned depth) {
    static volatile unsigned deepest =
        UINT32_MAX; // the compiler is not to know that there is no end
    volatile unsigned here = depth;
    return depth < deepest ? call_itself(depth + 1) + here : here;
}

void run(const void* code) { reinterpret_cast<void (*)()>(reinterpret_cast<uintptr_t>(code))(); }

void store(const volatile void* to) {
    *const_cast<volatile uint8_t*>(static_cast<const volatile uint8_t*>(to)) = code_that_returns;
}

void run_heap() {
    auto memory = kmem_alloc(64);
    ASSERT(memory);
    memset(memory, code_that_returns, 64);
    run(memory);
}

void* program_memory() { return reinterpret_cast<void*>(mapped_page::base.value()); }

void run_program() {
    const mapped_page page(vm_prot::rx);
    memset(page.data(), code_that_returns, page_size);
    run(program_memory());
}

void read_program() {
    const mapped_page page(vm_prot::rw);
    asm volatile("" ::"r"(*static_cast<volatile uint8_t*>(program_memory())));
}

void write_program() {
    const mapped_page page(vm_prot::rw);
    store(program_memory());
}

void write_alias() {
    const auto code = reinterpret_cast<uint64_t>(kernel_text_start);
    store(direct_map(paddr_t(code - kernel_image_base)));
}

struct attempt {
    const char* name;
    void (*work)();
};

constexpr attempt attempts[] = {
    {"stack-smashed", smash_the_stack},
    {"recursion", [] { (void)call_itself(0); }},
    {"write-constant", [] { store(&constant); }},
    {"write-code", [] { store(kernel_text_start); }},
    {"write-alias", write_alias},
    {"run-data", [] { run(variable); }},
    {"run-heap", run_heap},
    {"run-program", run_program},
    {"read-program", read_program},
    {"write-program", write_program},
};

} // namespace

void break_in(const char* how) {
    for (const attempt& a : attempts) {
        if (strcmp(a.name, how) != 0)
            continue;
        a.work();
        panic("%s: nothing has stopped it", how);
    }
}
