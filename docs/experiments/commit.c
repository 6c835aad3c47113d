// What the commit account says to fork and to vfork of a process with 80 MiB of private memory.
//
//   musl-gcc -static -o /tmp/commit docs/experiments/commit.c
//   tools/spork run --add /tmp/commit -- sh -c 'echo 2 > /proc/sys/vm/overcommit_memory; /commit'
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    size_t size = 80 << 20;
    void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("mmap of 80 MiB: %s\n", memory == MAP_FAILED ? strerror(errno) : "done");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    printf("fork: %s\n", pid < 0 ? strerror(errno) : "done");
    pid = vfork();
    if (pid == 0)
        _exit(0);
    printf("vfork: %s\n", pid < 0 ? strerror(errno) : "done");
    return 0;
}
