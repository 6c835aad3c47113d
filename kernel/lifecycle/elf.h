// ELF64 programs: reading the headers, and mapping the segments into an address space.
#pragma once

#include "kernel/abi/elf.h"
#include "kernel/files/vfs.h"
#include "lib/result.h"
#include "lib/types.h"
#include "vm/phys/pool.h"
#include "vm/prot.h"

#include <cstdint>
#include <optional>

class vmspace;

// A program (or its interpreter) whose headers have been read and found in order: mapping it cannot
// find anything wrong with the file any more.
class elf_image {
public:
    // `head`: the first `head_size` bytes of the file. ENOEXEC for what is no well-formed x86-64
    // program, EIO, ENOMEM.
    static expected<elf_image> read(exec_file file, const void* head, size_t head_size);

    bool position_independent() const { return header_.type == 3; }
    // PT_INTERP's path; empty when there is none.
    const char* interpreter() const { return interpreter_ ? interpreter_.data() : ""; }
    bool executable_stack() const { return executable_stack_; }
    // From the first page of a segment to the end of the last one, before it is moved to its base.
    uint64_t low() const { return low_; }
    uint64_t size() const { return high_ - low_; }
    // The pages of its segments, and of those that are writable.
    uint64_t pages() const { return pages_; }
    uint64_t data_pages() const { return data_pages_; }
    unsigned header_count() const { return header_.program_count; }
    const exec_file& file() const { return file_; }

    // Where things are once `bias` has been added to all addresses.
    struct placement {
        vaddr_t entry, headers; // headers: AT_PHDR, 0 when no segment has them
        vaddr_t code_start, code_end, data_start, data_end;
        vaddr_t end; // of the last segment: the heap begins behind it
    };
    // Maps the segments, replacing what is there, and zeroes the rest of the last page of file
    // data. ENOMEM EFAULT.
    expected<placement> map(vmspace& vm, uint64_t bias) const;

private:
    elf_image(exec_file file, const elf_header& header) : file_(std::move(file)), header_(header) {}
    status check_segments();
    status map_segment(vmspace& vm, const elf_segment& s, uint64_t bias) const;

    exec_file file_;
    elf_header header_;
    kmem_array<elf_segment> segments_;
    kmem_array<char> interpreter_;
    uint64_t low_ = UINT64_MAX, high_ = 0;
    uint64_t pages_ = 0, data_pages_ = 0;
    bool executable_stack_ = false;
};
