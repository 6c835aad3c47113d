// Pages that have a home on a disk: a file of a file system that is as simple as can be.
#include "tests/host/vm_paging.h"
#include "tests/host/vm_world.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/uvm_vnode.h"

#include <cstring>
#include <functional>
#include <map>
#include <set>

namespace {

constexpr vaddr_t at{0x100000};
constexpr uint64_t disk_pages = 256;

// A page of the file lies somewhere on the disk, or nowhere.
class file_store final : public page_store {
public:
    explicit file_store(sim_disk& d) : disk_(d) { d.let_pages_change(); }
    ~file_store() { CHECK(kept == 0); }

    status read_pages(uint64_t first, std::span<vm_page* const> pages) override {
        for (size_t i = 0; i < pages.size(); i++) {
            if (place.contains(first + i))
                TRY(move(disk_operation::read, *pages[i], place[first + i]));
            else
                std::memset(pages[i]->data(), 0, page_size);
        }
        return {};
    }
    status write_pages(uint64_t first, std::span<const dirty_page> pages) override {
        writes++;
        for (size_t i = 0; i < pages.size(); i++)
            under_way.emplace(first + i, pages[i].sectors);
        status result;
        for (size_t i = 0; i < pages.size(); i++)
            if (place.contains(first + i))
                if (const status s = move(disk_operation::write, *pages[i].page, place[first + i]);
                    !s)
                    result = s;
        for (size_t i = 0; i < pages.size(); i++)
            under_way.erase(under_way.find({first + i, pages[i].sectors}));
        return result;
    }
    status allocate(uint64_t start, uint64_t) override {
        asked++;
        const uint64_t index = start >> page_shift;
        if (place.contains(index))
            return {};
        if (next == room)
            return fail(Errno::nospc);
        place[index] = next++;
        if (meanwhile)
            meanwhile();
        return half ? fail(Errno::nospc) : status{};
    }
    void keep() override { kept++; }
    void let_go() override { kept--; }

    // What the disk has of the byte.
    uint8_t on_disk(uint64_t index, uint64_t byte = 0) {
        return place.contains(index) ? disk_.page(place[index])[byte] : 0;
    }

    std::map<uint64_t, uint64_t> place;
    uint64_t next = 1, room = disk_pages, writes = 0, asked = 0;
    int kept = 0;
    std::multiset<std::pair<uint64_t, uint8_t>> under_way; // pages, and sectors of them
    std::function<void()> meanwhile;                       // while a place is given
    bool half = false; // blocks are smaller than pages, and the second is one too much

private:
    status move(disk_operation operation, vm_page& page, uint64_t where) {
        const disk_segment segment{page.physical(), page_size};
        disk_request r{.operation = operation,
                       .sector = where * (page_size / sector_size),
                       .segments = {&segment, 1}};
        disk_wait wait;
        wait.submit(disk_.device, r);
        return wait.all();
    }

    sim_disk& disk_;
};

class open_file final : public uvm_handle {
public:
    void last_reference_gone() override { delete this; }
};

// A machine with a disk, and one file on it.
struct file_world {
    vm_world world;
    paging_machine m;
    sim_disk& d;
    file_store store;
    ref_ptr<uvm_vnode> file;

    explicit file_world(uint64_t size, uint64_t seed = 1)
        : m(seed), d(m.add_disk(disk_pages)), store(d), file(*uvm_vnode::create(store, size)) {}
    ~file_world() {
        file->check();
        file->retire();
        CHECK(uvm_vnode::dirty_pages() == 0);
        CHECK(uvm_vnode::cached_pages() == 0);
        file = {};
    }

    void write(uint64_t index, uint8_t value, uint64_t byte = 0) {
        const uint64_t start = (index << page_shift) + byte;
        file->before_write();
        auto held = file->hold_bytes(start, 1, uvm_pages::purpose::extend);
        REQUIRE(held);
        held->data()[byte] = char(value);
        file->grow(start + 1);
    }
    int read(uint64_t index, uint64_t byte = 0) {
        auto held = file->hold_bytes((index << page_shift) + byte, 1, uvm_pages::purpose::read);
        return held ? uint8_t(held->data()[byte]) : -int(held.error());
    }
    void map(vm_ref& vm, uint64_t count, bool shared, uint64_t where = at.value()) {
        REQUIRE(vm->map({.address = vaddr_t(where),
                         .size = pages(count),
                         .prot = vm_prot::rw,
                         .fixed = true,
                         .shared = shared,
                         .handle = ref_ptr<uvm_handle>::adopt(new open_file),
                         .object = file}));
    }
    // The next place has been another's, and is full of 0xee.
    void leave_old_contents() {
        for (uint64_t byte = 0; byte < page_size; byte += 64)
            write(20, 0xee, byte);
        REQUIRE(file->flush());
        store.next = store.place[20];
        store.place.erase(20);
        REQUIRE(file->resize(pages(8)));
    }
    void forget_all() { // as if memory had been short
        REQUIRE(file->flush());
        REQUIRE(file->advise(0, UINT64_MAX, file_advice::dont_need));
        REQUIRE(file->resident_pages() == 0);
    }
};

} // namespace

