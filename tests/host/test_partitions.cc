// Partition tables: good ones are read, and whatever else is on a disk does no harm.
#include "kernel/drivers/partition_table.h"
#include "lib/types.h"
#include "tests/host/catch.h"

#include <cstring>
#include <random>
#include <vector>

namespace {

class memory_disk final : public block_reader {
public:
    memory_disk(uint64_t blocks, uint32_t block_size)
        : bytes(blocks * block_size), blocks(blocks), block_size(block_size) {}
    expected<const uint8_t*> read(uint64_t block, unsigned count) override {
        reads++;
        // What the real one would refuse, the parser must not ask for.
        if (count == 0 || count * block_size > page_size || block >= blocks ||
            count > blocks - block)
            FAIL("blocks " << block << " to " << block + count << " of " << blocks);
        if (block == bad_block)
            return fail(Errno::io);
        // In memory of its own and of just this size, so that the sanitizer sees who leaves it.
        buffer.assign(bytes.begin() + long(block * block_size),
                      bytes.begin() + long((block + count) * block_size));
        buffer.shrink_to_fit();
        return buffer.data();
    }
    template <class T> void put(uint64_t offset, T value) {
        memcpy(&bytes[offset], &value, sizeof value);
    }
    partition_table table() {
        reads = 0;
        auto found = read_partitions(*this, blocks, block_size);
        REQUIRE(found.has_value());
        return *found;
    }

    std::vector<uint8_t> bytes, buffer;
    uint64_t blocks, bad_block = UINT64_MAX;
    uint32_t block_size;
    unsigned reads = 0;
};

void put_entry(memory_disk& d, uint64_t block, unsigned i, uint8_t type, uint32_t first,
               uint32_t blocks) {
    const uint64_t at = block * d.block_size + 446 + 16 * i;
    d.bytes[at + 4] = type;
    d.put(at + 8, first);
    d.put(at + 12, blocks);
    d.put(block * d.block_size + 510, uint16_t(0xaa55));
}

uint32_t crc_of(const uint8_t* p, size_t size) { // by whole bytes, another way than the parser's
    static const std::vector<uint32_t> table = [] {
        std::vector<uint32_t> each(256);
        for (uint32_t byte = 0; byte < 256; byte++) {
            each[byte] = byte;
            for (int bit = 0; bit < 8; bit++)
                each[byte] = each[byte] >> 1 ^ (each[byte] & 1 ? 0xedb88320u : 0);
        }
        return each;
    }();
    uint32_t crc = ~0u;
    for (const uint8_t* end = p + size; p != end; p++)
        crc = crc >> 8 ^ table.data()[(crc ^ *p) & 0xff];
    return ~crc;
}

constexpr uint32_t gpt_entries = 32, gpt_entry_size = 128;

void seal(memory_disk& d, uint64_t own, uint64_t array) {
    const uint64_t at = own * d.block_size;
    d.put(at + 88, crc_of(&d.bytes[array * d.block_size], gpt_entries * gpt_entry_size));
    d.put(at + 16, uint32_t{0});
    d.put(at + 16, crc_of(&d.bytes[at], 92));
}

void put_header(memory_disk& d, uint64_t own, uint64_t array) {
    const uint64_t at = own * d.block_size, used = gpt_entries * gpt_entry_size / d.block_size;
    memcpy(&d.bytes[at], "EFI PART\0\0\1\0\134\0\0\0", 16);
    d.put(at + 24, own);
    d.put(at + 40, uint64_t{2 + used});
    d.put(at + 48, uint64_t{d.blocks - 2 - used});
    d.put(at + 72, array);
    d.put(at + 80, gpt_entries);
    d.put(at + 84, gpt_entry_size);
}

void put_gpt_entry(memory_disk& d, uint64_t array, unsigned i, uint64_t first, uint64_t last) {
    const uint64_t at = array * d.block_size + gpt_entry_size * i;
    d.put(at, uint64_t{0x477284830fc63daf});
    d.put(at + 32, first);
    d.put(at + 40, last);
}

// Both copies, with partitions 1 and 3.
memory_disk gpt_disk(uint32_t block_size) {
    memory_disk d(1000, block_size);
    const uint64_t used = gpt_entries * gpt_entry_size / block_size, copy = d.blocks - 1 - used;
    put_entry(d, 0, 0, 0xee, 1, 999);
    put_header(d, 1, 2);
    put_header(d, d.blocks - 1, copy);
    for (uint64_t array : {uint64_t{2}, copy}) {
        put_gpt_entry(d, array, 0, 100, 199);
        put_gpt_entry(d, array, 2, 200, 200);
    }
    seal(d, 1, 2);
    seal(d, d.blocks - 1, copy);
    return d;
}

bool sound(const partition_table& t, uint64_t blocks) {
    bool good = t.count <= partition_table::most;
    for (unsigned i = 0; good && i < t.count; i++) {
        const auto& e = t.entries[i];
        good = e.number >= 1 && e.number <= partition_table::most && e.blocks > 0 &&
               e.first < blocks && e.blocks <= blocks - e.first;
        for (unsigned j = 0; good && j < i; j++)
            good = t.entries[j].number != e.number &&
                   (e.end() <= t.entries[j].first || t.entries[j].end() <= e.first);
    }
    return good;
}

memory_disk mbr_disk() {
    memory_disk d(10000, 512);
    put_entry(d, 0, 0, 0x83, 1, 99);
    put_entry(d, 0, 2, 0x05, 1000, 5000);
    put_entry(d, 0, 3, 0x82, 9000, 1000);
    put_entry(d, 1000, 0, 0x83, 63, 100);
    put_entry(d, 1000, 1, 0x05, 500, 600);
    put_entry(d, 1500, 0, 0x83, 1, 500);
    return d;
}

} // namespace

