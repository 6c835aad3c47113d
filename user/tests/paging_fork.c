// A process that is larger than memory forks, and both sides write: the copy of what says where its pages
// are is larger than what the page daemon keeps free. With a number of MiB, for a machine that has less
// and swap (tests/system/test_paging.py); without, a little, which is the same test without pressure.
#include "../lib/proc.h"

#include <sys/mman.h>

enum { PAGE = 4096 };

static char* memory;
static size_t pages = 64;

static void child_writes(void* unused) {
    (void)unused;
    for (size_t i = 0; i < pages; i += pages / 8)
        memory[i * PAGE] = 2;
    _exit(memory[PAGE] == 1 && memory[0] == 2 ? 3 : 4);
}

int main(int argc, char** argv) {
    if (argc > 1)
        pages = (size_t)atoi(argv[1]) * 256;
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    need(memory != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        memory[i * PAGE] = 1;
    is_exit(status_of(child_writes, NULL), 3, "the child writes to what it has from its parent");
    memory[PAGE] = 5;
    is(memory[0], 1, "which the parent does not see");
    return done();
}
