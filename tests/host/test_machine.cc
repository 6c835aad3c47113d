// The simulated machine itself: memory, mappings, TLBs, panics and sleeping threads.
#include "arch/cpu.h"
#include "arch/host/host_machine.h"
#include "arch/host/tlb.h"
#include "arch/memory.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "tests/host/catch.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"
#include "vm/phys/vm_page.h"

#include <atomic>
#include <string>
#include <thread>

namespace {

constexpr vaddr_t va{0x40'0000};

// A pmap and two pages that end with the test.
struct mapped_memory {
    pmap* map = pmap::create();
    owned_page first{vm_page_alloc(page_owner::kernel, true)};
    owned_page second{vm_page_alloc(page_owner::kernel, true)};

    ~mapped_memory() { map->destroy(); }

    // What a program does: a load or store of one byte; false for a page fault.
    bool load(vaddr_t from, uint8_t& byte) {
        lock_guard bus(host_bus);
        const uint8_t* at = tlb::translate(pmap_machine::of(*map), from, vm_prot::read);
        if (at)
            byte = *at;
        return at;
    }
    bool store(vaddr_t to, uint8_t byte) {
        lock_guard bus(host_bus);
        uint8_t* at = tlb::translate(pmap_machine::of(*map), to, vm_prot::write);
        if (at)
            *at = byte;
        return at;
    }
};

uint8_t first_byte(const owned_page& page) { return *static_cast<uint8_t*>(page->data()); }

} // namespace

TEST_CASE("machine: pages are allocated, found by address and freed", "[machine]") {
    const vm_page_statistics before = vm_page_get_statistics();
    REQUIRE(before.total > 4096);
    {
        owned_page page(vm_page_alloc(page_owner::kernel, true));
        REQUIRE(page);
        CHECK(vm_page_of(page->physical()) == page.get());
        CHECK(direct_map_address(page->data()) == page->physical());
        CHECK(vm_page_get_statistics().free == before.free - 1);
    }
    CHECK(vm_page_get_statistics().free == before.free);
    vm_page_check();
}

TEST_CASE("machine: rights, referenced and modified bits", "[machine]") {
    mapped_memory m;
    uint8_t byte = 1;
    CHECK_FALSE(m.load(va, byte));
    REQUIRE(m.map->enter(va, *m.first.get(), vm_prot::read));
    CHECK_FALSE(pmap::is_referenced(*m.first.get()));
    CHECK(m.load(va, byte));
    CHECK(byte == 0);
    CHECK_FALSE(m.store(va, 7));
    CHECK(pmap::is_referenced(*m.first.get()));
    CHECK_FALSE(pmap::is_modified(*m.first.get()));

    REQUIRE(m.map->enter(va, *m.first.get(), vm_prot::rw));
    CHECK(m.load(va, byte)); // loads the TLB without the modified bit
    CHECK(m.store(va, 7));
    CHECK(first_byte(m.first) == 7);
    CHECK(pmap::clear_modified(*m.first.get()));
    CHECK_FALSE(pmap::is_modified(*m.first.get()));
    CHECK(m.store(va, 8));
    CHECK(pmap::is_modified(*m.first.get()));

    pmap::page_protect(*m.first.get(), vm_prot::read);
    CHECK_FALSE(m.store(va, 9));
    m.map->check();
    pmap::page_protect(*m.first.get(), vm_prot::none);
    CHECK_FALSE(m.load(va, byte));
    CHECK(pmap::is_modified(*m.first.get())); // the page remembers
    CHECK(m.map->resident_pages() == 0);
    CHECK(m.map->table_pages() == 1);
}

TEST_CASE("machine: a flush that is lost is found at the next access", "[machine]") {
    mapped_memory m;
    uint8_t byte;
    REQUIRE(m.map->enter(va, *m.first.get(), vm_prot::rw));
    REQUIRE(m.store(va, 1));

    SECTION("rights lowered") {
        host_lose_flushes(1);
        m.map->protect(va, va + page_size, vm_prot::read);
        CHECK_THAT(host_panic_of([&] { m.store(va, 2); }), ContainsSubstring("stale TLB entry"));
        CHECK(m.load(va, byte)); // what both allow is no error
    }
    SECTION("unmapped") {
        host_lose_flushes(1);
        m.map->remove(va, va + page_size);
        CHECK_THAT(host_panic_of([&] { m.load(va, byte); }), ContainsSubstring("it is unmapped"));
    }
    SECTION("unmapped and freed") {
        host_lose_flushes(1);
        m.map->remove(va, va + page_size);
        m.first.reset();
        CHECK_THAT(host_panic_of([&] { m.load(va, byte); }), ContainsSubstring("is free"));
    }
    SECTION("replaced") {
        host_lose_flushes(1);
        REQUIRE(m.map->enter(va, *m.second.get(), vm_prot::rw));
        CHECK_THAT(host_panic_of([&] { m.load(va, byte); }), ContainsSubstring("has replaced"));
    }
    SECTION("no flush lost") {
        REQUIRE(m.map->enter(va, *m.second.get(), vm_prot::rw));
        CHECK(m.load(va, byte));
        CHECK(byte == 0);
    }
    lock_guard bus(host_bus);
    tlb::flush(pmap_machine::of(*m.map), va.value());
}

TEST_CASE("machine: one CPU's change reaches another's TLB", "[machine]") {
    mapped_memory m;
    REQUIRE(m.map->enter(va, *m.first.get(), vm_prot::rw));
    std::atomic<int> step{0};
    bool before = false, after = true;
    unsigned other_cpu = 0;
    std::thread other([&] {
        other_cpu = cpu::id();
        before = m.store(va, 1);
        step = 1;
        while (step != 2)
            cpu::relax();
        after = m.store(va, 2);
    });
    while (step != 1)
        cpu::relax();
    const uint64_t remote = uvm_read(uvm_counter::flushes_remote);
    m.map->protect(va, va + page_size, vm_prot::read);
    CHECK(uvm_read(uvm_counter::flushes_remote) == remote + 1);
    step = 2;
    other.join();
    CHECK(cpu::id() == 0);
    CHECK(other_cpu != 0);
    CHECK(before);
    CHECK_FALSE(after);
    CHECK(first_byte(m.first) == 1);
}

TEST_CASE("machine: enter without memory changes nothing", "[machine]") {
    mapped_memory m;
    alloc_fail_after(1);
    CHECK_FALSE(m.map->enter(va, *m.first.get(), vm_prot::rw)); // no page table
    CHECK(m.map->table_pages() == 1);

    REQUIRE(m.map->enter(va, *m.first.get(), vm_prot::rw));
    const vaddr_t far = va + (uint64_t{64} << 20);
    alloc_fail_after(2);
    CHECK_FALSE(m.map->enter(far, *m.first.get(), vm_prot::rw)); // a table, but no pv entry
    alloc_fail_after(0);
    CHECK_FALSE(m.map->lookup(far));
    CHECK(m.map->table_pages() == 2);
    CHECK(pmap::mapping_count(*m.first.get()) == 1);
    m.map->check();

    REQUIRE(m.map->enter(far, *m.first.get(), vm_prot::read));
    CHECK(pmap::mapping_count(*m.first.get()) == 2);
    pmap* copy = pmap::create();
    REQUIRE(copy);
    copy->copy(*m.map, vaddr_t(0), user_max);
    CHECK(copy->resident_pages() == 2);
    CHECK(copy->lookup(va)->prot == vm_prot::read);
    CHECK(m.map->lookup(va)->prot == vm_prot::rw);
    copy->check();
    copy->destroy();
    CHECK(pmap::mapping_count(*m.first.get()) == 2);
    m.map->check();
}

TEST_CASE("machine: an expected panic leaves no lock held", "[machine]") {
    spin_lock inner(lock_rank::process, "inner"), outer(lock_rank::pmap, "outer");
    const std::string message = host_panic_of([&] {
        lock_guard first(inner);
        lock_guard second(outer);
    });
    CHECK_THAT(message, ContainsSubstring("lock order"));
    CHECK(host_interrupts().depth == 0);
    CHECK(cpu_held_locks().count == 0);
    CHECK(inner.try_lock());
    inner.unlock();
    CHECK(host_panic_of([] {}).empty());
}

TEST_CASE("machine: threads sleep until they are woken or the time is up", "[machine]") {
    spin_lock lock(lock_rank::wait, "test");
    wait_queue queue;
    bool ready = false; // guarded by lock
    std::thread sleeper([&] {
        lock_guard guard(lock);
        while (!ready)
            queue.wait(lock, "test");
    });
    for (bool asleep = false; !asleep;) {
        lock_guard guard(lock);
        asleep = !queue.empty();
    }
    {
        lock_guard guard(lock);
        ready = true;
        CHECK(queue.wake_one() != nullptr);
        CHECK(queue.wake_one() == nullptr);
    }
    sleeper.join();

    lock_guard guard(lock);
    const nanos_t deadline = now() + 1'000'000;
    status late = queue.wait_interruptible(lock, "test", deadline);
    CHECK((!late && late.error() == Errno::timedout));
    CHECK(now() >= deadline);
    CHECK(queue.empty());
}

TEST_CASE("machine: sleep locks keep threads apart", "[machine]") {
    sleep_lock lock(lock_rank::vm_map, "test");
    unsigned total = 0; // guarded by lock
    constexpr unsigned threads = 4, rounds = 2000;
    std::thread workers[threads];
    for (std::thread& worker : workers)
        worker = std::thread([&] {
            for (unsigned i = 0; i < rounds; i++) {
                lock_guard guard(lock);
                unsigned seen = total;
                if (i % 64 == 0)
                    cpu::relax();
                total = seen + 1;
            }
        });
    for (std::thread& worker : workers)
        worker.join();
    CHECK(total == threads * rounds);
}

namespace {

// Its end takes a lock of rank pmap.
struct mapped_thing : ref_counted<mapped_thing> {
    [[maybe_unused]] static constexpr auto end_takes = lock_rank::pmap;
    spin_lock lock;
    bool gone = false;
    explicit mapped_thing(lock_rank rank) : lock(rank, "thing") {}
    void last_reference_gone() {
        lock_guard guard(lock);
        gone = true;
    }
};

} // namespace

TEST_CASE("machine: no reference is dropped under a lock that the end may take", "[machine]") {
    mapped_thing thing(lock_rank::pmap);
    thing.add_reference();
    spin_lock before(lock_rank::vm_commit, "before");
    {
        lock_guard guard(before);
        thing.drop_reference(); // not the last: a drop is judged all the same
    }
    CHECK_THAT(host_panic_of([&] {
                   lock_guard guard(thing.lock);
                   thing.drop_reference();
               }),
               ContainsSubstring("a reference is dropped while thing"));
    CHECK(thing.references() == 1);
    thing.drop_reference();
    CHECK(thing.gone);
    CHECK(cpu_held_locks().count == 0);
}

TEST_CASE("machine: an end takes no lock below the rank that it declares", "[machine]") {
    mapped_thing thing(lock_rank::vm_commit);
    CHECK_THAT(host_panic_of([&] { thing.drop_reference(); }),
               ContainsSubstring("the end of an object"));
    CHECK(cpu_held_locks().count == 0);
}
