// The VM system held against a model of it that is nothing but attributes and contents of pages:
// several processes and objects, random operations.
//
// A run is a list of operations that are plain data. What an operation does is fixed by its
// numbers and by the state it meets, so any part of a list is a run too: that is what lets a
// failing one be shrunk (vm_shrink.h), and lets libFuzzer make one of bytes (fuzz/fuzz_vm.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

// Each operation, how often it is drawn, and what it does.
#define MODEL_OPERATIONS(X)                                                                        \
    X(map, 12, "mmap, at a fixed place")                                                           \
    X(unmap, 6, "munmap")                                                                          \
    X(protect, 9, "mprotect")                                                                      \
    X(read, 14, "a program reads a byte")                                                          \
    X(write, 22, "a program writes a byte")                                                        \
    X(poke, 2, "write_memory, as a debugger: by force")                                            \
    X(fork, 6, "fork, in one of its modes")                                                        \
    X(vfork, 2, "a child in its parent's address space")                                           \
    X(exec, 2, "exec")                                                                             \
    X(exit, 5, "exit")                                                                             \
    X(advise, 5, "madvise")                                                                        \
    X(inherit, 4, "minherit")                                                                      \
    X(remap, 7, "mremap")                                                                          \
    X(lock, 2, "mlock")                                                                            \
    X(unlock, 3, "munlock")                                                                        \
    X(sync, 1, "msync")                                                                            \
    X(brk, 3, "brk")                                                                               \
    X(truncate, 3, "ftruncate of a file")                                                          \
    X(file_write, 3, "write to a file")                                                            \
    X(file_read, 2, "read from a file")                                                            \
    X(overcommit, 2, "the account's mode, and a limit that bites")                                 \
    X(switches, 1, "fault-ahead and the page of zeros, on or off")                                 \
    X(limit, 2, "setrlimit: RLIMIT_AS, RLIMIT_DATA or RLIMIT_MEMLOCK")                             \
    X(swap_on, 4, "swapon")                                                                        \
    X(swap_off, 2, "swapoff")                                                                      \
    X(page_out, 16, "the page daemon frees pages")                                                 \
    X(disk_error, 3, "a page of a disk can not be read, or none be written")

enum class model_op : uint8_t {
#define X(name, weight, text) name,
    MODEL_OPERATIONS(X)
#undef X
        count
};

struct model_operation {
    model_op kind;
    uint8_t process, page, count;
    uint32_t value;
    uint8_t
        fail_at; // 0, or which allocation of the operation fails; from `requests` on: which request
    static constexpr uint8_t requests = 128;
};

// What differed, and at which operation.
struct model_mismatch : std::runtime_error {
    model_mismatch(size_t index, const std::string& what)
        : std::runtime_error("operation " + std::to_string(index) + ": " + what), at(index) {}
    size_t at;
};

std::vector<model_operation> make_operations(uint64_t seed, size_t count);

// Runs the operations from an empty machine to an empty machine. After each one all pages of all
// processes are compared, as are attributes, accounts and objects, and everything is check()ed.
// Throws model_mismatch; panics as vm/ does. `progress`, if given, has the number of the operation
// that runs.
void run_operations(const std::vector<model_operation>& operations,
                    volatile size_t* progress = nullptr);

const char* model_op_name(model_op kind);
// The operation in a few words: "process 1: mmap of pages 3 to 5 ...".
std::string describe(const model_operation& operation);
