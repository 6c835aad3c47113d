// Programs as exec finds them, and what it tells them: ELF's numbers, and Linux's of the auxiliary
// vector.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint16_t { et_exec = 2, et_dyn = 3, em_x86_64 = 62 };
enum : uint32_t { pt_load = 1, pt_interp = 3, pt_phdr = 6, pt_gnu_stack = 0x6474e551 };
enum : uint32_t { pf_x = 1, pf_w = 2, pf_r = 4 };
enum : uint64_t { // auxv
    at_null = 0,
    at_phdr = 3,
    at_phent,
    at_phnum,
    at_pagesz,
    at_base,
    at_flags,
    at_entry,
    at_uid = 11,
    at_euid,
    at_gid,
    at_egid,
    at_platform,
    at_hwcap,
    at_clktck,
    at_secure = 23,
    at_random = 25,
    at_hwcap2,
    at_execfn = 31,
    at_minsigstksz = 51,
};

} // namespace linux_abi

// System V ABI, ELF-64 object file format.
struct elf_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_offset, section_offset;
    uint32_t flags;
    uint16_t header_size, program_entry_size, program_count, section_entry_size, section_count,
        names;
};
static_assert(sizeof(elf_header) == 64);
struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, virtual_address, physical_address, file_size, memory_size, alignment;
};
static_assert(sizeof(elf_segment) == 56);
