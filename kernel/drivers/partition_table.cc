#include "kernel/drivers/partition_table.h"

#include "lib/types.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace {

template <class T> T at(const uint8_t* bytes, size_t offset) { // little-endian, as we are
    T value;
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

// ---- MBR ---------------------------------------------------------------------------------------

constexpr size_t mbr_entries = 446, mbr_entry_size = 16, mbr_signature = 510;
constexpr uint8_t type_gpt = 0xee;
constexpr uint64_t extended_shown = 2; // a place for a boot loader, as on Linux

struct mbr_entry {
    uint8_t boot, type;
    uint32_t first, blocks;
    bool used() const { return type != 0 && blocks != 0; }
    bool extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

mbr_entry entry_of(const uint8_t* block, unsigned i) {
    const uint8_t* e = block + mbr_entries + mbr_entry_size * i;
    return {e[0], e[4], at<uint32_t>(e, 8), at<uint32_t>(e, 12)};
}

// A boot sector of a file system has the signature, too, but code where the entries would be.
bool is_mbr(const uint8_t* block) {
    bool good = at<uint16_t>(block, mbr_signature) == 0xaa55;
    for (unsigned i = 0; i < 4; i++)
        good = good && (entry_of(block, i).boot & 0x7f) == 0;
    return good;
}

// Each record has a partition, by its distance from the record, and the next record, by its distance
// from the first. A chain that does not go forward is at its end.
status read_extended(block_reader& disk, const mbr_entry& whole, partition_table& table) {
    const uint64_t end = uint64_t{whole.first} + whole.blocks;
    uint64_t record = whole.first;
    // The extended partition itself stands for its first two sectors (see read_mbr).
    const uint64_t inside = record + extended_shown;
    for (unsigned number = 5; number <= partition_table::most; number++) {
        const uint8_t* block = TRY(disk.read(record, 1));
        if (!is_mbr(block))
            return {};
        const mbr_entry part = entry_of(block, 0), link = entry_of(block, 1);
        if (part.used() && !part.extended())
            table.add(number, record + part.first, part.blocks, std::max(record + 1, inside), end);
        const uint64_t next = uint64_t{whole.first} + link.first;
        if (!link.used() || !link.extended() || next <= record || next >= end)
            return {};
        record = next;
    }
    return {};
}

expected<partition_table> read_mbr(block_reader& disk, const mbr_entry (&entries)[4],
                                   uint64_t blocks) {
    partition_table table;
    const mbr_entry* extended = nullptr;
    for (unsigned i = 0; i < 4; i++) {
        const mbr_entry& e = entries[i];
        if (!e.used())
            continue;
        const unsigned before = table.refused;
        table.add(i + 1, e.first, e.blocks, 1, blocks);
        if (e.extended() && table.refused == before && !extended)
            extended = &e;
    }
    if (!extended)
        return table;
    // Its logical partitions lie within it, and not within each other.
    partition_table logical;
    TRY(read_extended(disk, *extended, logical));
    table.refused += logical.refused;
    for (partition_table::entry& e : std::span(table.entries, table.count))
        if (e.first == extended->first)
            e.blocks = std::min(e.blocks, extended_shown);
    for (const partition_table::entry& e : std::span(logical.entries, logical.count))
        table.entries[table.count++] = e;
    return table;
}

// ---- GPT ---------------------------------------------------------------------------------------

constexpr size_t header_least = 92, header_crc = 16, header_own = 24, header_usable = 40;
constexpr size_t header_array = 72, header_count = 80, header_entry_size = 84,
                 header_array_crc = 88;
constexpr size_t entry_first = 32, entry_last = 40, entry_least = 128;
constexpr uint64_t array_most = 64 * 1024; // bytes; 16 KiB are usual

// CRC-32 as in Ethernet, by halves of bytes.
uint32_t crc32(uint32_t crc, const uint8_t* bytes, size_t size) {
    constexpr uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

struct gpt_header {
    uint64_t first_usable, last_usable, array;
    uint32_t count, entry_size, array_crc;
};

// Whether `block`, which was read from `own`, holds a good header.
bool read_header(const uint8_t* block, uint32_t block_size, uint64_t own, uint64_t blocks,
                 gpt_header& h) {
    const auto size = at<uint32_t>(block, 12);
    if (memcmp(block, "EFI PART", 8) != 0 || size < header_least || size > block_size)
        return false;
    // Its checksum is computed with zeros in its own place.
    constexpr uint8_t zeros[4] = {};
    uint32_t crc = crc32(~0u, block, header_crc);
    crc = crc32(crc, zeros, 4);
    crc = ~crc32(crc, block + header_crc + 4, size - header_crc - 4);
    if (crc != at<uint32_t>(block, header_crc) || at<uint64_t>(block, header_own) != own)
        return false;
    h = {at<uint64_t>(block, header_usable),     at<uint64_t>(block, header_usable + 8),
         at<uint64_t>(block, header_array),      at<uint32_t>(block, header_count),
         at<uint32_t>(block, header_entry_size), at<uint32_t>(block, header_array_crc)};
    const uint64_t bytes = uint64_t{h.count} * h.entry_size;
    if (h.entry_size < entry_least || (h.entry_size & (h.entry_size - 1)) ||
        h.entry_size > block_size || bytes == 0 || bytes > array_most)
        return false;
    const uint64_t array_blocks = (bytes + block_size - 1) / block_size;
    return h.first_usable <= h.last_usable && h.last_usable < blocks && h.array < blocks &&
           array_blocks <= blocks - h.array;
}

// The entries, if their checksum is right: else no table.
expected<bool> read_array(block_reader& disk, const gpt_header& h, uint32_t block_size,
                          partition_table& table) {
    uint32_t crc = ~0u;
    const uint32_t per_block = block_size / h.entry_size;
    const auto at_once = unsigned(page_size / block_size);
    const uint32_t all = (h.count + per_block - 1) / per_block;
    for (uint32_t block = 0; block < all; block += at_once) {
        const uint32_t n = std::min(at_once, all - block);
        const uint8_t* bytes = TRY(disk.read(h.array + block, n));
        const uint32_t first = block * per_block, here = std::min(n * per_block, h.count - first);
        crc = crc32(crc, bytes, size_t{here} * h.entry_size);
        for (uint32_t i = 0; i < here; i++) {
            const uint8_t* e = bytes + size_t{i} * h.entry_size;
            if (at<uint64_t>(e, 0) == 0 && at<uint64_t>(e, 8) == 0) // no type: not in use
                continue;
            const auto start = at<uint64_t>(e, entry_first), last = at<uint64_t>(e, entry_last);
            table.add(first + i + 1, start, last >= start ? last - start + 1 : 0, h.first_usable,
                      h.last_usable + 1);
        }
    }
    return ~crc == h.array_crc;
}

// The header behind the MBR, or else the copy in the last block.
expected<partition_table> read_gpt(block_reader& disk, uint64_t blocks, uint32_t block_size) {
    for (const uint64_t own : {uint64_t{1}, blocks - 1}) {
        gpt_header h;
        partition_table table;
        if (own < blocks && read_header(TRY(disk.read(own, 1)), block_size, own, blocks, h) &&
            TRY(read_array(disk, h, block_size, table)))
            return table;
    }
    return partition_table{};
}

} // namespace

void partition_table::add(unsigned number, uint64_t first, uint64_t size, uint64_t from,
                          uint64_t until) {
    if (number > most || count == most)
        return;
    bool good = size && first >= from && first < until && size <= until - first;
    for (unsigned i = 0; good && i < count; i++)
        good = first + size <= entries[i].first || first >= entries[i].end();
    if (good)
        entries[count++] = {number, first, size};
    else
        refused++;
}

expected<partition_table> read_partitions(block_reader& disk, uint64_t blocks,
                                          uint32_t block_size) {
    if (blocks == 0)
        return partition_table{};
    const uint8_t* first = TRY(disk.read(0, 1));
    if (!is_mbr(first))
        return partition_table{};
    mbr_entry entries[4];
    for (unsigned i = 0; i < 4; i++)
        entries[i] = entry_of(first, i);
    if (std::ranges::any_of(entries, [](const mbr_entry& e) { return e.type == type_gpt; }))
        return read_gpt(disk, blocks, block_size);
    return read_mbr(disk, entries, blocks);
}
