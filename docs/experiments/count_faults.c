// count_faults PROGRAM ARGUMENT...: the page faults of one run of a program, from its vfork on,
// without and with fault-ahead. Its output is thrown away. tools/fault-ahead runs it.
#define _GNU_SOURCE
#include "../../user/lib/spork.h"

#include <fcntl.h>
#include <sys/wait.h>

static void set_fault_ahead(const char* value) {
    int fd = open("/proc/sys/vm/fault_ahead", O_WRONLY);
    if (fd < 0 || write(fd, value, 1) != 1)
        exit(111);
    close(fd);
}

static long faults_of(char** argv) {
    const long before = uvmexp("faults");
    pid_t pid = vfork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        execv(argv[0], argv);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    if (status != 0) {
        fprintf(stderr, "%s: wait status %#x\n", argv[0], status);
        exit(1);
    }
    return uvmexp("faults") - before;
}

int main(int argc, char** argv) {
    (void)argc;
    faults_of(argv + 1); // what stays touched, is
    set_fault_ahead("0");
    long without = faults_of(argv + 1);
    set_fault_ahead("1");
    long with = faults_of(argv + 1);
    printf("%ld %ld\n", without, with);
    return 0;
}