TEST_CASE("vnode: what is written is on the disk after a flush, and comes back", "[vnode]") {
    file_world w(0);
    for (uint64_t i = 0; i < 80; i++)
        w.write(i, uint8_t(i + 1));
    CHECK(uvm_vnode::dirty_pages() > 0);
    CHECK(w.store.kept == 1);
    w.file->check();
    REQUIRE(w.file->flush());
    CHECK(uvm_vnode::dirty_pages() == 0);
    CHECK(w.store.kept == 0);
    for (uint64_t i = 0; i < 80; i++)
        CHECK(w.store.on_disk(i) == i + 1);
    const uint64_t writes = w.store.writes;
    REQUIRE(w.file->flush()); // nothing is dirty
    CHECK(w.store.writes == writes);
    w.forget_all();
    for (uint64_t i = 0; i < 80; i++)
        CHECK(w.read(i) == int(i + 1));
    CHECK(w.read(80) == -int(Errno::fault));
}

TEST_CASE("vnode: reads in order come in widening clusters, at random one by one", "[vnode]") {
    file_world w(0);
    for (uint64_t i = 0; i < 100; i++)
        w.write(i, uint8_t(i + 1));
    w.forget_all();
    counted came(uvm_counter::pgfilein), waited(uvm_counter::pageins);
    for (uint64_t i = 0; i < 100; i++)
        CHECK(w.read(i) == int(i + 1));
    CHECK(came() == 100);
    w.forget_all();
    REQUIRE(w.file->advise(0, UINT64_MAX, file_advice::random));
    CHECK(w.read(10) == 11);
    CHECK(w.read(11) == 12);
    CHECK(w.file->resident_pages() == 2);
    w.forget_all();
    REQUIRE(w.file->advise(0, UINT64_MAX, file_advice::sequential));
    CHECK(w.read(10) == 11);
    CHECK(w.file->resident_pages() == 32);
    w.forget_all();
    REQUIRE(w.file->advise(5, 9, file_advice::will_need));
    CHECK(w.file->resident_pages() >= 4);
}

TEST_CASE("vnode: a store into a shared mapping is written, and one meanwhile dirties it again",
          "[vnode]") {
    file_world w(pages(8));
    vm_ref vm = new_space();
    w.map(vm, 8, true);
    CHECK(load(vm, at) == 0);
    CHECK(w.store.place.empty()); // a look needs no place
    CHECK(store(vm, at + pages(3), 7) == 7);
    CHECK(w.store.place.size() == 1);
    CHECK(w.read(3) == 7);
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(3) == 7);
    // The right to store has gone, and comes back with the page dirty.
    const auto mapping = vm->physical_map().lookup(at + pages(3));
    REQUIRE(mapping);
    CHECK_FALSE(allows(mapping->prot, vm_prot::write));
    w.m.turns.start([&] { REQUIRE(w.file->flush()); });
    for (int i = 0; i < 50; i++) {
        CHECK(store(vm, at + pages(3), uint8_t(i)) == i);
        w.m.turns.yield();
    }
    w.m.turns.settle();
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(3) == 49);
    CHECK(uvm_vnode::dirty_pages() == 0);
}

TEST_CASE("vnode: a private mapping lies over the file, and is never written to it", "[vnode]") {
    file_world w(pages(4));
    w.write(1, 5);
    vm_ref vm = new_space();
    w.map(vm, 4, false);
    CHECK(load(vm, at + pages(1)) == 5);
    CHECK(store(vm, at + pages(1), 6) == 6);
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(1) == 5);
    CHECK(load(vm, at + pages(1)) == 6);
    w.write(2, 9);
    CHECK(load(vm, at + pages(2)) == 9);
    // What is cut off goes from the copy, too.
    REQUIRE(w.file->resize(pages(1)));
    CHECK(load(vm, at + pages(1)) < 0);
}

