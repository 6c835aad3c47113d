// ChaCha20 (RFC 8439) as a generator with fast key erasure (Bernstein 2017): the cipher runs under
// the current key, the first 32 bytes of what comes out are the next key, and the rest is a stock
// that is given out and erased as it goes. So nobody who sees the state later can tell what was
// given out before. An exec wants a few words (AT_RANDOM, where stack and heap begin): they come
// from the stock, a request for more gets a key of its own and runs the cipher without the lock.
#include "kernel/base/random.h"

#include "arch/machine.h"
#include "arch/timer.h"
#include "kernel/base/cmdline.h"
#include "lib/lock.h"
#include "lib/string.h"

#include <algorithm>
#include <bit>

namespace {

constexpr size_t key_words = 8, block_words = 16, block_size = 64;

spin_lock lock{lock_rank::console, "random"}; // innermost: any context may ask
constinit uint32_t key[key_words] GUARDED_BY(lock) = {};

constexpr size_t stock_blocks = 4, stock_size = stock_blocks * block_size - sizeof key;
constinit std::byte stock[stock_size] GUARDED_BY(lock) = {};
constinit size_t stock_left GUARDED_BY(lock) = 0; // the last bytes of it; the others are zero

inline void quarter_round(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
    a += b;
    d = std::rotl(d ^ a, 16);
    c += d;
    b = std::rotl(b ^ c, 12);
    a += b;
    d = std::rotl(d ^ a, 8);
    c += d;
    b = std::rotl(b ^ c, 7);
}

void chacha20_block(const uint32_t (&k)[key_words], uint64_t counter,
                    uint32_t (&out)[block_words]) {
    const uint32_t initial[block_words] = {0x61707865,
                                           0x3320646e,
                                           0x79622d32,
                                           0x6b206574,
                                           k[0],
                                           k[1],
                                           k[2],
                                           k[3],
                                           k[4],
                                           k[5],
                                           k[6],
                                           k[7],
                                           uint32_t(counter),
                                           uint32_t(counter >> 32),
                                           0,
                                           0};
    memcpy(out, initial, sizeof initial);
    for (int round = 0; round < 10; round++) {
        quarter_round(out[0], out[4], out[8], out[12]);
        quarter_round(out[1], out[5], out[9], out[13]);
        quarter_round(out[2], out[6], out[10], out[14]);
        quarter_round(out[3], out[7], out[11], out[15]);
        quarter_round(out[0], out[5], out[10], out[15]);
        quarter_round(out[1], out[6], out[11], out[12]);
        quarter_round(out[2], out[7], out[8], out[13]);
        quarter_round(out[3], out[4], out[9], out[14]);
    }
    for (size_t i = 0; i < block_words; i++)
        out[i] += initial[i];
}

// The next key and what is given out come from the same stream and have no part in common.
void new_key() REQUIRES(lock) {
    uint32_t block[block_words];
    chacha20_block(key, 0, block);
    memcpy(key, block, sizeof key);
}

void absorb(const void* data, size_t size) REQUIRES(lock) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    while (size > 0) {
        size_t n = std::min(size, sizeof key);
        uint8_t chunk[sizeof key] = {};
        memcpy(chunk, bytes, n);
        for (size_t i = 0; i < key_words; i++) {
            uint32_t word;
            memcpy(&word, chunk + i * sizeof word, sizeof word);
            key[i] ^= word;
        }
        new_key();
        bytes += n;
        size -= n;
    }
    // What is still in stock was made before: it knows nothing of this.
    memset(stock, 0, sizeof stock);
    stock_left = 0;
}

void restock() REQUIRES(lock) {
    uint64_t time = cycle_count();
    absorb(&time, sizeof time);
    uint32_t blocks[stock_blocks][block_words];
    for (uint64_t i = 0; i < stock_blocks; i++)
        chacha20_block(key, i, blocks[i]);
    memcpy(key, blocks, sizeof key);
    memcpy(stock, blocks[0] + key_words, stock_size);
    stock_left = stock_size;
}

void take_from_stock(std::byte* out, size_t size) REQUIRES(lock) {
    while (size > 0) {
        if (stock_left == 0)
            restock();
        size_t n = std::min(size, stock_left);
        std::byte* from = stock + (stock_size - stock_left);
        memcpy(out, from, n);
        memset(from, 0, n);
        stock_left -= n;
        out += n;
        size -= n;
    }
}

} // namespace

void random_mix(const void* data, size_t size) {
    lock_guard guard(lock);
    absorb(data, size);
}

void random_init() {
    std::byte hardware[32];
    size_t n = machine_random(hardware);
    random_mix(hardware, n);
    uint64_t times[] = {cycle_count(), now(), boot_wall_clock()};
    random_mix(times, sizeof times);
}

void random_fill(std::span<std::byte> out) {
    if (out.size() <= block_size) {
        lock_guard guard(lock);
        take_from_stock(out.data(), out.size());
        return;
    }
    uint32_t own[key_words];
    {
        lock_guard guard(lock);
        take_from_stock(reinterpret_cast<std::byte*>(own), sizeof own);
    }
    uint32_t block[block_words];
    for (uint64_t counter = 1; !out.empty(); counter++) {
        chacha20_block(own, counter, block);
        size_t n = std::min(out.size(), block_size);
        memcpy(out.data(), block, n);
        out = out.subspan(n);
    }
}

uint64_t random_u64() {
    uint64_t value;
    random_fill(std::as_writable_bytes(std::span(&value, 1)));
    return value;
}

uint64_t random_page_offset(uint64_t pages) {
    static const bool off = cmdline_has("norandmaps");
    return off ? 0 : random_u64() % pages * page_size;
}
