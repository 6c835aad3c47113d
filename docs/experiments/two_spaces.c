// Lays a parent and its copy-on-write child open, before and after one write:
//     musl-gcc -static -o /tmp/two_spaces docs/experiments/two_spaces.c
//     tools/spork run --add /tmp/two_spaces -- /two_spaces
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

// What /proc/PID/vmspace says of the mapping at 0x10000000.
static void show(const char* title, pid_t pid) {
    char command[200];
    printf("== %s\n", title);
    fflush(stdout);
    snprintf(command, sizeof command,
             "grep -A9 ^000010000000- /proc/%d/vmspace | awk 'NF == 0 { exit } { print }'", pid);
    if (system(command) != 0)
        exit(1);
}

int main(void) {
    char* area = mmap((void*)0x10000000, 4 * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    int go[2], ready[2];
    char c;
    if (area == MAP_FAILED || pipe(go) != 0 || pipe(ready) != 0)
        return 1;
    memset(area, 'p', 4 * PAGE);
    show("parent, before fork", getpid());
    pid_t child = fork();
    if (child == 0) {
        if (read(go[0], &c, 1) == 1)
            area[PAGE] = 'c';
        if (write(ready[1], "r", 1) == 1 && read(go[0], &c, 1) == 1)
            _exit(0);
        _exit(1);
    }
    show("parent, after fork", getpid());
    show("child, after fork", child);
    if (write(go[1], "g", 1) != 1 || read(ready[0], &c, 1) != 1)
        return 1;
    show("parent, after the child's write", getpid());
    show("child, after its write", child);
    return write(go[1], "g", 1) == 1 && waitpid(child, NULL, 0) == child ? 0 : 1;
}
