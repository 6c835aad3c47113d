// Memory as programs see it: Linux's numbers for x86-64. Those that vm/ itself takes are in
// vm/vmspace.h.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint32_t { // mmap(2)
    map_shared = 1,
    map_private = 2,
    map_shared_validate = 3,
    map_type = 0xf,
    map_fixed = 0x10,
    map_anonymous = 0x20,
    map_32bit = 0x40,
    map_growsdown = 0x100,
    map_denywrite = 0x800,
    map_executable = 0x1000,
    map_locked = 0x2000,
    map_noreserve = 0x4000,
    map_populate = 0x8000,
    map_nonblock = 0x10000,
    map_stack = 0x20000,
    map_hugetlb = 0x40000,
    map_sync = 0x80000,
    map_fixed_noreplace = 0x100000,
};
enum : uint32_t { prot_growsdown = 0x0100'0000, prot_growsup = 0x0200'0000 };
enum : uint32_t { mcl_current = 1, mcl_future = 2, mcl_onfault = 4 };
enum : uint32_t { mlock_onfault = 1 };
enum : uint32_t { // shmget(2)
    ipc_creat = 01000,
    ipc_excl = 02000,
    shm_hugetlb = 04000,
    shm_noreserve = 010000,
    // shmat
    shm_rdonly = 010000,
    shm_rnd = 020000,
    shm_remap = 040000,
    shm_exec = 0100000,
    // in the mode that IPC_STAT shows
    shm_dest = 01000,
    shm_locked = 02000,
};
enum : int32_t { ipc_private = 0 };
enum : int32_t {
    ipc_rmid = 0,
    ipc_set = 1,
    ipc_stat = 2,
    ipc_info = 3,
    shm_lock = 11,
    shm_unlock = 12,
    shm_stat = 13,
    shm_info = 14,
    shm_stat_any = 15,
};
enum : uint32_t {
    membarrier_cmd_query = 0,
    membarrier_cmd_global = 1 << 0,
    membarrier_cmd_private_expedited = 1 << 3,
    membarrier_cmd_register_private_expedited = 1 << 4,
    // The processors also see code that has been changed. Here they always do.
    membarrier_cmd_private_expedited_sync_core = 1 << 5,
    membarrier_cmd_register_private_expedited_sync_core = 1 << 6,
};

} // namespace linux_abi