TEST_CASE("vnode: nothing old comes back past the end of a file that grows again", "[vnode]") {
    file_world w(0);
    for (uint64_t i = 0; i < 4; i++)
        w.write(i, 0xee, 100);
    w.write(3, 0xee, 50);
    REQUIRE(w.file->flush());
    const bool evicted = GENERATE(false, true);
    if (evicted)
        w.forget_all();
    REQUIRE(w.file->resize(pages(1) + 60));
    {
        vm_ref vm = new_space();
        w.map(vm, 2, true);
        CHECK(load(vm, at + pages(1) + 100) == 0); // at once
    }
    w.store.place.erase(2);
    w.store.place.erase(3);
    if (evicted) {
        w.forget_all();
        CHECK(w.store.on_disk(1, 100) == 0); // zeros on the disk, too
    }
    REQUIRE(w.file->resize(pages(4)));
    CHECK(w.read(0, 100) == 0xee);
    CHECK(w.read(1, 100) == 0);
    for (uint64_t i = 2; i < 4; i++)
        for (uint64_t byte : {50, 100})
            CHECK(w.read(i, byte) == 0);
    // What a program stores past the end of the last page is not part of the file.
    REQUIRE(w.file->resize(pages(4) - 1000));
    vm_ref vm = new_space();
    w.map(vm, 4, true);
    CHECK(store(vm, at + pages(4) - 500, 1) == 1);
    REQUIRE(w.file->resize(pages(4)));
    CHECK(load(vm, at + pages(4) - 500) == 0);
}

TEST_CASE("vnode: who stores behind what was the end asks for a place, mapped or not", "[vnode]") {
    file_world w(0);
    w.write(0, 1, 99);
    vm_ref vm = new_space();
    w.map(vm, 1, true);
    CHECK(store(vm, at + 50, 2) == 2);
    REQUIRE(w.file->resize(3000));
    const uint64_t asked = w.store.asked;
    CHECK(store(vm, at + 2000, 3) == 3);
    CHECK(w.store.asked == asked + 1);
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(0, 2000) == 3);
    CHECK(w.store.on_disk(0, 50) == 2);
}

TEST_CASE("vnode: resize waits for what is being written and read", "[vnode]") {
    const uint64_t seed = GENERATE(range(1, 20));
    file_world w(0, seed);
    for (uint64_t i = 0; i < 40; i++)
        w.write(i, uint8_t(i + 1));
    if (seed % 2)
        w.forget_all();
    w.m.turns.start([&] { (void)w.file->flush(); });
    w.m.turns.start([&] {
        for (uint64_t i = 0; i < 40; i++)
            (void)w.read(i);
    });
    for (unsigned n = 0; n < seed % 7; n++)
        w.m.turns.yield();
    REQUIRE(w.file->resize(pages(3)));
    // From now on the places may be another's: nobody may be at them.
    const uint64_t writes = w.d.answered(disk_operation::write);
    for (uint64_t i = 3; i < 40; i++)
        w.store.place.erase(i);
    w.m.turns.settle();
    CHECK(w.d.answered(disk_operation::write) <= writes + 3);
    CHECK(w.file->resident_pages() <= 3);
    for (uint64_t i = 0; i < 3; i++)
        CHECK(w.read(i) == int(i + 1));
}

TEST_CASE("vnode: what a place held before never comes into a file", "[vnode]") {
    file_world w(pages(8));
    w.leave_old_contents();
    const bool half = GENERATE(false, true), mapped = GENERATE(false, true);
    w.store.half = half;
    // The page is a hole, and memory is short while it gets its place.
    w.store.meanwhile = [&] { REQUIRE(w.file->advise(0, UINT64_MAX, file_advice::dont_need)); };
    CHECK(w.read(3) == 0);
    {
        vm_ref vm = new_space();
        w.map(vm, 8, true);
        if (mapped)
            CHECK((store(vm, at + pages(3) + 1, 7) == 7) == !half);
        else
            CHECK(bool(w.file->hold_bytes(pages(3) + 1, 1, uvm_pages::purpose::write)) == !half);
    }
    w.forget_all();
    CHECK(w.read(3, 64) == 0);
    CHECK(w.read(3, 1) == (mapped && !half ? 7 : 0));
}