TEST_CASE("partitions: none on an empty disk or in a file system's boot sector") {
    memory_disk d(100, 512);
    CHECK(d.table().count == 0);
    put_entry(d, 0, 0, 0x83, 1, 50);
    d.bytes[446] = 0x33;
    CHECK(d.table().count == 0);
    d.bytes[446] = 0x80;
    CHECK(d.table().count == 1);
}

TEST_CASE("partitions: MBR with logical ones") {
    memory_disk d = mbr_disk();
    const partition_table t = d.table();
    REQUIRE(t.count == 5);
    CHECK(t.refused == 0);
    const partition_table::entry want[] = {
        {1, 1, 99}, {3, 1000, 2}, {4, 9000, 1000}, {5, 1063, 100}, {6, 1501, 500}};
    for (unsigned i = 0; i < 5; i++) {
        CHECK(t.entries[i].number == want[i].number);
        CHECK(t.entries[i].first == want[i].first);
        CHECK(t.entries[i].blocks == want[i].blocks);
    }
}

TEST_CASE("partitions: what overlaps or leaves the disk is refused") {
    memory_disk d(1000, 512);
    put_entry(d, 0, 0, 0x83, 10, 100);
    put_entry(d, 0, 1, 0x83, 109, 100); // overlaps by one
    put_entry(d, 0, 2, 0x83, 900, 101); // ends one too late
    put_entry(d, 0, 3, 0x83, 110, 890); // fits exactly
    const partition_table t = d.table();
    CHECK(t.refused == 2);
    REQUIRE(t.count == 2);
    CHECK(t.entries[1].number == 4);
    CHECK(t.entries[1].end() == 1000);
}

TEST_CASE("partitions: a chain of extended records that is a circle ends") {
    memory_disk d(1000, 512);
    put_entry(d, 0, 0, 0x0f, 100, 800);
    put_entry(d, 100, 1, 0x05, 0, 800);
    CHECK(d.table().count == 1);
    CHECK(d.reads < 5);
}

TEST_CASE("partitions: GPT in either copy, and in neither") {
    for (uint32_t block_size : {512u, 4096u}) {
        memory_disk d = gpt_disk(block_size);
        for (unsigned broken = 0; broken < 2; broken++) {
            const partition_table t = d.table();
            REQUIRE(t.count == 2);
            CHECK(t.entries[0].first == 100);
            CHECK(t.entries[0].blocks == 100);
            CHECK(t.entries[1].number == 3);
            CHECK(t.entries[1].blocks == 1);
            // The first header, and then the copy's entries.
            d.bytes[broken ? (d.blocks - 2) * block_size : block_size + 40] ^= 1;
        }
        CHECK(d.table().count == 0);
    }
}

TEST_CASE("partitions: GPT entries that overlap or leave what may be used") {
    memory_disk d = gpt_disk(512);
    put_gpt_entry(d, 2, 3, 150, 250);
    put_gpt_entry(d, 2, 4, 5, 50);
    put_gpt_entry(d, 2, 5, 300, UINT64_MAX);
    put_gpt_entry(d, 2, 6, 400, 300);
    seal(d, 1, 2);
    CHECK(d.table().count == 2);
    CHECK(d.table().refused == 4);
}

TEST_CASE("partitions: an error of the disk is handed on") {
    memory_disk d = gpt_disk(512);
    for (uint64_t bad : {0, 1, 2}) {
        d.bad_block = bad;
        auto found = read_partitions(d, d.blocks, d.block_size);
        REQUIRE_FALSE(found.has_value());
        CHECK(found.error() == Errno::io);
    }
}

TEST_CASE("partitions: mutated tables do no harm") {
    std::mt19937_64 random(17);
    memory_disk kinds[] = {mbr_disk(), gpt_disk(512), gpt_disk(4096)};
    auto seal_both = [](memory_disk& d) {
        seal(d, 1, 2);
        seal(d, d.blocks - 1, d.blocks - 1 - gpt_entries * gpt_entry_size / d.block_size);
    };
    for (unsigned round = 0; round < 6000; round++) {
        const bool is_mbr = round % 3 == 0;
        memory_disk& d = kinds[round % 3];
        const uint64_t places[] = {0, 1, 2, 1000, 1500, d.blocks - 1};
        std::vector<std::pair<uint64_t, uint8_t>> before;
        for (unsigned n = 1 + random() % 6; n > 0; n--) {
            const uint64_t block = std::min(places[random() % 6], d.blocks - 1);
            // Mostly where something lies.
            const uint64_t offset =
                block * d.block_size + (is_mbr ? 446 + random() % 66 : random() % 128);
            static constexpr uint8_t values[] = {0, 1, 0x05, 0x7f, 0x80, 0xee, 0xff};
            before.emplace_back(offset, d.bytes[offset]);
            d.bytes[offset] = random() % 2 ? values[random() % 7] : uint8_t(random());
        }
        if (!is_mbr && round % 2) // with right checksums the values themselves are judged
            seal_both(d);
        const auto found = read_partitions(d, d.blocks, d.block_size);
        if (!found || !sound(*found, d.blocks) || d.reads > 300)
            FAIL("round " << round);
        d.reads = 0;
        for (auto at = before.rbegin(); at != before.rend(); ++at)
            d.bytes[at->first] = at->second;
        if (!is_mbr)
            seal_both(d);
    }
    for (memory_disk& d : kinds) // they are as they were
        CHECK(d.table().count >= 2);
}
