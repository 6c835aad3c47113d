// vfork_exec share|bsd [PAGES]: vfork, and exec in the child; share: in the parent's address space,
// as 3.0BSD and NetBSD do; bsd: in a copy-on-write one, as 4.4BSD did. Then the parent writes to
// its pages.
#include "explore.h"

int main(int count, char** arguments) {
    int bsd = count > 1 && !strcmp(arguments[1], "bsd");
    size_t pages = count > 2 ? (size_t)atol(arguments[2]) : 8;
    volatile char* buffer = touched_pages(pages);
    spork_forkmode(MODE_UNCHANGED, bsd ? VFORK_COW : VFORK_SHARE);
    record_begin();

    mark_phase("#create");
    pid_t child = vfork();
    if (child == 0) {
        mark_phase("#exec");
        execute_done();
    }
    mark("parent: vfork has returned");
    int status = wait_for(child);
    mark_phase("#parent writes");
    for (size_t i = 0; i < 4; i++)
        buffer[i * PAGE] = 'p';
    record_end();
    return status;
}
