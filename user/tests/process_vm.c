// process_vm_readv and process_vm_writev: another process's memory, in pieces, as far as it goes.
#include "../lib/proc.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

static char*
    area; // four pages: a letter each; the third read-only, the fourth unmapped in the child

static pid_t child;
static struct gate go;

// A child that has `area` and waits; with `check` it then looks whether its second page has
// changed.
static void start_child(void) {
    area = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);
    need(area != MAP_FAILED);
    for (int i = 0; i < 4; i++)
        memset(area + i * PAGE, 'a' + i, PAGE);
    go = gate_make();
    struct gate ready = gate_make();
    child = fork();
    need(child >= 0);
    if (child == 0) {
        need(mprotect(area + 2 * PAGE, PAGE, PROT_READ) == 0);
        need(munmap(area + 3 * PAGE, PAGE) == 0);
        area[0] = 'C';
        gate_open(&ready);
        gate_pass(&go);
        _exit(area[PAGE]);
    }
    gate_pass(&ready);
}

static void end_child(int byte, const char* what) {
    gate_open(&go);
    is_exit(reap(child), byte, "%s", what);
}

static void reading(void) {
    start_child();
    char here[3 * PAGE] = "";
    struct iovec local[] = {{here, 3}, {here + 100, PAGE}};
    struct iovec remote[] = {{area, 1}, {area + PAGE - 1, 3}, {area + 2 * PAGE, 10}};
    is(process_vm_readv(child, local, 2, remote, 3, 0), 14, "reading three pieces into two");
    here[3] = 0;
    is_str(here, "Cab", "the first");
    ok(memcmp(here + 100, "bcccccccccc", 11) == 0, "the second");
    is(area[0], 'a', "it was the child's memory");
    local[0] = (struct iovec){here, sizeof here};
    remote[0] = (struct iovec){area + 2 * PAGE, 2 * PAGE};
    is(process_vm_readv(child, local, 1, remote, 1, 0), PAGE, "up to where nothing is mapped");
    remote[0] = (struct iovec){area + 3 * PAGE, PAGE};
    is_errno(process_vm_readv(child, local, 1, remote, 1, 0), EFAULT, "nothing is mapped at all");
    remote[0] = (struct iovec){area, PAGE};
    is(process_vm_readv(child, local, 0, remote, 1, 0), 0, "into nothing");
    is(process_vm_readv(child, local, 1, remote, 0, 0), 0, "from nothing");
    local[0] = (struct iovec){(void*)16, 8};
    is_errno(process_vm_readv(child, local, 1, remote, 1, 0), EFAULT, "to a bad address");
    end_child('b', "the child did not notice");
}

static void writing(void) {
    start_child();
    char here[] = "xyz";
    struct iovec local[] = {{here, 3}}, remote[] = {{area + PAGE, 3}};
    is(process_vm_writev(child, local, 1, remote, 1, 0), 3, "writing");
    is(area[PAGE], 'b', "the parent's copy stays");
    remote[0].iov_base = area + 2 * PAGE;
    is_errno(process_vm_writev(child, local, 1, remote, 1, 0), EFAULT, "a page that is read-only");
    remote[0].iov_base = area + 2 * PAGE - 2;
    is(process_vm_writev(child, local, 1, remote, 1, 0), 2, "up to it");
    end_child('x', "the child found it");
}

static void errors(void) {
    start_child();
    char here[8];
    struct iovec local[] = {{here, 8}}, remote[] = {{area, 8}};
    is_errno(process_vm_readv(child, local, 1, remote, 1, 1), EINVAL, "a flag");
    is_errno(process_vm_readv(child, local, 1025, remote, 1, 0), EINVAL, "too many pieces");
    is_errno(process_vm_readv(child, local, 1, remote, 1025, 0), EINVAL, "of the other's");
    is_errno(process_vm_readv(child, (void*)8, 1, remote, 1, 0), EFAULT, "a bad list");
    is_errno(process_vm_readv(child, local, 1, (void*)8, 1, 0), EFAULT, "of the other's");
    is_errno(process_vm_readv(1 << 30, local, 1, remote, 1, 0), ESRCH, "no such process");
    is(process_vm_readv(getpid(), local, 1, remote, 1, 0), 8, "one's own memory");
    ok(here[0] == 'a', "is read");
    remote[0].iov_base = (void*)-PAGE;
    is_errno(process_vm_readv(child, local, 1, remote, 1, 0), EFAULT, "the kernel's");
    end_child('b', "all of it without the child");
}

// One who is not root may not read what runs as root.
static void of_another_user(void) {
    if (geteuid() != 0) {
        skip("needs root");
        return;
    }
    start_child();
    drop_root();
    char here[8];
    struct iovec local[] = {{here, 8}}, remote[] = {{area, 8}};
    is_errno(process_vm_readv(child, local, 1, remote, 1, 0), EPERM, "root's memory");
    gate_open(&go);
    reap(child);
}

static void undumpable(void* gates) {
    need(prctl(PR_SET_DUMPABLE, 0) == 0);
    gate_open((struct gate*)gates);
    gate_pass((struct gate*)gates + 1);
}

static void of_one_that_is_closed(void) {
    drop_root();
    need(prctl(PR_SET_DUMPABLE, 1) == 0); // another user is not, at first
    area = mmap(NULL, PAGE, RW, ANON, -1, 0);
    need(area != MAP_FAILED);
    start_child();
    char here[8];
    struct iovec local[] = {{here, 8}}, remote[] = {{area, 8}};
    is(process_vm_readv(child, local, 1, remote, 1, 0), 8, "one's own user's memory");
    end_child('b', "unharmed");
    struct gate gates[2] = {gate_make(), gate_make()};
    child = spawn(undumpable, gates);
    gate_pass(&gates[0]);
    is_errno(process_vm_readv(child, local, 1, remote, 1, 0), EPERM, "not if it is not dumpable");
    is_errno(process_vm_writev(child, local, 1, remote, 1, 0), EPERM, "nor to be written");
    gate_open(&gates[1]);
    reap(child);
}

int main(void) {
    subtest("reading", reading);
    subtest("writing", writing);
    subtest("errors", errors);
    subtest("permission", of_another_user);
    subtest("not dumpable", of_one_that_is_closed);
    return done();
}
