// A virtqueue, and a device on its other side: one that answers in any order, and ones that lie.
#include "kernel/drivers/virtqueue.h"
#include "tests/host/catch.h"

#include <cstring>
#include <random>
#include <vector>

namespace {

struct descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags, next;
};

// The device reads the shared memory by the specification, and not by the driver's structures.
struct device {
    explicit device(unsigned count) : count(count), memory(virtqueue::bytes(count) + 16) {
        auto at = reinterpret_cast<uintptr_t>(memory.data());
        q.initialize(memory.data() + (16 - at % 16) % 16, count);
        table = static_cast<const descriptor*>(q.descriptors());
        available = static_cast<const uint16_t*>(q.available());
        used = static_cast<uint16_t*>(const_cast<void*>(q.used()));
    }
    // The chains that are new.
    std::vector<uint32_t> look() {
        std::vector<uint32_t> found;
        for (; seen != available[1]; seen++)
            found.push_back(available[2 + seen % count]);
        return found;
    }
    std::vector<descriptor> chain(uint32_t head) const {
        std::vector<descriptor> found;
        for (uint32_t at = head; found.size() <= count; at = table[at].next) {
            REQUIRE(at < count);
            found.push_back(table[at]);
            if (!(table[at].flags & 1))
                break;
        }
        return found;
    }
    void answer(uint32_t head, uint32_t written) {
        const uint32_t entry[2] = {head, written};
        memcpy(used + 2 + 4 * (used[1] % count), entry, sizeof entry);
        used[1]++;
    }

    unsigned count;
    std::vector<char> memory;
    virtqueue q;
    const descriptor* table;
    const uint16_t* available;
    uint16_t* used;
    uint16_t seen = 0;
};

using answer = virtqueue::answer;

disk_segment piece(uint64_t at, uint32_t size) { return {paddr_t(at), size}; }

unsigned add(virtqueue& q, unsigned reads, unsigned writes) {
    std::vector<disk_segment> in(reads, piece(0x1000, 16)), out(writes, piece(0x2000, 512));
    return q.add(in, out);
}

} // namespace

TEST_CASE("virtqueue: a chain is what the device finds") {
    device d(8);
    const disk_segment reads[] = {piece(0x1000, 16), piece(0x5000, 512)};
    const disk_segment writes[] = {piece(0x7000, 1)};
    const unsigned expected_name = d.q.next_chain();
    const unsigned name = d.q.add(reads, writes);
    CHECK(name == expected_name);
    REQUIRE(d.look() == std::vector<uint32_t>{name});
    const auto chain = d.chain(name);
    REQUIRE(chain.size() == 3);
    CHECK(chain[1].address == 0x5000);
    CHECK(chain[1].size == 512);
    CHECK((chain[1].flags & 2) == 0);
    CHECK(chain[2].flags == 2);
    CHECK(d.q.room() == 5);
    CHECK(d.q.take().what == answer::nothing);
    d.answer(name, 1);
    const auto taken = d.q.take();
    CHECK(taken.what == answer::chain);
    CHECK(taken.chain == name);
    CHECK(taken.written == 1);
    CHECK(d.q.room() == 8);
    CHECK(d.q.take().what == answer::nothing);
}

TEST_CASE("virtqueue: whether the device wants to be told") {
    device d(8);
    CHECK(d.q.wants_notice());
    d.used[0] = 1;
    CHECK_FALSE(d.q.wants_notice());
}

TEST_CASE("virtqueue: many chains, answered in any order, round the rings") {
    std::mt19937 random(1);
    device d(16);
    std::vector<uint32_t> out;
    for (unsigned round = 0; round < 20000; round++) {
        const unsigned reads = 1 + random() % 3, writes = 1 + random() % 3;
        if (random() % 2 && reads + writes <= d.q.room()) {
            const unsigned name = add(d.q, reads, writes);
            REQUIRE(d.look() == std::vector<uint32_t>{name});
            REQUIRE(d.chain(name).size() == reads + writes);
            out.push_back(name);
        } else if (!out.empty()) {
            std::swap(out[random() % out.size()], out.back());
            d.answer(out.back(), 1);
            const auto taken = d.q.take();
            REQUIRE(taken.what == answer::chain);
            REQUIRE(taken.chain == out.back());
            out.pop_back();
        }
    }
    for (uint32_t name : out)
        d.answer(name, 0);
    while (d.q.take().what == answer::chain) {
    }
    CHECK(d.q.room() == 16);
}

TEST_CASE("virtqueue: nonsense is seen") {
    device d(8);
    const unsigned name = add(d.q, 1, 2);
    SECTION("a number beyond the table") { d.answer(8, 0); }
    SECTION("a number far beyond it") { d.answer(UINT32_MAX, 0); }
    SECTION("a descriptor that begins no chain") { d.answer(d.table[name].next, 0); }
    SECTION("more bytes than there was room for") { d.answer(name, 1025); }
    SECTION("an index that runs ahead") { d.used[1] = 2; }
    SECTION("an index that runs back") { d.used[1] = UINT16_MAX; }
    SECTION("an answer given twice") {
        d.answer(name, 1024);
        CHECK(d.q.take().what == answer::chain);
        (void)add(d.q, 1, 1);
        const unsigned other = add(d.q, 1, 1);
        d.answer(other, 0);
        CHECK(d.q.take().what == answer::chain);
        d.answer(other, 0);
    }
    CHECK(d.q.take().what == answer::nonsense);
}
