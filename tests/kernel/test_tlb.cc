// TLB shootdown: what other CPUs may still do with a translation that was taken back (nothing),
// and pmaps that are destroyed while CPUs have them loaded.
#include "kernel/sched/sched.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"
#include "tests/kernel/test_pmap.h"

#include <machine/percpu.h>

namespace {

constexpr unsigned rounds = 25;
constexpr vm_prot ro = vm_prot::read, rw = vm_prot::rw;
const vaddr_t va(0x4000'0000);

uint32_t& word(vm_page& page) { return *static_cast<uint32_t*>(page.data()); }

// Waits without giving the CPU away: the testing thread must stay where it is, for the other CPUs
// are each kept by a thread that never yields.
template <class Condition> void stay_until(Condition condition) {
    while (!condition())
        cpu::relax();
}

unsigned this_cpu_id() {
    cpu::interrupts_push_off();
    unsigned id = cpu::id();
    cpu::interrupts_pop_off();
    return id;
}

// What the testing thread tells the threads on the other CPUs: the round, and whether the right
// has been taken back. They answer with the last round that they have used the right in.
struct bulletin {
    std::atomic<unsigned> round{0};
    std::atomic<bool> taken{false}, end{false};
    std::atomic<unsigned> used_in[max_cpus] = {};
    std::atomic<unsigned> stale{0};
};

// Runs `use(round)` over and over on every other CPU, with `p` loaded; use() says whether the
// access went through. The calling thread does, for each round, prepare(), and once every
// other CPU has had an access, take(); no access that begins after that may go through.
template <class Use, class Prepare, class Take>
void race(test_pmap& p, Use use, Prepare prepare, Take take) {
    bulletin b;
    const unsigned self = this_cpu_id();
    auto body = [&](unsigned cpu) {
        if (cpu == self)
            return;
        loaded_pmap loaded(p);
        while (!b.end) {
            const unsigned round = b.round.load();
            const bool taken = b.taken.load();
            if (!use())
                cpu::relax();
            else if (!taken)
                b.used_in[cpu] = round;
            else if (b.taken) // still: so it was not granted anew before the access
                b.stale++;
        }
    };
    auto others = [&] {
        for (unsigned round = 1; round <= rounds; round++) {
            b.taken = false; // before the right is there again: see body
            prepare();
            b.round = round;
            for (unsigned cpu = 0; cpu < cpu::count(); cpu++)
                if (cpu != self)
                    stay_until([&] { return b.used_in[cpu] == round; });
            take();
            b.taken = true;
            for (int i = 0; i < 50; i++)
                cpu::relax();
        }
        b.end = true;
    };
    struct user {
        decltype(body)* run;
        unsigned cpu;
        void operator()() const { (*run)(cpu); }
    };
    std::optional<on_cpu<user>> threads[max_cpus];
    for (unsigned cpu = 0; cpu < cpu::count(); cpu++)
        if (cpu != self)
            threads[cpu].emplace(cpu, user{&body, cpu});
    others();
    for (auto& t : threads)
        t.reset();
    EXPECT_EQ(b.stale.load(), 0u);
}

} // namespace

KTEST(tlb, no_read_after_remove) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    test_pmap p;
    test_pages pages(1);
    REQUIRE(p && pages.complete());
    race(
        p, [] { return can_read(va); }, [&] { EXPECT(p->enter(va, pages[0], ro).has_value()); },
        [&] { p->remove(va, va + page_size); });
}

KTEST(tlb, no_write_after_protect) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    test_pmap p;
    test_pages pages(1);
    REQUIRE(p && pages.complete());
    race(
        p, [] { return try_write(va, 0, 0).has_value(); },
        [&] { EXPECT(p->enter(va, pages[0], rw).has_value()); },
        [&] { p->protect(va, va + page_size, ro); });
}

KTEST(tlb, no_write_after_page_protect) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    test_pmap p;
    test_pages pages(1);
    REQUIRE(p && pages.complete());
    race(
        p, [] { return try_write(va, 0, 0).has_value(); },
        [&] { EXPECT(p->enter(va, pages[0], rw).has_value()); },
        [&] { pmap::page_protect(pages[0], ro); });
}

