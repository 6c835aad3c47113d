// vm_map and its trees: order, clipping, merging, gaps, growth of cost.
#include "tests/host/vm_world.h"
#include "vm/sparse_slots.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <utility>

namespace {

struct number {
    avl_node node;
    uint64_t value = 0;
    uint64_t weight() const { return value * 37 % 101; }
    uint64_t heaviest = 0; // of the tree below it, as a gap of vm_map_tree
};
struct heaviest {
    static uint64_t of(const number& x, const number* l, const number* r) {
        return std::max({x.weight(), l ? l->heaviest : 0, r ? r->heaviest : 0});
    }
    static bool update(number& x, const number* l, const number* r) {
        const uint64_t before = std::exchange(x.heaviest, of(x, l, r));
        return x.heaviest != before;
    }
    static bool correct(const number& x, const number* l, const number* r) {
        return x.heaviest == of(x, l, r);
    }
};
using number_tree = avl_tree<number, &number::node, heaviest>;

} // namespace

TEST_CASE("avl_tree: built of elements in order, it is balanced and has all of them", "[tree]") {
    for (size_t count = 0; count < 200; count++) {
        std::vector<number> numbers(count);
        size_t taken = 0;
        number_tree tree;
        tree.build(count, [&]() -> number& {
            numbers[taken].value = taken;
            return numbers[taken++];
        });
        REQUIRE(taken == count);
        tree.check();
        size_t seen = 0;
        for (number* n = tree.first(); n; n = number_tree::next(*n))
            REQUIRE(n->value == seen++);
        REQUIRE(seen == count);
        if (count) // and it goes on as any other
            tree.erase(numbers[count / 2]);
        tree.check();
        for (number* n; (n = tree.first());)
            tree.erase(*n);
    }
}

TEST_CASE("avl_tree: random inserts and erases agree with std::set", "[tree]") {
    std::mt19937 random(7);
    std::vector<number> numbers(500);
    for (size_t i = 0; i < numbers.size(); i++)
        numbers[i].value = i * 2;
    number_tree tree;
    std::set<uint64_t> model;
    for (int step = 0; step < 20'000; step++) {
        number& n = numbers[random() % numbers.size()];
        if (model.insert(n.value).second) {
            tree.insert_before(tree.first_where([&](const number& x) { return x.value > n.value; }),
                               n);
        } else {
            model.erase(n.value);
            tree.erase(n);
        }
        uint64_t key = random() % 1001;
        number* found = tree.first_where([&](const number& x) { return x.value >= key; });
        auto expected = model.lower_bound(key);
        REQUIRE((found == nullptr) == (expected == model.end()));
        if (found)
            REQUIRE(found->value == *expected);
        if (step % 10 == 0)
            tree.check();
    }
    std::vector<uint64_t> in_order;
    for (number* n = tree.first(); n; n = number_tree::next(*n))
        in_order.push_back(n->value);
    CHECK(in_order == std::vector<uint64_t>(model.begin(), model.end()));
    while (number* n = tree.root())
        tree.erase(*n);
    CHECK(tree.empty());
}

TEST_CASE("sparse_slots: far apart slots cost a chunk each, and are found in order", "[tree]") {
    vm_world world;
    int a, b, c;
    sparse_slots slots;
    REQUIRE(slots.put(5, &a));
    REQUIRE(slots.put(uint64_t{1} << 40, &b));
    REQUIRE(slots.put(6, &c));
    CHECK(slots.chunks() == 2);
    CHECK(slots.used() == 3);
    uint64_t at = 6;
    CHECK(slots.find_from(at, UINT64_MAX) == &c);
    at = 7;
    CHECK(slots.find_from(at, UINT64_MAX) == &b);
    CHECK(at == uint64_t{1} << 40);
    at = 7;
    CHECK(slots.find_from(at, uint64_t{1} << 40) == nullptr);
    CHECK(slots.get(4) == nullptr);
    slots.check();
    CHECK(slots.take(5) == &a);
    CHECK(slots.take(5) == nullptr);
    CHECK(slots.take(6) == &c);
    CHECK(slots.chunks() == 1);
    CHECK(slots.take(uint64_t{1} << 40) == &b);
}