TEST_CASE("vnode: resize leaves nothing that gets a place, or is written, past the end",
          "[vnode]") {
    const uint64_t seed = GENERATE(range(1, 40));
    file_world w(pages(8), seed);
    w.store.meanwhile = [&] { w.m.turns.yield(); };
    w.write(2, 1);
    vm_ref vm = new_space();
    w.map(vm, 8, true);
    CHECK(store(vm, at + pages(2) + 3000, 2) == 2);
    w.m.turns.start([&] { (void)w.file->flush(); });
    for (uint64_t i = 3; i < 8; i++)
        w.m.turns.start([&, i] { (void)store(vm, at + pages(i), 1); });
    for (unsigned n = 0; n < seed % 11; n++)
        w.m.turns.yield();
    REQUIRE(w.file->resize(pages(2) + 1000));
    for (const auto& [index, sectors] : w.store.under_way)
        CHECK((index < 2 || (index == 2 && !(sectors & 0xfc))));
    for (uint64_t i = 3; i < 8; i++)
        w.store.place.erase(i); // as the file system does, which gives them to others
    w.m.turns.settle();
    for (uint64_t i = 3; i < 8; i++)
        CHECK_FALSE(w.store.place.contains(i));
    CHECK(w.file->resident_pages() <= 3);
    REQUIRE(w.file->flush());
    CHECK(uvm_vnode::dirty_pages() == 0); // nothing past the end either
}

TEST_CASE("vnode: a flush returns when what was dirty is on the disk, whoever else flushes",
          "[vnode]") {
    const uint64_t seed = GENERATE(range(1, 40));
    constexpr uint64_t threads = 4;
    file_world w(0, seed);
    for (uint64_t i = 0; i < 3 * threads; i++)
        w.write(i, 1);
    for (uint64_t t = 0; t < threads; t++)
        w.m.turns.start([&, t] {
            for (uint8_t value = 1; value < 8; value++) {
                w.write(3 + 2 * t, value, 8); // one of its own, too
                w.write(0, value, 8 * t);
                REQUIRE(w.file->flush());
                CHECK(w.store.on_disk(0, 8 * t) == value);
            }
        });
    w.m.turns.settle();
}

TEST_CASE("vnode: an error of a write is told once to each, and the page stays dirty", "[vnode]") {
    file_world w(0);
    w.write(0, 1);
    REQUIRE(w.file->flush());
    std::atomic<uint32_t> first{w.file->seen_errors()}, second{w.file->seen_errors()};
    w.write(0, 2);
    w.m.fail_request_after(1);
    uvm_vnode::tick();
    (void)uvm_vnode::flush_all(1); // nobody who waits for it
    CHECK(uvm_vnode::dirty_pages() == 1);
    CHECK(w.file->check_errors(first).error() == Errno::io);
    CHECK(w.file->check_errors(first));
    CHECK(w.file->check_errors(second).error() == Errno::io);
    std::atomic<uint32_t> later{w.file->seen_errors()};
    CHECK(w.file->check_errors(later)); // it was told before this one came
    // In the background nobody tries again, but who asks does.
    const uint64_t writes = w.store.writes;
    uvm_vnode::tick();
    (void)uvm_vnode::flush_all(1);
    CHECK(w.store.writes == writes);
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(0) == 2);
    CHECK(w.file->check_errors(first));
    // One of which nobody has been told is for the next who comes.
    w.write(0, 3);
    w.m.fail_request_after(1);
    CHECK_FALSE(w.file->flush());
    std::atomic<uint32_t> next{w.file->seen_errors()};
    CHECK_FALSE(w.file->check_errors(next));
    CHECK(w.file->check_errors(next));
}

TEST_CASE("vnode: no space is an error of who stores, and of nobody later", "[vnode]") {
    file_world w(pages(8));
    w.store.room = 3;
    w.write(0, 1);
    w.write(1, 1);
    CHECK(w.file->hold_bytes(pages(2), 1, uvm_pages::purpose::extend).error() == Errno::nospc);
    vm_ref vm = new_space();
    w.map(vm, 8, true);
    CHECK(store(vm, at + pages(2), 1) < 0);
    CHECK(load(vm, at + pages(2)) == 0);
    REQUIRE(w.file->flush());
    CHECK(uvm_vnode::dirty_pages() == 0);
    CHECK(w.store.place.size() == 2);
}

