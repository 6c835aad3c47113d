// The release that afork's descriptor tells of, in every order of child and reader; fork modes.
#include "kernel/lifecycle/vfork_wait.h"
#include "kernel/process/fork_mode.h"
#include "kernel/sched/sched.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"
#include "vm/vmspace.h"

using namespace linux_abi;

KTEST(afork, record_comes_with_the_release) {
    auto made = vfork_wait::create();
    REQUIRE(made.has_value());
    vfork_wait& child = **made;
    EXPECT_EQ(child.poll(nullptr), 0u);
    auto early = child.wait_for_record(true);
    EXPECT(!early && early.error() == Errno::again);
    child.release({7, afork_record::killed, 9, 0});
    EXPECT_EQ(child.poll(nullptr), uint32_t(pollin | pollrdnorm));
    for (unsigned i = 0; i < 2; i++) { // it can be read again
        auto record = child.wait_for_record(true);
        REQUIRE(record.has_value());
        EXPECT_EQ(record->pid, 7);
        EXPECT_EQ(record->what, int32_t{afork_record::killed});
        EXPECT_EQ(record->status, 9);
    }
}

KTEST(afork, the_thread_says_how_it_let_go) {
    struct {
        int wait_status;
        int32_t what, status;
    } const cases[] = {{3 << 8, afork_record::exit, 3}, {11 | 0x80, afork_record::killed, 11}};
    thread& self = current_thread();
    for (auto& c : cases) {
        auto made = vfork_wait::create();
        REQUIRE(made.has_value());
        self.vfork_parent = *made;
        vfork_release(self, &c.wait_status);
        auto record = (*made)->wait_for_record(true);
        REQUIRE(record.has_value());
        EXPECT_EQ(record->what, c.what);
        EXPECT_EQ(record->status, c.status);
    }
}

KTEST(afork, reader_and_poller_are_woken) {
    for (unsigned round = 0; round < 100; round++) {
        auto made = vfork_wait::create();
        REQUIRE(made.has_value());
        vfork_wait& child = **made;
        const bool by_poll = ktest_random(2) != 0;
        const bool release_first = ktest_random(2) != 0;
        std::atomic<bool> released{false}, at_it{false};
        on_all_cpus(2, [&](unsigned me) {
            if (me == 1) {
                if (!release_first)
                    spin_until([&] { return at_it.load(); });
                child.release({1, afork_record::exec, 0, 0});
                released.store(true);
                return;
            }
            if (release_first)
                spin_until([&] { return released.load(); });
            at_it.store(true);
            if (by_poll) {
                poll_sleeper p;
                if (child.poll(&p) == 0)
                    EXPECT(p.wait(forever));
            }
            EXPECT(child.wait_for_record(by_poll).has_value());
        });
    }
}

KTEST(fork_mode, own_modes_before_the_default) {
    own_fork_modes parent, child;
    EXPECT(parent.for_fork() == fork_mode::cow && parent.for_vfork() == vfork_mode::share);
    auto old = parent.change(1, 2);
    REQUIRE(old.has_value());
    EXPECT_EQ(*old, 0);
    EXPECT(parent.for_fork() == fork_mode::copy && parent.for_vfork() == vfork_mode::cow);
    EXPECT(!parent.change(4, 0) && !parent.change(0, 4) && !parent.change(-2, 0));
    child.inherit(parent);
    old = child.change(own_fork_modes::unchanged, own_fork_modes::unchanged);
    REQUIRE(old.has_value());
    EXPECT_EQ(*old, 1 | 2 << 8);
    EXPECT(!fork_mode_set_default("cows"));
    EXPECT(fork_mode_set_default("cow+pte"));
    EXPECT(own_fork_modes().for_fork() == fork_mode::cow_pte);
    EXPECT(child.for_fork() == fork_mode::copy);
    EXPECT(fork_mode_set_default("cow"));
}