TEST_CASE("map: neighbours that are alike become one entry", "[map]") {
    vm_world world;
    vm_ref vm = new_space();
    map_private(vm, 0x100000, 4);
    CHECK(entry_count(vm) == 1);
    map_private(vm, 0x104000, 4);
    CHECK(entry_count(vm) == 1);
    map_private(vm, 0x10a000, 4);
    CHECK(entry_count(vm) == 2);
    map_private(vm, 0x108000, 2);
    CHECK(entry_count(vm) == 1);
    map_private(vm, 0x10e000, 1, vm_prot::read);
    CHECK(entry_count(vm) == 2);
}

TEST_CASE("map: an untouched neighbour is taken into the amap, growing it in place",
          "[map][amap]") {
    vm_world world;
    vm_ref vm = new_space();
    map_private(vm, 0x200000, 2);
    CHECK(store(vm, vaddr_t(0x200000), 1) == 1);
    map_private(vm, 0x202000, 2); // above
    map_private(vm, 0x1fe000, 2); // below
    CHECK(entry_count(vm) == 1);
    CHECK(store(vm, vaddr_t(0x1fe000), 2) == 2);
    CHECK(store(vm, vaddr_t(0x203fff), 3) == 3);
    CHECK(load(vm, vaddr_t(0x200000)) == 1);
    CHECK(load(vm, vaddr_t(0x1ff000)) == 0);
}

TEST_CASE("map: protecting the middle clips twice, and undoing it merges again", "[map]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 9);
    for (int i = 0; i < 9; i++)
        CHECK(store(vm, at + pages(i), 10 + i) == 10 + i);
    REQUIRE(vm->protect(at + pages(3), pages(3), vm_prot::read));
    CHECK(entry_count(vm) == 3);
    CHECK(store(vm, at + pages(4), 1) == -2);
    CHECK(store(vm, at + pages(2), 12) == 12);
    REQUIRE(vm->protect(at + pages(3), pages(3), vm_prot::rw));
    CHECK(entry_count(vm) == 1);
    for (int i = 0; i < 9; i++)
        CHECK(load(vm, at + pages(i)) == 10 + i);
}

