// map_shared: the exceptions to copy-on-write.
//
// Fork gives the child a copy of each mapping, unless the mapping's inheritance says otherwise:
// what is mapped MAP_SHARED is the same memory in both; and minherit(2), or on Linux madvise with
// its fork advice, marks private memory as shared with the children to come, as not there for them,
// or as empty for them.
#include "../lib/spork.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096 };

static void show(const char* what, volatile char* memory) {
    memory[0] = 'p';
    pid_t child = fork();
    if (child == 0) {
        char seen = memory[0];
        memory[0] = 'c';
        _exit(seen);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("%-26s ", what);
    if (WIFSIGNALED(status))
        printf("the child has nothing there (%s)", strsignal(WTERMSIG(status)));
    else
        printf("the child finds %s", WEXITSTATUS(status) == 'p' ? "the parent's store" : "zeros");
    printf("; the parent finds %s\n", memory[0] == 'c' ? "the child's store" : "its own");
    munmap((void*)memory, PAGE);
}

static char* map(int sharing) {
    return mmap(NULL, PAGE, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    show("MAP_PRIVATE:", map(MAP_PRIVATE));
    show("MAP_SHARED:", map(MAP_SHARED));
    char* memory = map(MAP_PRIVATE);
    madvise(memory, PAGE, MADV_DONTFORK);
    show("MADV_DONTFORK:", memory);
    memory = map(MAP_PRIVATE);
    madvise(memory, PAGE, MADV_WIPEONFORK);
    show("MADV_WIPEONFORK:", memory);
    static const struct {
        const char* name;
        int inherit;
    } kinds[] = {{"minherit, copy:", INHERIT_COPY},
                 {"minherit, share:", INHERIT_SHARE},
                 {"minherit, none:", INHERIT_NONE},
                 {"minherit, zero:", INHERIT_ZERO}};
    for (int i = 0; i < 4 && on_spork(); i++) {
        memory = map(MAP_PRIVATE);
        spork_minherit(memory, PAGE, kinds[i].inherit);
        show(kinds[i].name, memory);
    }
    return 0;
}
