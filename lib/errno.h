// Errors: Linux's numbers and names. Enumerators are lower case and drop the E because the
// host's <errno.h> defines the upper-case names as macros.
#pragma once

#include <cstdint>

// clang-format off
#define SPORK_ERRNO_LIST(X) \
    X(1, perm, "EPERM") X(2, noent, "ENOENT") X(3, srch, "ESRCH") X(4, intr, "EINTR") \
    X(5, io, "EIO") X(6, nxio, "ENXIO") X(7, toobig, "E2BIG") X(8, noexec, "ENOEXEC") \
    X(9, badf, "EBADF") X(10, child, "ECHILD") X(11, again, "EAGAIN") X(12, nomem, "ENOMEM") \
    X(13, acces, "EACCES") X(14, fault, "EFAULT") X(15, notblk, "ENOTBLK") X(16, busy, "EBUSY") \
    X(17, exist, "EEXIST") X(18, xdev, "EXDEV") X(19, nodev, "ENODEV") X(20, notdir, "ENOTDIR") \
    X(21, isdir, "EISDIR") X(22, inval, "EINVAL") X(23, nfile, "ENFILE") X(24, mfile, "EMFILE") \
    X(25, notty, "ENOTTY") X(26, txtbsy, "ETXTBSY") X(27, fbig, "EFBIG") X(28, nospc, "ENOSPC") \
    X(29, spipe, "ESPIPE") X(30, rofs, "EROFS") X(31, mlink, "EMLINK") X(32, pipe, "EPIPE") \
    X(33, dom, "EDOM") X(34, range, "ERANGE") X(35, deadlk, "EDEADLK") \
    X(36, nametoolong, "ENAMETOOLONG") X(37, nolck, "ENOLCK") X(38, nosys, "ENOSYS") \
    X(39, notempty, "ENOTEMPTY") X(40, loop, "ELOOP") X(61, nodata, "ENODATA") \
    X(62, time, "ETIME") X(71, proto, "EPROTO") X(75, overflow, "EOVERFLOW") \
    X(88, notsock, "ENOTSOCK") X(89, destaddrreq, "EDESTADDRREQ") \
    X(90, msgsize, "EMSGSIZE") X(91, prototype, "EPROTOTYPE") X(92, noprotoopt, "ENOPROTOOPT") \
    X(93, protonosupport, "EPROTONOSUPPORT") X(94, socktnosupport, "ESOCKTNOSUPPORT") \
    X(95, opnotsupp, "EOPNOTSUPP") X(97, afnosupport, "EAFNOSUPPORT") \
    X(98, addrinuse, "EADDRINUSE") X(99, addrnotavail, "EADDRNOTAVAIL") \
    X(101, netunreach, "ENETUNREACH") X(104, connreset, "ECONNRESET") X(105, nobufs, "ENOBUFS") \
    X(106, isconn, "EISCONN") X(107, notconn, "ENOTCONN") X(109, toomanyrefs, "ETOOMANYREFS") \
    X(110, timedout, "ETIMEDOUT") X(111, connrefused, "ECONNREFUSED") \
    X(114, already, "EALREADY") X(117, uclean, "EUCLEAN") X(125, canceled, "ECANCELED") \
    X(130, ownerdead, "EOWNERDEAD") X(131, notrecoverable, "ENOTRECOVERABLE")              \
    /* Never seen by a program: what a sleeping call returns when a signal wakes it. The  \
       return to user mode turns it into a restart or into EINTR (see kernel/signal/signal.h). */ \
    X(512, restartsys, "ERESTARTSYS") X(513, restartnointr, "ERESTARTNOINTR")               \
    X(514, restartnohand, "ERESTARTNOHAND") X(516, restart_block, "ERESTART_RESTARTBLOCK")
// clang-format on

enum class Errno : int32_t {
#define X(number, name, text) name = number,
    SPORK_ERRNO_LIST(X)
#undef X
};

// "ENOMEM" and so on; "E?" for a number that is not in the list.
const char* errno_name(Errno e);