KTEST(tlb, no_read_after_a_large_remove) {
    // More pages than a batch has room for: the whole TLB is flushed.
    if (cpu::count() == 1)
        SKIP("needs two processors");
    constexpr size_t n = 100;
    test_pmap p;
    test_pages pages(n);
    REQUIRE(p && pages.complete());
    auto at = [](size_t i) { return va + i * page_size; };
    race(
        p,
        [&] {
            bool any = false;
            for (size_t i = 0; i < n; i++)
                any |= can_read(at(i));
            return any;
        },
        [&] {
            for (size_t i = 0; i < n; i++)
                EXPECT(p->enter(at(i), pages[i], ro, {.access = vm_prot::read}).has_value());
        },
        [&] { p->remove(at(0), at(n)); });
}

// A range is unmapped, and flushed only at its end; meanwhile the owner of its first page takes the
// page back. Nobody may reach that any more when page_protect() returns, though it has found no
// mapping.
KTEST(tlb, no_read_after_page_protect_in_the_middle_of_a_remove) {
    if (cpu::count() < 3)
        SKIP("needs three processors");
    constexpr size_t n = 1000; // mappings of one page: the later ones take their time to be removed
    test_pmap p;
    test_pages pages(2);
    REQUIRE(p && pages.complete());
    constexpr uint32_t owned = 1, freed = 2;
    std::atomic<unsigned> mapped{0}, read{0}, gone{0}, stale{0};
    constexpr unsigned tries = 3;
    const unsigned self = this_cpu_id();
    auto other = [&](unsigned i) { return (self + i) % cpu::count(); };
    on_cpu reader(other(1), [&] {
        loaded_pmap loaded(p);
        while (gone != tries) {
            const unsigned round = mapped;
            const uint32_t value = read_word(va);
            if (value == owned)
                read = round;
            else if (value == freed)
                stale++;
        }
    });
    on_cpu remover(other(2), [&] {
        for (unsigned round = 1; round <= tries; round++) {
            stay_until([&] { return read == round; });
            p->remove(va, va + (n + 1) * page_size);
            gone = round;
        }
    });
    for (unsigned round = 1; round <= tries; round++) {
        word(pages[0]) = owned;
        for (size_t i = 1; i <= n; i++)
            EXPECT(p->enter(va + i * page_size, pages[1], ro).has_value());
        EXPECT(p->enter(va, pages[0], ro).has_value());
        mapped = round;
        stay_until([&] { return read == round; });
        stay_until([&] { return pmap::mapping_count(pages[0]) == 0; });
        pmap::page_protect(pages[0], vm_prot::none);
        word(pages[0]) = freed;
        stay_until([&] { return gone == round; });
    }
    reader.join();
    remover.join();
    EXPECT_EQ(stale.load(), 0u);
}

KTEST(tlb, replaced_page_is_seen_everywhere) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    test_pmap p;
    test_pages pages(2);
    REQUIRE(p && pages.complete());
    word(pages[0]) = 1;
    word(pages[1]) = 2;
    race(
        p, [] { return read_word(va) == 1; },
        [&] { EXPECT(p->enter(va, pages[0], ro).has_value()); },
        [&] { EXPECT(p->enter(va, pages[1], ro).has_value()); });
}

KTEST(tlb, kernel_mapping_removed_everywhere) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    const vaddr_t kva(0xffff'c07f'4000'0000);
    test_pages pages(2);
    REQUIRE(pages.complete());
    auto* at = reinterpret_cast<volatile uint32_t*>(kva.value());
    word(pages[0]) = 1;
    word(pages[1]) = 2;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < 2; i++) {
            REQUIRE(pmap::kernel_enter(kva, pages[i].physical(), ro).has_value());
            on_all_cpus(cpu::count(), [&](unsigned) { EXPECT_EQ(at[0], i + 1); });
            pmap::kernel_remove(kva, page_size);
        }
    }
}

