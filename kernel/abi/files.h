// Files as programs see them: Linux's numbers for x86-64.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint32_t { // open(2)
    o_accmode = 3,
    o_rdonly = 0,
    o_wronly = 1,
    o_rdwr = 2,
    o_creat = 0100,
    o_excl = 0200,
    o_noctty = 0400,
    o_trunc = 01000,
    o_append = 02000,
    o_nonblock = 04000,
    o_dsync = 010000,
    o_async = 020000,
    o_direct = 040000,
    o_largefile = 0100000,
    o_directory = 0200000,
    o_nofollow = 0400000,
    o_noatime = 01000000,
    o_cloexec = 02000000,
    o_sync = 04010000,
    o_path = 010000000,
    o_tmpfile = 020000000,
};
enum : int32_t { // of calls with a directory and a path in it
    at_symlink_nofollow = 0x100,
    at_eaccess = 0x200,   // of faccessat2
    at_removedir = 0x200, // of unlinkat
    at_symlink_follow = 0x400,
    at_no_automount = 0x800,
    at_empty_path = 0x1000,
    at_statx_sync_type = 0x6000,
};
enum : uint32_t { // st_mode
    s_ifmt = 0170000,
    s_ifsock = 0140000,
    s_iflnk = 0120000,
    s_ifreg = 0100000,
    s_ifblk = 0060000,
    s_ifdir = 0040000,
    s_ifchr = 0020000,
    s_ififo = 0010000,
    s_isuid = 04000,
    s_isgid = 02000,
    s_isvtx = 01000,
    s_ixgrp = 010,
};
enum : int { seek_set, seek_cur, seek_end, seek_data, seek_hole };
enum : uint32_t { rename_noreplace = 1, rename_exchange = 2 };
enum : int32_t { // fcntl(2)
    f_dupfd = 0,
    f_getfd = 1,
    f_setfd = 2,
    f_getfl = 3,
    f_setfl = 4,
    f_getlk = 5,
    f_setlk = 6,
    f_setlkw = 7,
    f_ofd_getlk = 36,
    f_ofd_setlk = 37,
    f_ofd_setlkw = 38,
    f_dupfd_cloexec = 1030,
    f_setpipe_sz = 1031,
    f_getpipe_sz = 1032,
    f_add_seals = 1033,
    f_get_seals = 1034,
};
enum : int16_t { f_rdlck, f_wrlck, f_unlck };
enum : uint64_t { fd_cloexec = 1 };
enum : int32_t { lock_sh = 1, lock_ex = 2, lock_nb = 4, lock_un = 8 };
enum : uint32_t {
    pollin = 1,
    pollpri = 2,
    pollout = 4,
    pollerr = 8,
    pollhup = 16,
    pollnval = 32,
    pollrdnorm = 64,
    pollrdband = 128,
    pollwrnorm = 256,
    pollwrband = 512,
    pollrdhup = 0x2000,
};
enum : uint32_t { // mount(2)
    ms_rdonly = 1,
    ms_nosuid = 2,
    ms_nodev = 4,
    ms_noexec = 8,
    ms_remount = 32,
    ms_noatime = 1024,
    ms_nodiratime = 2048,
    ms_silent = 32768,
    ms_relatime = 1 << 21,
    ms_strictatime = 1 << 24,
};
enum : uint32_t { efd_semaphore = 1 };
enum : uint32_t { tfd_timer_abstime = 1, tfd_timer_cancel_on_set = 2 };
enum : uint32_t { mfd_cloexec = 1, mfd_allow_sealing = 2 };

} // namespace linux_abi
