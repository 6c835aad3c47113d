// Tests that run inside the kernel, in one of its threads, with `ktest` on the command line.
//
//     KTEST(pool, hands_out_distinct_objects) {
//         ...
//         EXPECT(a != b);
//         EXPECT_EQ(things.live(), 2);
//     }
//
// A test registers itself by being there. All run in an order shuffled by a seed, which is
// printed and can be given again as `ktest_seed=`. Around each test the runner compares what is
// allocated: pages, page tables, pool objects, kmem bytes and the commit account; a test that
// leaves something behind has failed. The output is KTAP.
#pragma once

#include "lib/format.h"
#include "lib/result.h"
#include "lib/types.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

struct ktest {
    const char* name; // "subject.name"
    void (*run)();
};

// Runs the tests whose name contains `pattern` (all, when it is null or empty). In a thread with
// no locks held. Returns how many failed.
int ktest_run(const char* pattern);

// For the macros below. Any thread of the running test may fail it.
void ktest_fail(const char* file, int line, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
void ktest_skip(const char* reason);

namespace ktest_detail {

struct shown {
    char text[40];
};
template <class T> shown show(const T& value) {
    shown s{};
    if constexpr (std::is_same_v<T, bool>)
        format_to(s.text, sizeof s.text, "%s", value ? "true" : "false");
    else if constexpr (std::is_enum_v<T>)
        format_to(s.text, sizeof s.text, "%ld", static_cast<long>(value));
    else if constexpr (std::signed_integral<T>)
        format_to(s.text, sizeof s.text, "%ld", static_cast<long>(value));
    else if constexpr (std::unsigned_integral<T>)
        format_to(s.text, sizeof s.text, "%lu (%#lx)", static_cast<unsigned long>(value),
                  static_cast<unsigned long>(value));
    else if constexpr (std::is_pointer_v<T> || std::is_null_pointer_v<T>)
        format_to(s.text, sizeof s.text, "%p", static_cast<const void*>(value));
    else
        format_to(s.text, sizeof s.text, "%#lx", static_cast<unsigned long>(value.value()));
    return s;
}

template <class A, class B> bool equal(const A& a, const B& b) {
    if constexpr (std::integral<A> && std::integral<B> && !std::is_same_v<A, bool> &&
                  !std::is_same_v<B, bool>)
        return static_cast<int64_t>(a) == static_cast<int64_t>(b);
    else
        return a == b;
}

template <class A, class B>
bool expect_equal(const char* file, int line, const char* text_a, const char* text_b, const A& a,
                  const B& b) {
    if (equal(a, b))
        return true;
    ktest_fail(file, line, "%s is %s, not %s (%s)", text_a, show(a).text, show(b).text, text_b);
    return false;
}

} // namespace ktest_detail

#define KTEST(subject, test)                                                                       \
    static void ktest_##subject##_##test();                                                        \
    static constexpr ktest ktest_entry_##subject##_##test{#subject "." #test,                      \
                                                          ktest_##subject##_##test};               \
    [[gnu::used,                                                                                   \
      gnu::section(".ktests")]] static constexpr const ktest* ktest_pointer_##subject##_##test =   \
        &ktest_entry_##subject##_##test;                                                           \
    static void ktest_##subject##_##test()

// A failed EXPECT is noted and the test goes on.
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ktest_fail(__FILE__, __LINE__, "%s is false", #condition);                             \
    } while (0)
#define EXPECT_EQ(a, b) ((void)ktest_detail::expect_equal(__FILE__, __LINE__, #a, #b, (a), (b)))
// A failed REQUIRE ends the test function.
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            ktest_fail(__FILE__, __LINE__, "%s is false", #condition);                             \
            return;                                                                                \
        }                                                                                          \
    } while (0)
// Ends the test function; the test counts as skipped.
#define SKIP(reason)                                                                               \
    do {                                                                                           \
        ktest_skip(reason);                                                                        \
        return;                                                                                    \
    } while (0)

// A reproducible stream of numbers, seeded anew for each test from the run's seed.
uint64_t ktest_random();
// 0..n-1.
inline uint64_t ktest_random(uint64_t n) { return ktest_random() % n; }
