// Checked access to the running program's memory; the instructions that do it are in uaccess.S.
#include "arch/uaccess.h"

#include "arch/cpu.h"
#include "arch/memory.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/sanitize.h"

#include <algorithm>
#include <machine/asm.h>
#include <machine/cpu_features.h>

extern "C" {
size_t user_copy(void* to, const void* from, size_t size);
size_t user_zero(void* to, size_t size);
int64_t user_copy_string(char* to, const char* from, size_t size);
bool user_load_word(const uint32_t* word, uint32_t* value);
bool user_exchange_word(uint32_t* word, uint32_t* expect, uint32_t desired);
}

namespace {

bool in_user_half(vaddr_t start, size_t size) {
    return start.value() < user_max.value() && size <= user_max.value() - start.value();
}

// The faults of these accessors may sleep.
void assert_may_sleep() { CHECK_ASSERT(cpu::interrupts_enabled() && cpu_held_locks().count == 0); }

// With interrupts off a fault of an accessor is not resolved, which might sleep: it fails.
struct no_faults {
    no_faults() { cpu::interrupts_push_off(); }
    ~no_faults() { cpu::interrupts_pop_off(); }
    no_faults(const no_faults&) = delete;
};

template <class T> T* user_address(vaddr_t a) { return reinterpret_cast<T*>(a.value()); }

size_t copy_from_user(void* to, vaddr_t from, size_t size) {
    sanitize_write(to, size);
    return user_copy(to, user_address<const void>(from), size);
}

size_t copy_to_user(vaddr_t to, const void* from, size_t size) {
    sanitize_read(from, size);
    return user_copy(user_address<void>(to), from, size);
}

} // namespace

size_t copy_in_partial(void* to, vaddr_t from, size_t size) {
    assert_may_sleep();
    if (!in_user_half(from, size))
        return 0;
    return size - copy_from_user(to, from, size);
}

size_t copy_out_partial(vaddr_t to, const void* from, size_t size) {
    assert_may_sleep();
    if (!in_user_half(to, size))
        return 0;
    return size - copy_to_user(to, from, size);
}

status copy_in(void* to, vaddr_t from, size_t size) {
    assert_may_sleep();
    if (!in_user_half(from, size) || copy_from_user(to, from, size) != 0)
        return fail(Errno::fault);
    return {};
}

status copy_out(vaddr_t to, const void* from, size_t size) {
    assert_may_sleep();
    if (!in_user_half(to, size) || copy_to_user(to, from, size) != 0)
        return fail(Errno::fault);
    return {};
}

status zero_out(vaddr_t to, size_t size) {
    assert_may_sleep();
    if (!in_user_half(to, size) || user_zero(user_address<void>(to), size) != 0)
        return fail(Errno::fault);
    return {};
}

expected<size_t> copy_in_string(char* to, vaddr_t from, size_t size) {
    assert_may_sleep();
    if (!in_user_half(from, 1))
        return fail(Errno::fault);
    size_t readable = std::min<uint64_t>(size, user_max.value() - from.value());
    sanitize_write(to, readable);
    int64_t length = user_copy_string(to, user_address<const char>(from), readable);
    if (length >= 0)
        return static_cast<size_t>(length);
    // No NUL up to the end of the user half is a fault, up to the end of the buffer too long.
    bool too_long = length == -2 && readable == size;
    return fail(too_long ? Errno::nametoolong : Errno::fault);
}

expected<uint32_t> user_load(vaddr_t word) {
    ASSERT(word.value() % 4 == 0);
    if (!in_user_half(word, 4))
        return fail(Errno::fault);
    uint32_t value;
    const no_faults here;
    if (!user_load_word(user_address<const uint32_t>(word), &value))
        return fail(Errno::again);
    return value;
}

expected<uint32_t> user_compare_exchange(vaddr_t word, uint32_t expect, uint32_t desired) {
    ASSERT(word.value() % 4 == 0);
    if (!in_user_half(word, 4))
        return fail(Errno::fault);
    const no_faults here;
    if (!user_exchange_word(user_address<uint32_t>(word), &expect, desired))
        return fail(Errno::again);
    return expect;
}

bool user_memory_is_open() {
    uint64_t flags;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    return cpu_features.smap && (flags & RFLAGS_AC);
}
