// vfork's wait, the random generator, the command line: what needs no user program.
#include "arch/timer.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/random.h"
#include "kernel/lifecycle/exec_strings.h"
#include "kernel/lifecycle/vfork_wait.h"
#include "kernel/sched/sched.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"

#include <span>

KTEST(vfork_wait, parent_runs_only_after_release) {
    for (unsigned round = 0; round < 200; round++) {
        auto made = vfork_wait::create();
        REQUIRE(made.has_value());
        ref_ptr<vfork_wait> wait = *made;
        std::atomic<bool> released{false}, seen{false};
        // Both orders: the child may have let go before the parent goes to sleep.
        const bool child_first = ktest_random(2) != 0;
        on_all_cpus(2, [&](unsigned me) {
            if (me == 0) {
                if (child_first)
                    spin_until([&] { return released.load(); });
                wait->wait();
                seen.store(released.load());
            } else {
                if (!child_first)
                    thread_yield();
                released.store(true);
                wait->release();
            }
        });
        EXPECT(seen.load());
    }
}

KTEST(vfork_wait, release_wakes_the_child_of_the_thread_once) {
    auto made = vfork_wait::create();
    REQUIRE(made.has_value());
    thread& self = current_thread();
    self.vfork_parent = *made;
    EXPECT_EQ((*made)->references(), 2u);
    vfork_release(self);
    EXPECT(!self.vfork_parent);
    EXPECT_EQ((*made)->references(), 1u);
    vfork_release(self); // nobody waits any more
    (*made)->wait();     // does not sleep
}

KTEST(random, streams_differ_and_cover_all_bits) {
    uint64_t ones = 0, zeros = 0;
    uint64_t last = 0;
    for (unsigned i = 0; i < 64; i++) {
        uint64_t value = random_u64();
        EXPECT(value != last);
        ones |= value;
        zeros |= ~value;
        last = value;
    }
    EXPECT_EQ(ones, UINT64_MAX);
    EXPECT_EQ(zeros, UINT64_MAX);
    std::byte a[200], b[200];
    random_fill(a);
    random_fill(b);
    EXPECT(memcmp(a, b, sizeof a) != 0);
    // Nothing beyond the span is touched.
    std::byte guarded[10] = {};
    random_fill(std::span(guarded, 5));
    for (unsigned i = 5; i < 10; i++)
        EXPECT(guarded[i] == std::byte{0});
}

KTEST(exec_strings, budget_and_order) {
    exec_strings s, front;
    uint64_t budget = 100;
    EXPECT(s.append("script", budget).has_value());
    EXPECT(s.append("one", budget).has_value());
    EXPECT_EQ(budget, 100u - 7 - 8 - 4 - 8);
    EXPECT_EQ(s.count(), 2u);
    EXPECT_EQ(s.bytes(), 11u);
    s.drop_first();
    EXPECT_EQ(s.count(), 1u);
    EXPECT_EQ(s.bytes(), 4u);
    EXPECT(front.append("/bin/sh", budget).has_value());
    front.take(s);
    EXPECT_EQ(front.count(), 2u);
    EXPECT_EQ(s.count(), 0u);
    EXPECT_EQ(front.bytes(), 12u);
    char big[200];
    memset(big, 'x', sizeof big);
    status refused = front.append({big, sizeof big}, budget);
    EXPECT(!refused && refused.error() == Errno::toobig);
    EXPECT_EQ(front.count(), 2u);
}

KTEST(exec_strings, strings_longer_than_a_page) {
    exec_strings s;
    uint64_t budget = 1 << 20;
    static char big[10000];
    memset(big, 'y', sizeof big);
    EXPECT(s.append({big, sizeof big}, budget).has_value());
    EXPECT(s.append("tail", budget).has_value());
    EXPECT_EQ(s.bytes(), sizeof big + 1 + 5);
    s.drop_first();
    EXPECT_EQ(s.bytes(), 5u);
}

KTEST(exec_strings, count_for_the_process_while_they_are_kept) {
    const std::atomic<uint64_t>& counted = current_process().call_bytes;
    const uint64_t before = counted.load();
    {
        exec_strings s;
        uint64_t budget = 1 << 20;
        static char big[10000];
        memset(big, 'z', sizeof big);
        EXPECT(s.append({big, sizeof big}, budget).has_value());
        EXPECT(s.append("tail", budget).has_value());
        const uint64_t three_pages = counted.load() - before;
        EXPECT(three_pages > 2 * page_size && three_pages <= 3 * page_size);
        s.drop_first();
        EXPECT_EQ(counted.load() - before, three_pages / 3);
    }
    EXPECT_EQ(counted.load(), before);
}

KTEST(ledger, its_entries_count) {
    ledger costs, childs;
    EXPECT_EQ(costs.footprint(), 0u);
    for (unsigned i = 0; i < ledger_limit + 3; i++) {
        ledger_entry* entry = ledger_entry::create();
        REQUIRE(entry);
        (i < 3 ? childs : costs).enter(*entry);
    }
    const uint64_t full = costs.footprint();
    EXPECT(full >= ledger_limit * sizeof(ledger_entry));
    EXPECT_EQ(childs.footprint(), full / ledger_limit * 3);
    costs.inherit(childs);
    EXPECT_EQ(costs.footprint(), full); // the oldest have made room
    EXPECT_EQ(childs.footprint(), 0u);
    costs.clear();
    EXPECT_EQ(costs.footprint(), 0u);
}

KTEST(cmdline, words) {
    char value[32];
    EXPECT(!cmdline_has("there-is-no-such-word"));
    EXPECT(!cmdline_value("there-is-no-such-word", value, sizeof value));
    EXPECT_EQ(cmdline_number("there-is-no-such-word", 7), 7u);
}
