// Random numbers that cannot be guessed: getrandom, /dev/urandom, AT_RANDOM, the places of stacks
// and programs.
#pragma once

#include "lib/types.h"

#include <cstddef>
#include <cstdint>
#include <span>

// Collects the first seed. Once, early.
void random_init();
// Adds to the seed: whatever is hard to foresee.
void random_mix(const void* data, size_t size);
// Any context.
void random_fill(std::span<std::byte> out);
uint64_t random_u64();
// A multiple of page_size below `pages` pages; 0 with the command-line word `norandmaps`.
uint64_t random_page_offset(uint64_t pages);