TEST_CASE("map: the highest gap that fits is found, above and below a limit", "[map]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t top(0x7fff'0000'0000);
    auto place = [&](uint64_t n) {
        auto at = vm->map({.size = pages(n), .prot = vm_prot::read});
        REQUIRE(at);
        return *at;
    };
    vaddr_t a = place(4);
    CHECK(a == top - pages(4));
    vaddr_t b = place(4);
    CHECK(b == a - pages(4));
    vaddr_t c = place(4);
    CHECK(entry_count(vm) == 1);
    REQUIRE(vm->unmap(b, pages(4)));
    CHECK(place(5) == c - pages(5));
    CHECK(place(4) == b);
    // A hint is taken if the place is free, else passed over.
    auto hinted =
        vm->map({.address = vaddr_t(0x5000'0123), .size = pages(1), .prot = vm_prot::read});
    REQUIRE(hinted);
    CHECK(*hinted == vaddr_t(0x5000'1000));
    auto again =
        vm->map({.address = vaddr_t(0x5000'1000), .size = pages(1), .prot = vm_prot::read});
    REQUIRE(again);
    CHECK(*again != vaddr_t(0x5000'1000));
}

TEST_CASE("map: random gaps agree with a bitmap", "[map]") {
    vm_world world;
    uvm_check_at_seams = false;
    vm_ref vm = new_space();
    constexpr unsigned size = 300;
    vaddr_t base = vaddr_t(0x7fff'0000'0000) - pages(size);
    map_private(vm, 0x10000, ((base - vaddr_t(0x10000)) >> page_shift), vm_prot::none);
    std::vector<bool> used(size);
    std::mt19937 random(11);
    for (int step = 0; step < 20'000; step++) {
        unsigned n = 1 + random() % 8;
        if (random() % 2) {
            auto got = vm->map({.size = pages(n), .prot = vm_prot(1 + 2 * (random() % 2))});
            int want = -1;
            for (int i = size - n; i >= 0 && want < 0; i--)
                if (std::none_of(used.begin() + i, used.begin() + i + n, [](bool x) { return x; }))
                    want = i;
            REQUIRE(got);
            if (want < 0) { // above the limit
                REQUIRE(*got >= vaddr_t(0x7fff'0000'0000));
                REQUIRE(vm->unmap(*got, pages(n)));
                continue;
            }
            REQUIRE(*got == base + pages(want));
            std::fill(used.begin() + want, used.begin() + want + n, true);
        } else {
            unsigned i = random() % (size - n);
            REQUIRE(vm->unmap(base + pages(i), pages(n)));
            std::fill(used.begin() + i, used.begin() + i + n, false);
        }
        if (step % 1000 == 0)
            vm->check();
    }
}

TEST_CASE("map: errors are Linux's", "[map]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 4);
    auto fixed = [&](uint64_t where, uint64_t size, bool no_replace = false) {
        return error_of(vm->map({.address = vaddr_t(where),
                                 .size = size,
                                 .prot = vm_prot::rw,
                                 .fixed = true,
                                 .no_replace = no_replace}));
    };
    CHECK(fixed(0x100000, 0) == Errno::inval);
    CHECK(fixed(0x100001, pages(1)) == Errno::inval);
    CHECK(fixed(0x102000, pages(1), true) == Errno::exist);
    CHECK(fixed(0x0, pages(1)) == Errno::perm);
    CHECK(fixed(0x7fff'ffff'e000, pages(2)) == Errno::nomem);
    CHECK(error_of(vm->map({.size = UINT64_MAX, .prot = vm_prot::rw})) == Errno::nomem);
    CHECK(error_of(vm->map({.size = uint64_t{1} << 47, .prot = vm_prot::rw})) == Errno::nomem);
    CHECK(error_of(vm->unmap(at + 1, pages(1))) == Errno::inval);
    CHECK(error_of(vm->unmap(at, 0)) == Errno::inval);
    CHECK(error_of(vm->protect(at + 1, pages(1), vm_prot::read)) == Errno::inval);
    CHECK(error_of(vm->protect(at, pages(5), vm_prot::read)) == Errno::nomem); // but up to the hole
    CHECK(store(vm, at, 1) == -2);
    REQUIRE(vm->protect(at, pages(4), vm_prot::rw));
    CHECK(store(vm, at, 1) == 1);
    CHECK(error_of(vm->protect(at, 0, vm_prot::read)) == Errno{});
    CHECK(error_of(vm->advise(at, pages(1), 77)) == Errno::inval);
    CHECK(error_of(vm->advise(at + 1, pages(1), 0)) == Errno::inval);
    CHECK(error_of(vm->advise(at, UINT64_MAX, 0)) == Errno::inval);
    CHECK(error_of(vm->inherit(at, UINT64_MAX, vm_inherit::none)) == Errno::inval);
    CHECK(error_of(vm->inherit(at, uint64_t{1} << 60, vm_inherit::none)) == Errno::inval);
    CHECK(error_of(vm->advise(at, uint64_t{1} << 60, 0)) == Errno::nomem);
    CHECK(error_of(vm->advise(at, 0, 0)) == Errno{});
    CHECK(error_of(vm->sync(at, pages(1), 64)) == Errno::inval);
    CHECK(error_of(vm->lock_pages(at, UINT64_MAX)) == Errno{}); // no page: it rounds up to 0
    CHECK(error_of(vm->lock_pages(at, 0 - pages(1))) == Errno::inval);
    CHECK(error_of(vm->lock_pages(at, INT64_MAX)) == Errno::nomem);
    CHECK(error_of(vm->unlock_pages(at, INT64_MAX)) == Errno::nomem); // what it had locked
    CHECK(error_of(vm->lock_pages(at, 0)) == Errno{});
    CHECK(error_of(vm->unlock_pages(at, 0)) == Errno{});
    CHECK(error_of(vm->remap(vaddr_t(UINT64_MAX & -page_size), pages(1), pages(2), 1, {})) ==
          Errno::fault);
    CHECK(error_of(vm->remap(at, uint64_t{1} << 60, pages(1), 1, {})) == Errno::inval);
    CHECK(error_of(vm->remap(at, pages(1), pages(2), 3, vaddr_t(1))) == Errno::inval);
    CHECK(error_of(vm->remap(at, 0, pages(2), 0, {})) == Errno::inval); // private
    uint8_t byte = 0;
    CHECK(error_of(vm->read_memory(user_max, &byte, 1)) == Errno::fault);
    CHECK(error_of(vm->write_memory(vaddr_t(UINT64_MAX), &byte, 1)) == Errno::fault);
    CHECK(error_of(vm->advise(at + pages(3), pages(2), linux_abi::madv_dontneed)) == Errno::nomem);
    CHECK(error_of(vm->lock_pages(at, pages(5))) == Errno::nomem); // but up to the hole
    REQUIRE(vm->unlock_pages(at, pages(4)));
    uint8_t vec[8];
    CHECK(error_of(vm->mincore(at, pages(5), vec)) == Errno::nomem);
    CHECK(error_of(vm->sync(at, pages(1), 5)) == Errno::inval);
    CHECK(error_of(vm->sync(at, pages(5), linux_abi::ms_sync)) == Errno::nomem);
    auto object = uvm_aobj::create(pages(1), "x", uvm_aobj::charging::nothing);
    REQUIRE(object);
    CHECK(error_of(vm->map({.size = pages(1),
                            .prot = vm_prot::rw,
                            .shared = true,
                            .object = *object,
                            .offset = 5})) == Errno::inval);
    map_request read_only{.size = pages(1),
                          .prot = vm_prot::read,
                          .max_prot = vm_prot::rx,
                          .shared = true,
                          .object = *object};
    auto ro = vm->map(read_only);
    REQUIRE(ro);
    CHECK(error_of(vm->protect(*ro, pages(1), vm_prot::rw)) == Errno::acces);
}

TEST_CASE("map: 1 TiB that is not reserved costs next to nothing", "[map][amap]") {
    vm_world world;
    vm_ref vm = new_space();
    uint64_t free = vm_page_get_statistics().free;
    auto at = vm->map({.size = uint64_t{1} << 40, .prot = vm_prot::rw, .no_reserve = true});
    REQUIRE(at);
    for (uint64_t i = 0; i < 16; i++)
        CHECK(store(vm, *at + (i << 35), uint8_t(i)) == int(i));
    CHECK(free - vm_page_get_statistics().free < 16 * 2 + 64); // pages, tables, bookkeeping
    vm_ref child = fork_of(vm);
    CHECK(load(child, *at + (uint64_t{7} << 35)) == 7);
}

// Not how fast, but that it does not grow with the number of entries: 100,000 against 1,000.
TEST_CASE("map: with 100,000 entries look-up and search stay logarithmic", "[map]") {
    vm_world world;
    uvm_check_at_seams = false;
    const uint64_t usual = vm_max_map_count.exchange(100'000);
    auto cost = [](unsigned entries) {
        vm_ref vm = new_space();
        std::mt19937 random(3);
        for (unsigned i = 0; i < entries; i++)
            map_private(vm, 0x1000'0000 + pages(2) * i, 1, vm_prot::read);
        CHECK(entry_count(vm) == entries);
        auto best = std::chrono::nanoseconds::max();
        for (int round = 0; round < 5; round++) {
            auto start = std::chrono::steady_clock::now();
            for (int i = 0; i < 500; i++) {
                vaddr_t hole = vaddr_t(0x1000'1000) + pages(2) * (random() % entries);
                (void)vm->map(
                    {.address = hole, .size = pages(1), .prot = vm_prot::none, .fixed = true});
                (void)vm->unmap(hole, pages(1));
            }
            best =
                std::min(best, std::chrono::nanoseconds(std::chrono::steady_clock::now() - start));
        }
        vm->check();
        return best;
    };
    auto small = cost(1'000), large = cost(100'000);
    CHECK(large < small * 20); // linear would be 100
    vm_max_map_count = usual;
}

TEST_CASE("map: the one gap that is wide enough is found, wherever it is in the tree", "[map]") {
    vm_world world;
    constexpr uint64_t n = 40;
    const uint64_t low = mmap_min_addr.value();
    for (uint64_t wide = 0; wide <= n; wide++) { // n: none is
        vm_ref vm = new_space();
        for (uint64_t i = 0; i < n; i++)
            if (i != wide)
                map_private(vm, low + pages(2 * i), 1);
        vm_map& map = vm->map_for_tests();
        read_guard guard(map.lock());
        for (uint64_t k = 0; k <= n; k++) { // below each entry, and below the end
            auto found = map.find_space(pages(3), mmap_min_addr, vaddr_t(low + pages(2 * k)));
            if (wide >= 1 && k > wide)
                CHECK(found == vaddr_t(low + pages(2 * wide - 1)));
            else
                CHECK_FALSE(found);
        }
    }
}

TEST_CASE("mmap: offsets, rights and stacks that cannot be", "[map]") {
    vm_world world;
    vm_ref vm = new_space();
    auto object = uvm_aobj::create(pages(2), "x", uvm_aobj::charging::nothing);
    REQUIRE(object);
    map_request request{.size = pages(2), .prot = vm_prot::rw, .object = *object};
    request.offset = UINT64_MAX & -page_size;
    CHECK(error_of(vm->map(request)) == Errno::overflow);
    request.offset = 1;
    CHECK(error_of(vm->map(request)) == Errno::inval);
    request.offset = 0;
    request.stack = true;
    CHECK(error_of(vm->map(request)) == Errno::inval);
    request.stack = false;
    request.max_prot = vm_prot::read;
    CHECK(error_of(vm->map(request)) == Errno::acces);
    request.prot = vm_prot::read;
    request.shared = true;
    auto at = vm->map(request);
    REQUIRE(at);
    CHECK(error_of(vm->protect(*at, pages(1), vm_prot::rw)) == Errno::acces);
    CHECK(error_of(vm->protect(*at, uint64_t{1} << 60, vm_prot::rw)) == Errno::nomem);
    // Half of the range could be changed, the other half not: the first is.
    map_private(vm, (*at - pages(1)).value(), 1);
    CHECK(error_of(vm->protect(*at - pages(1), pages(2), vm_prot::rx)) == Errno::acces);
    CHECK(store(vm, *at - pages(1), 1) == -2);
}

TEST_CASE("mprotect of a whole stack", "[map]") {
    vm_world world;
    vm_ref vm = new_space();
    const vaddr_t at(0x40000000);
    REQUIRE(vm->map(
        {.address = at, .size = pages(4), .prot = vm_prot::rw, .fixed = true, .stack = true}));
    CHECK(error_of(vm->protect(at + pages(3), pages(1), vm_prot::read, true)) == Errno{});
    for (int i = 0; i < 4; i++)
        CHECK(store(vm, at + pages(i), 1) == -2);
    REQUIRE(vm->protect(at + pages(2), pages(2), vm_prot::rw));
    CHECK(error_of(vm->protect(at + pages(3), pages(1), vm_prot::none, true)) == Errno{});
    CHECK(load(vm, at) == 0); // what differs from the stack's end is not of the stack
    CHECK(load(vm, at + pages(2)) == -2);
    map_private(vm, 0x100000, 1);
    CHECK(error_of(vm->protect(vaddr_t(0x100000), pages(1), vm_prot::read, true)) == Errno::inval);
    CHECK(error_of(vm->protect(vaddr_t(0x200000), pages(1), vm_prot::read, true)) == Errno::nomem);
}