// On a processor that has some program's memory loaded, as most have.
KTEST(tlb, kernel_mapping_removed_beside_a_user_pmap) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    const vaddr_t kva(0xffff'c07f'4000'0000);
    test_pmap p;
    test_pages pages(2);
    REQUIRE(p && pages.complete());
    auto* at = reinterpret_cast<volatile uint32_t*>(kva.value());
    word(pages[0]) = 0;
    word(pages[1]) = 1;
    std::atomic<unsigned> entered{0}, seen{0}, stale{0};
    auto body = [&] {
        loaded_pmap loaded(p);
        for (unsigned round = 1; round <= rounds; round++) {
            stay_until([&] { return entered == round; });
            stale += at[0] != round % 2;
            seen = round;
        }
    };
    const unsigned other = this_cpu_id() == 0 ? 1 : 0;
    on_cpu<decltype(body)> reader(other, body);
    for (unsigned round = 1; round <= rounds; round++) {
        EXPECT(pmap::kernel_enter(kva, pages[round % 2].physical(), ro).has_value());
        entered = round;
        stay_until([&] { return seen == round; });
        pmap::kernel_remove(kva, page_size);
    }
    EXPECT_EQ(stale.load(), 0u);
}

KTEST(tlb, many_initiators) {
    // Every CPU shoots at all others at once, in one pmap and over each other's shoulders.
    test_pmap p;
    constexpr size_t per_cpu = 4;
    test_pages pages(16 * per_cpu);
    REQUIRE(p && pages.complete());
    std::atomic<unsigned> wrong{0};
    on_all_cpus(cpu::count(), [&](unsigned self) {
        loaded_pmap loaded(p);
        for (unsigned i = 0; i < 60; i++) {
            const size_t k = self * per_cpu + i % per_cpu;
            const vaddr_t mine = va + k * page_size;
            if (!p->enter(mine, pages[k], rw)) {
                wrong++;
                continue;
            }
            if (!can_write(mine))
                wrong++;
            if (i % 3 == 0)
                pmap::page_protect(pages[k], vm_prot::none);
            else
                p->remove(mine, mine + page_size);
            if (can_read(mine))
                wrong++;
        }
    });
    EXPECT_EQ(wrong.load(), 0u);
    p->check();
}

KTEST(tlb, destroy_unloads_lazy_cpus) {
    for (int round = 0; round < 20; round++) {
        test_pmap p;
        test_pages pages(1);
        REQUIRE(p && pages.complete());
        REQUIRE(p->enter(va, pages[0], ro).has_value());
        // Threads that use it and end: their CPUs go idle with it loaded.
        on_all_cpus(cpu::count(), [&](unsigned) {
            loaded_pmap loaded(p);
            EXPECT(can_read(va));
        });
        auto* machine = &pmap_machine::of(*p);
        p.destroy();
        for (unsigned i = 0; i < cpu::count(); i++)
            EXPECT(cpus[i].loaded_pmap != machine);
    }
}

KTEST(tlb, destroy_while_a_cpu_waits_for_our_lock) {
    // The other CPU has the pmap loaded and spins, with interrupts off, for a lock that the
    // destroyer holds: it must answer all the same.
    if (cpu::count() == 1)
        SKIP("needs two processors");
    spin_lock lock{lock_rank::process, "test"};
    const unsigned other = (this_cpu_id() + 1) % cpu::count();
    for (int round = 0; round < 20; round++) {
        test_pmap p;
        REQUIRE(p);
        std::atomic<bool> loaded{false}, locked{false}, spinning{false}, done{false};
        auto body = [&] {
            {
                loaded_pmap use(p);
            }
            loaded = true;
            stay_until([&] { return locked.load(); });
            cpu::interrupts_push_off();
            spinning = true;
            lock.lock();
            lock.unlock();
            cpu::interrupts_pop_off();
            done = true;
        };
        // Not on the CPU that we hold the lock on.
        thread& self = current_thread();
        const uint32_t allowed = self.allowed_cpus;
        self.allowed_cpus = 1u << this_cpu_id();
        on_cpu waiter(other, body);
        stay_until([&] { return loaded.load(); });
        lock.lock();
        locked = true;
        stay_until([&] { return spinning.load(); });
        p.destroy();
        EXPECT(!done);
        lock.unlock();
        waiter.join();
        self.allowed_cpus = allowed;
        EXPECT(done.load());
    }
}