TEST_CASE("vnode: the page daemon frees clean pages and writes dirty ones", "[vnode]") {
    file_world w(0);
    for (uint64_t i = 0; i < 60; i++)
        w.write(i, uint8_t(i + 1));
    vm_ref vm = new_space();
    w.map(vm, 60, true);
    for (uint64_t i = 0; i < 30; i++)
        CHECK(store(vm, at + pages(i), uint8_t(i + 2)) == int(i + 2));
    auto held = w.file->hold(5, uvm_pages::purpose::read);
    w.m.put_all_out(); // with no swap
    CHECK(w.file->resident_pages() == 1);
    CHECK(uvm_vnode::dirty_pages() == 0);
    *held = {};
    for (uint64_t i = 0; i < 60; i++)
        CHECK(w.store.on_disk(i) == (i < 30 ? i + 2 : i + 1));
    for (uint64_t i = 0; i < 60; i++)
        CHECK(load(vm, at + pages(i)) == int(i < 30 ? i + 2 : i + 1));
    // What cannot be written is told of, tried once, and lost then.
    CHECK(store(vm, at + pages(7), 99) == 99);
    std::atomic<uint32_t> seen{w.file->seen_errors()};
    w.d.spoil(disk_operation::write, w.store.place[7]);
    const uint64_t before = w.d.answered(disk_operation::write);
    w.m.put_all_out();
    CHECK(w.d.answered(disk_operation::write) <= before + 2);
    CHECK_FALSE(w.file->check_errors(seen));
    CHECK(uvm_vnode::dirty_pages() == 0);
}

TEST_CASE("vnode: who dirties more than may be writes some", "[vnode]") {
    file_world w(0);
    const uint64_t most = uvm_vnode::most_dirty();
    w.store.room = UINT64_MAX;
    for (uint64_t i = 0; i < most + 100; i++) {
        w.store.place[i] = 1 + i % (disk_pages - 1);
        w.write(i, 1);
        REQUIRE(uvm_vnode::dirty_pages() <= most + 1);
    }
    CHECK(w.store.writes > 0);
}

TEST_CASE("vnode: what a file system forgets is not written", "[vnode]") {
    file_world w(pages(4));
    for (uint64_t i = 0; i < 4; i++)
        REQUIRE(w.store.allocate(pages(i), pages(i + 1)));
    {
        auto b = w.file->hold_now(pages(1) + 1024, 1024, uvm_pages::purpose::change);
        REQUIRE(b);
        b->data()[1024] = 1;
        b->make_dirty(0x0c); // sectors 2 and 3
        CHECK(uvm_vnode::dirty_pages() == 1);
        w.file->forget(pages(1) + 1024, pages(1) + 2048);
        CHECK(uvm_vnode::dirty_pages() == 0);
    }
    CHECK(uvm_vnode::dirty_pages() == 0);
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(1, 1024) == 0);
    // A buffer that is still there when it is written stays dirty: it may be changed once more.
    auto b = w.file->hold_now(pages(2), 1024, uvm_pages::purpose::change);
    REQUIRE(b);
    b->make_dirty(1);
    REQUIRE(w.file->flush());
    CHECK(uvm_vnode::dirty_pages() == 1);
    b->data()[0] = 3;
    *b = {};
    REQUIRE(w.file->flush());
    CHECK(w.store.on_disk(2) == 3);
    CHECK(uvm_vnode::dirty_pages() == 0);
}

TEST_CASE("vnode: each allocation fails in turn, and nothing is lost", "[vnode]") {
    file_world w(0);
    for (uint64_t i = 0; i < 4; i++)
        w.write(i, uint8_t(i + 1));
    w.forget_all();
    vm_ref vm = new_space();
    w.map(vm, 4, true);
    auto step = [&](uint64_t i) -> status {
        TRY(w.file->hold_bytes(pages(4 + i), 1, uvm_pages::purpose::extend));
        TRY(w.file->hold(i, uvm_pages::purpose::read));
        TRY(w.file->hold_now(pages(i), 512, uvm_pages::purpose::change));
        TRY(w.file->flush());
        return w.file->resize(pages(3) + 10);
    };
    for (uint64_t n = 1;; n++) {
        REQUIRE(n < 1000);
        alloc_fail_after(n);
        const status done = step(n % 4);
        const bool failed = alloc_fail_after(0) == 0;
        w.file->trim();
        w.file->check();
        REQUIRE(w.file->resize(pages(4)));
        if (!failed)
            break;
        if (!done)
            CHECK((done.error() == Errno::nomem || done.error() == Errno::fault));
        w.forget_all();
    }
    for (uint64_t i = 0; i < 3; i++)
        CHECK(w.read(i) == int(i + 1));
}
