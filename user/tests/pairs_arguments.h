// How a call of pairs_calls.h is made: what its arguments point to, and what its result has to be
// given back by.
#pragma once

#include "pairs_objects.h"

// What a call's arguments point to.
struct area {
    char bytes[PAGE], byte;
    uint64_t one, mask, action[4];
    struct iovec segment, local, remote;
    struct pollfd poll;
    fd_set set;
    struct timespec no_time;
    struct itimerspec later, never;
    struct flock lock, unlock;
    struct rlimit limit;
    siginfo_t info;
    struct shmid_ds segment_state;
    char path[4][64];
    char* argv[3];
};

struct caller {
    pid_t tid;
    int stat_fd;
    unsigned go; // a futex word: which round it is to make its call in
    volatile bool started, done;
    long result;
    long number, a[6];
    struct area area;
};

// In the caller's own frame: a child of vfork goes on in it before the parent does.
__attribute__((always_inline)) static inline long raw_call(long number, const long a[6]) {
    long result;
    register long r10 asm("r10") = a[3];
    register long r8 asm("r8") = a[4];
    register long r9 asm("r9") = a[5];
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

static long argument(struct caller* c, const struct object* o, long a) {
    struct area* m = &c->area;
    if (a < FIRST_ARGUMENT || a >= LAST_ARGUMENT)
        return a;
    switch (a) {
    case OBJ: return o->id;
    case OBJ2: return o->other;
    case FREE: return FREE_FD;
    case MEMFILE: return MEMORY_FILE_FD;
    case BUF: return (long)m->bytes;
    case DATA: return (long)&m->one;
    case IOV: return (long)&m->segment;
    case POLLFD: return (long)&m->poll;
    case FDSET: return (long)&m->set;
    case NO_TIME: return (long)&m->no_time;
    case LATER: return (long)&m->later;
    case NEVER: return (long)&m->never;
    case WRLCK: return (long)&m->lock;
    case UNLCK: return (long)&m->unlock;
    case X: return (long)o->x;
    case Y: return (long)o->y;
    case LINK: return (long)m->path[0];
    case NOTHING: return (long)"";
    case PTMX: return (long)"/dev/ptmx";
    case DEST: return o->kind == K_THREAD ? (long)&thread_word : (long)at_other;
    case INNER: return (long)at_object + PAGE;
    case REMOTE: return (long)&m->remote;
    case LOCAL: return (long)&m->local;
    case PID_STAT:
    case PID_MAPS:
    case PID_STATUS:
    case PID_FD:
        return (long)m->path[a == PID_STAT ? 0 : a == PID_MAPS ? 1 : a == PID_STATUS ? 2 : 3];
    case LIMIT: return (long)&m->limit;
    case MASK: return (long)&m->mask;
    case ACTION: return (long)m->action;
    case SIGINFO: return (long)&m->info;
    case SHMDS: return (long)&m->segment_state;
    case ATTACHED: return (long)at_object;
    case ARGV: return (long)m->argv;
    default: need(!"an argument that is not known"); return 0;
    }
}

static void prepare(struct caller* c, const struct object* o, const struct call* call) {
    static char name[] = "pairs", how[] = "--exit";
    struct area* m = &c->area;
    memset(m, 0, sizeof *m);
    m->one = 1;
    m->mask = o->kind & (PROCESS | K_THREAD) ? ~0UL : 1UL << (SIGUSR2 - 1);
    m->segment = (struct iovec){m->bytes, 8};
    m->local = (struct iovec){&m->byte, 1};
    m->remote = (struct iovec){at_object + PAGE, 1};
    m->byte = 'v';
    m->poll = (struct pollfd){.fd = OBJECT_FD, .events = POLLIN | POLLOUT};
    FD_SET(OBJECT_FD, &m->set);
    m->later.it_value.tv_sec = m->later.it_interval.tv_sec = 1000000000; // absolute, too
    m->lock = whole_lock(F_WRLCK, 0, 8);
    m->unlock = whole_lock(F_UNLCK, 0, 8);
    m->limit = (struct rlimit){200, 4096};
    m->action[0] = 1; // SIG_IGN
    m->info.si_code = SI_QUEUE;
    m->segment_state.shm_perm.mode = 0640;
    if (o->kind & FD) {
        snprintf(m->path[0], sizeof m->path[0], "/proc/self/fd/%d", OBJECT_FD);
    } else {
        static const char* const files[] = {"stat", "maps", "status", "fd"};
        for (int i = 0; i < 4; i++)
            snprintf(m->path[i], sizeof m->path[i], "/proc/%ld/%s", o->id, files[i]);
    }
    m->argv[0] = name;
    m->argv[1] = how;
    c->number = call->number;
    for (int i = 0; i < 6; i++)
        c->a[i] = argument(c, o, call->a[i]);
    if (call->number == SYS_select || call->number == SYS_pselect6)
        c->a[0] = OBJECT_FD + 1;
    c->result = 0;
}

static void give_back(struct caller* c, const struct call* call) {
    if (c->result < 0)
        return;
    if (call->result == ADDRESS)
        munmap((void*)c->result, (size_t)call->a[1]);
    if (call->result == ATTACHMENT)
        shmdt((void*)c->result);
    if (call->result == TIMER_MADE)
        syscall(SYS_timer_delete, *(int*)c->area.bytes);
}
