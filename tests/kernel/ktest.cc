// The runner of the in-kernel tests.
#include "tests/kernel/ktest.h"

#include "arch/machine.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "kernel/base/cmdline.h"
#include "kernel/sched/sched.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/string.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_commit.h"

#include <algorithm>
#include <machine/kernel_stack.h>

// From the linker script.
extern "C" const ktest* const ktests_start[];
extern "C" const ktest* const ktests_end[];

namespace {

constexpr size_t max_tests = 512;
constexpr nanos_t settling_time = 2 * nanos_per_second;

struct {
    const ktest* test = nullptr;
    std::atomic<unsigned> failures{0};
    const char* skipped = nullptr;
    uint64_t random_state = 0;
} current;

__attribute__((format(printf, 1, 2))) void print(const char* format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    auto n = static_cast<size_t>(vformat_to(line, sizeof line - 1, format, args));
    va_end(args);
    n = std::min(n, sizeof line - 2);
    line[n++] = '\n';
    console_write_polled(line, n); // in one piece: other CPUs may print too
}

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
uint64_t splitmix64(uint64_t& state) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t choose_seed() {
    if (uint64_t given = cmdline_number("ktest_seed=", 0))
        return given;
    uint64_t seed = 0;
    if (machine_random(std::as_writable_bytes(std::span(&seed, 1))) != sizeof seed)
        seed = cycle_count();
    return seed % 1'000'000'000 + 1;
}

// ---- Leaks

// What is allocated at one moment.
struct account {
    static constexpr size_t max_pools = 128;
    uint64_t free_pages, table_pages, kmem_bytes, commit;
    struct {
        const pool_base* pool;
        uint64_t live;
    } pools[max_pools];
    size_t pool_count;

    void take() {
        kernel_stack_trim();
        for (pool_base* p = pool_base::first(); p; p = p->next())
            p->trim();
        free_pages = vm_page_get_statistics().free;
        table_pages = pmap_table_pages_in_use();
        kmem_bytes = kmem_bytes_in_use();
        commit = uvm_commit::committed();
        pool_count = 0;
        for (pool_base* p = pool_base::first(); p; p = p->next()) {
            ASSERT(pool_count < max_pools);
            pools[pool_count++] = {p, p->live()};
        }
    }

    // 0 for a pool that had not been used yet.
    uint64_t live(const pool_base* pool) const {
        for (size_t i = 0; i < pool_count; i++)
            if (pools[i].pool == pool)
                return pools[i].live;
        return 0;
    }

    bool same_as(const account& other) const {
        for (size_t i = 0; i < pool_count; i++)
            if (pools[i].live != other.live(pools[i].pool))
                return false;
        return free_pages == other.free_pages && table_pages == other.table_pages &&
               kmem_bytes == other.kmem_bytes && commit == other.commit;
    }

    void report_difference(const account& before) const {
        auto line = [](const char* what, uint64_t was, uint64_t is) {
            if (was != is)
                ktest_fail("leak check", 0, "%s: %lu before the test, %lu after it", what, was, is);
        };
        line("free pages", before.free_pages, free_pages);
        line("page-table pages", before.table_pages, table_pages);
        line("kmem bytes", before.kmem_bytes, kmem_bytes);
        line("committed pages", before.commit, commit);
        for (size_t i = 0; i < pool_count; i++)
            line(pools[i].pool->name(), before.live(pools[i].pool), pools[i].live);
    }
};

account before_test, after_test; // too large for a kernel stack

// What ended threads leave behind is given back by the CPUs that they ran on, soon.
void check_for_leaks() {
    const nanos_t deadline = now() + settling_time;
    for (;;) {
        after_test.take();
        if (after_test.same_as(before_test))
            return;
        if (now() >= deadline)
            break;
        sched_sleep_until(now() + nanos_per_second / 1000);
    }
    after_test.report_difference(before_test);
}

// A baseline that two looks, some time apart, agree on.
void take_baseline() {
    const nanos_t deadline = now() + settling_time;
    before_test.take();
    for (;;) {
        thread_yield();
        after_test.take();
        if (after_test.same_as(before_test) || now() >= deadline)
            return;
        before_test = after_test;
        sched_sleep_until(now() + nanos_per_second / 1000);
    }
}

void check_structures() {
    vm_page_check();
    for (pool_base* p = pool_base::first(); p; p = p->next())
        p->check();
    if (thread_held_locks().count != 0)
        ktest_fail("lock check", 0, "%s is still held", thread_held_locks().entries[0].name);
    alloc_fail_after(0);
}

// ---- Running

bool selected(const ktest& t, const char* pattern) {
    const size_t n = strlen(pattern);
    for (const char* s = t.name; strlen(s) >= n; s++)
        if (strncmp(s, pattern, n) == 0)
            return true;
    return false;
}

bool run_one(const ktest& t, size_t number, uint64_t seed) {
    take_baseline();
    current.test = &t;
    current.failures = 0;
    current.skipped = nullptr;
    current.random_state = seed;
    for (const char* s = t.name; *s; s++)
        current.random_state = current.random_state * 31 + static_cast<unsigned char>(*s);

    const nanos_t start = now();
    t.run();
    const nanos_t taken = now() - start;
    check_structures();
    check_for_leaks();

    const bool ok = current.failures == 0;
    if (ok && current.skipped)
        print("ok %zu - %s # SKIP %s", number, t.name, current.skipped);
    else
        print("%s %zu - %s # %lu.%03lu ms", ok ? "ok" : "not ok", number, t.name, taken / 1'000'000,
              taken / 1000 % 1000);
    return ok;
}

} // namespace

void ktest_fail(const char* file, int line, const char* format, ...) {
    char text[320];
    va_list args;
    va_start(args, format);
    vformat_to(text, sizeof text, format, args);
    va_end(args);
    // The first few say it all; a loop may bring thousands.
    if (current.failures.fetch_add(1) < 10)
        print("# %s: %s:%d: %s", current.test->name, file, line, text);
    if (cmdline_has("ktest_stop"))
        panic("a check of %s failed: %s:%d: %s", current.test->name, file, line, text);
}

void ktest_skip(const char* reason) { current.skipped = reason; }
uint64_t ktest_random() { return splitmix64(current.random_state); }

int ktest_run(const char* pattern) {
    static const ktest* tests[max_tests];
    size_t count = 0;
    for (const ktest* const* t = ktests_start; t != ktests_end; t++)
        if (selected(**t, pattern ? pattern : "")) {
            ASSERT(count < max_tests);
            tests[count++] = *t;
        }
    const uint64_t seed = choose_seed();
    uint64_t state = seed;
    for (size_t i = count; i > 1; i--)
        std::swap(tests[i - 1], tests[splitmix64(state) % i]);

    print("KTAP version 1");
    print("1..%zu", count);
    print("# the order is that of ktest_seed=%lu", seed);
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += !run_one(*tests[i], i + 1, seed);
    print("# %zu tests, %d failed", count, failed);
    return failed;
}
