// The arguments and the environment of an exec, on their way from the old address space to the new
// stack.
#pragma once

#include "kernel/base/user_ptr.h"
#include "kernel/process/call_memory.h"
#include "lib/list.h"
#include "lib/result.h"
#include "lib/types.h"
#include "vm/phys/pool.h"

#include <string_view>

class vmspace;

// Words that lie one behind the other in a new address space. They are collected, so that most
// programs have all of theirs written at once.
class word_run {
public:
    word_run(vmspace& vm, vaddr_t to) : vm_(vm), to_(to) {}
    status put(uint64_t word) { // ENOMEM
        words_[count_++] = word;
        return count_ == most ? flush() : status();
    }
    status flush();

private:
    static constexpr unsigned most = 64;
    vmspace& vm_;
    vaddr_t to_;
    uint64_t words_[most];
    unsigned count_ = 0;
};

// Strings one behind the other, each with its NUL, in pages of kernel memory. Strings can be put
// before the first one too, which is how a script's interpreter gets in front of the script's own
// arguments.
class exec_strings {
public:
    exec_strings() = default;
    exec_strings(const exec_strings&) = delete;
    ~exec_strings();

    // Takes over a null-terminated array of strings from the running program. E2BIG when a string
    // is over 128 KiB or all of them with their pointers need more than `budget` bytes, which is
    // reduced; EFAULT; ENOMEM.
    status append_from_user(vaddr_t array, uint64_t& budget);
    status append(std::string_view text, uint64_t& budget);
    // Drops the first string.
    void drop_first();

    uint64_t count() const { return count_; }
    uint64_t bytes() const { return bytes_; }
    bool empty() const { return count_ == 0; }
    // Adds all of `other` behind.
    void take(exec_strings& other);
    // Writes the strings to `to` in a new address space, and puts the address of each, and a null
    // behind them, to `pointers`.
    status store(vmspace& vm, vaddr_t to, word_run& pointers) const;

private:
    struct chunk {
        list_node link;
        uint32_t used = 0;
        uint32_t first = 0;         // bytes before it have been dropped
        char data[page_size - 128]; // a slab is a page
    };
    expected<chunk*> room();
    status append_string_from_user(vaddr_t at, uint64_t& budget);

    static constinit pool<chunk> chunks;
    list<chunk, &chunk::link> list_;
    uint64_t count_ = 0, bytes_ = 0;
    call_memory kept_;
};
