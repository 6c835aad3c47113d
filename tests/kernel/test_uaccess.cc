// The accessors of user memory, on a page of a pmap made for the test. The test's thread has no
// address space of its own, so that no fault is resolved: what is not mapped stays so.
#include "arch/uaccess.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/mapped_page.h"

#include <machine/asm.h>
#include <machine/instructions.h>

namespace {

constexpr vaddr_t base = mapped_page::base;
constexpr vaddr_t end = base + page_size;

} // namespace

KTEST(uaccess, copies_both_ways) {
    mapped_page page(vm_prot::rw);
    char text[16] = {};
    memcpy(page.data() + 100, "hello", 6);
    EXPECT(copy_in(text, base + 100, 6).has_value());
    EXPECT_EQ(memcmp(text, "hello", 6), 0);
    EXPECT(copy_out(base + 200, "world", 6).has_value());
    EXPECT_EQ(memcmp(page.data() + 200, "world", 6), 0);
    EXPECT(zero_out(base + 200, 5).has_value());
    EXPECT_EQ(page.data()[200], 0);
}

KTEST(uaccess, says_to_the_byte_where_it_stopped) {
    mapped_page page(vm_prot::rw);
    char buffer[64] = {};
    for (size_t mapped = 0; mapped < 40; mapped++) {
        EXPECT_EQ(copy_in_partial(buffer, end - mapped, 40), mapped);
        EXPECT_EQ(copy_out_partial(end - mapped, buffer, 40), mapped);
        EXPECT(!copy_in(buffer, end - mapped, 40).has_value());
        EXPECT(!zero_out(end - mapped, 40).has_value());
    }
}

KTEST(uaccess, refuses_to_write_where_the_program_may_not) {
    mapped_page page(vm_prot::read);
    char byte = 1;
    EXPECT(copy_in(&byte, base, 1).has_value());
    EXPECT_EQ(byte, 0);
    status written = copy_out(base, "x", 1);
    EXPECT(!written.has_value() && written.error() == Errno::fault);
    EXPECT_EQ(page.data()[0], 0);
}

KTEST(uaccess, refuses_addresses_outside_the_user_half) {
    char buffer[16];
    for (uint64_t address : {user_max.value(), user_max.value() - 8, uint64_t{1} << 47,
                             uint64_t{0xffff'8000'0000'0000}, ~uint64_t{0}, ~uint64_t{7}}) {
        EXPECT(!copy_in(buffer, vaddr_t(address), sizeof buffer).has_value());
        EXPECT(!copy_out(vaddr_t(address), buffer, sizeof buffer).has_value());
        EXPECT(!zero_out(vaddr_t(address), sizeof buffer).has_value());
        EXPECT(!copy_in_string(buffer, vaddr_t(address), sizeof buffer).has_value());
    }
    EXPECT(!copy_in(buffer, base, ~size_t{0}).has_value()); // and lengths that wrap
    EXPECT(!copy_in(buffer, base, user_max - base + 1).has_value());
    EXPECT(copy_in(buffer, base, 0).has_value());
}

KTEST(uaccess, strings_end_at_their_nul) {
    mapped_page page(vm_prot::rw);
    char text[16];
    const vaddr_t at = end - 6;
    memcpy(page.data() + page_size - 6, "abcde", 6);
    auto whole = copy_in_string(text, at, sizeof text);
    EXPECT(whole.has_value() && *whole == 5 && memcmp(text, "abcde", 6) == 0);
    auto fitting = copy_in_string(text, at, 6);
    EXPECT(fitting.has_value() && *fitting == 5);
    auto cut = copy_in_string(text, at, 5);
    EXPECT(!cut.has_value() && cut.error() == Errno::nametoolong);
    page.data()[page_size - 1] = 'f';
    auto unending = copy_in_string(text, at, sizeof text);
    EXPECT(!unending.has_value() && unending.error() == Errno::fault);
}

// With SMAP: RFLAGS.AC is set nowhere but in them, whether they succeed or fault.
KTEST(uaccess, user_memory_is_closed_after_each) {
    mapped_page page(vm_prot::rw);
    char text[16] = "text";
    const auto closed = [] { return !(read_flags() & RFLAGS_AC); };
    for (vaddr_t at : {base, end}) {
        (void)copy_in(text, at, sizeof text);
        EXPECT(closed());
        (void)copy_out(at, text, sizeof text);
        EXPECT(closed());
        (void)zero_out(at, sizeof text);
        EXPECT(closed());
        (void)copy_in_string(text, at, sizeof text);
        EXPECT(closed());
        (void)user_load(at);
        EXPECT(closed());
        (void)user_compare_exchange(at, 0, 1);
        EXPECT(closed());
    }
}

KTEST(uaccess, atomic_words_under_a_spin_lock) {
    mapped_page page(vm_prot::rw);
    const uint32_t seven = 7;
    memcpy(page.data(), &seven, 4);
    spin_lock lock{lock_rank::futex, "test"};
    lock_guard guard(lock);
    auto seen = user_compare_exchange(base, 7, 8);
    EXPECT(seen.has_value() && *seen == 7);
    seen = user_compare_exchange(base, 7, 9);
    EXPECT(seen.has_value() && *seen == 8);
    seen = user_load(base);
    EXPECT(seen.has_value() && *seen == 8);
    seen = user_load(end);
    EXPECT(!seen.has_value() && seen.error() == Errno::again);
    seen = user_load(vaddr_t(0xffff'8000'0000'0000));
    EXPECT(!seen.has_value() && seen.error() == Errno::fault);
}
