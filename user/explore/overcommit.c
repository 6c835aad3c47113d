// overcommit: strict accounting (vm.overcommit_memory = 2), and a parent with more than half of
// what the limit leaves. Fork must promise the child as much again, and fails; vfork promises
// nothing.
#include "explore.h"

static long meminfo_pages(const char* name) {
    char line[128];
    long kb = -1;
    FILE* f = fopen("/proc/meminfo", "re");
    while (f != NULL && kb < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name) + 1);
    if (f != NULL)
        fclose(f);
    return kb / 4;
}

static int set_mode(const char* mode) {
    int fd = open("/proc/sys/vm/overcommit_memory", O_WRONLY | O_CLOEXEC);
    int done = fd >= 0 && write(fd, mode, strlen(mode)) == (ssize_t)strlen(mode);
    close(fd);
    return done;
}

int main(void) {
    long room = meminfo_pages("CommitLimit:") - meminfo_pages("Committed_AS:");
    volatile char* big = mmap(NULL, (size_t)(room / 10 * 6) * PAGE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (big == MAP_FAILED || !set_mode("2"))
        return 1;
    big[0] = 1;
    record_begin();

    mark_phase("#fork");
    mark("parent: fork, with 60 per cent of what may be promised");
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int refused = child < 0 && errno == ENOMEM;
    mark(refused ? "parent: fork has failed: ENOMEM, and nothing has changed"
                 : "parent: fork has not failed");
    mark_phase("#vfork");
    mark("parent: vfork; its child is promised nothing");
    child = vfork();
    if (child == 0)
        _exit(0);
    int status = wait_for(child);
    record_end();
    set_mode("0");
    return status != 0 || !refused;
}
