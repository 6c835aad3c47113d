// Amaps: reference counts of slots, copies, what partial unmapping gives back.
#include "tests/host/vm_world.h"

#include <memory>
#include <random>

namespace {

uint64_t anon_pages() { return vm_page_get_statistics().anon; }

ref_ptr<vm_amap> new_amap() {
    auto amap = vm_amap::create();
    REQUIRE(amap);
    return *amap;
}

void fill(vm_amap& amap, slot_t first, slot_t end) {
    lock_guard guard(amap.lock());
    for (slot_t s = first; s < end; s++) {
        auto anon = vm_anon::create_zeroed(amap.lock());
        REQUIRE(anon);
        REQUIRE(amap.add(s, std::move(*anon)));
    }
}

bool has(vm_amap& amap, slot_t slot) {
    lock_guard guard(amap.lock());
    return amap.lookup(slot) != nullptr;
}

} // namespace

TEST_CASE("amap: the anons of a slot go with its last reference", "[amap]") {
    vm_world world;
    auto amap = new_amap();
    vm_aref whole, part;
    REQUIRE(whole.prepare());
    REQUIRE(part.prepare());
    whole.attach(amap, 100, 10);
    fill(*amap, 100, 110);
    part.attach(amap, 104, 3);
    amap->check();
    whole.release();
    amap->check();
    CHECK(anon_pages() == 3);
    CHECK_FALSE(has(*amap, 103));
    CHECK(has(*amap, 104));
    CHECK(has(*amap, 106));
    CHECK_FALSE(has(*amap, 107));
    part.release();
    CHECK(anon_pages() == 0);
    amap->check();
}

TEST_CASE("amap: a reference grows only over slots that nobody has", "[amap]") {
    vm_world world;
    auto amap = new_amap();
    vm_aref a, b;
    REQUIRE(a.prepare());
    REQUIRE(b.prepare());
    a.attach(amap, 10, 10);
    b.attach(amap, 25, 5);
    CHECK_FALSE(a.grow_back(6));
    CHECK(a.grow_back(5));
    amap->check();
    CHECK_FALSE(a.grow_front(11));
    CHECK(a.grow_front(10));
    CHECK(a.pages() == 25);
    CHECK(a.followed_by(b));
    amap->check();
    b.release();
    amap->check();
    a.release();
}

TEST_CASE("amap: random references agree with a count for each slot", "[amap]") {
    vm_world world;
    std::mt19937 random(5);
    constexpr unsigned size = 64;
    auto amap = new_amap();
    struct holder {
        vm_aref aref;
    };
    std::vector<std::unique_ptr<holder>> all;
    unsigned counts[size] = {};
    auto count = [&](slot_t first, uint64_t n, int by) {
        for (slot_t s = first; s < first + n; s++)
            counts[s] += by;
    };
    for (int step = 0; step < 8'000; step++) {
        unsigned what = random() % 5;
        if (what <= 1 && all.size() < 12) {
            slot_t first = random() % size;
            uint64_t n = 1 + random() % (size - first);
            auto h = std::make_unique<holder>();
            REQUIRE(h->aref.prepare());
            h->aref.attach(amap, first, n);
            count(first, n, 1);
            all.push_back(std::move(h));
        } else if (what == 2 && !all.empty()) {
            size_t i = random() % all.size();
            count(all[i]->aref.first(), all[i]->aref.pages(), -1);
            all.erase(all.begin() + i);
        } else if (what == 3 && !all.empty() && all.size() < 20) {
            vm_aref& a = all[random() % all.size()]->aref;
            if (a.pages() < 2)
                continue;
            auto tail = std::make_unique<holder>();
            REQUIRE(tail->aref.prepare());
            a.split(1 + random() % (a.pages() - 1), tail->aref);
            all.push_back(std::move(tail));
        } else if (what == 4) {
            slot_t s = random() % size;
            if (counts[s] && !has(*amap, s))
                fill(*amap, s, s + 1);
        }
        for (size_t i = 0; step % 7 == 0 && i < all.size(); i++)
            for (size_t j = 0; j < all.size(); j++)
                if (i != j && all[i]->aref.followed_by(all[j]->aref)) {
                    all[i]->aref.join(all[j]->aref);
                    all.erase(all.begin() + j);
                    i = j = all.size();
                }
        amap->check();
        lock_guard guard(amap->lock());
        slot_t a = random() % size, b = a + 1 + random() % (size - a);
        bool shared = false, referenced = false, throughout = true;
        for (slot_t s = a; s < b; s++) {
            shared |= counts[s] > 1;
            referenced |= counts[s] > 0;
            throughout &= counts[s] > 0;
        }
        REQUIRE(amap->shared(a, b) == shared);
        REQUIRE(amap->referenced(a, b) == referenced);
        REQUIRE(amap->referenced_throughout(a, b) == throughout);
        for (slot_t s = 0; s < size; s++)
            if (counts[s] == 0)
                REQUIRE(amap->lookup(s) == nullptr);
    }
}

TEST_CASE("amap: a copy is made only of what the entry maps", "[amap]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 20);
    for (int i = 0; i < 20; i++)
        store(parent, at + pages(i), uint8_t(i));
    vm_ref child = fork_of(parent);
    REQUIRE(child->unmap(at + pages(2), pages(16)));
    counted copies(uvm_counter::flt_amcopy);
    CHECK(store(child, at, 99) == 99);
    CHECK(copies() == 1);
    CHECK(anon_pages() == 21);
    parent.reset();
    CHECK(anon_pages() == 4); // two entries of two pages each
    CHECK(load(child, at + pages(1)) == 1);
    CHECK(load(child, at + pages(19)) == 19);
}

TEST_CASE("amap: what a fork put off is not done when the other side is gone", "[amap]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 8);
    for (int i = 0; i < 8; i++)
        store(parent, at + pages(i), uint8_t(i));
    {
        vm_ref child = fork_of(parent);
        CHECK(load(child, at + pages(3)) == 3);
    }
    counted copied(uvm_counter::pages_copied), free(uvm_counter::flt_amcopy_free);
    for (int i = 0; i < 8; i++)
        store(parent, at + pages(i), uint8_t(i + 1));
    CHECK(copied() == 0);
    CHECK(free() == 1);
}

TEST_CASE("amap: a partial unmap of a forked amap gives back what neither side has", "[amap]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 10);
    for (int i = 0; i < 10; i++)
        store(parent, at + pages(i), uint8_t(i));
    vm_ref child = fork_of(parent);
    REQUIRE(parent->unmap(at, pages(6)));
    CHECK(anon_pages() == 10);
    REQUIRE(child->unmap(at + pages(4), pages(6)));
    CHECK(anon_pages() == 8); // 0..3 are the child's, 6..9 the parent's
    CHECK(load(child, at + pages(3)) == 3);
    CHECK(load(parent, at + pages(6)) == 6);
    CHECK(store(parent, at + pages(6), 66) == 66);
    CHECK(anon_pages() == 8);
}
