// A test of the kernel: ends with 0 if all is as it must be, and says what is not.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, BOTH = PROT_READ | PROT_WRITE, OWN = MAP_PRIVATE | MAP_ANONYMOUS };

static void need(int holds, const char* what) {
    if (holds)
        return;
    printf("not ok %s\n", what);
    exit(1);
}

static char* map(size_t pages) {
    char* at = mmap(NULL, pages * PAGE, BOTH, OWN, -1, 0);
    need(at != MAP_FAILED, "there is memory to be had");
    return at;
}

static void memory_is_zero_at_first(void) {
    char* at = map(16);
    for (int i = 0; i < 16 * PAGE; i++)
        need(at[i] == 0, "new memory is zero");
    need(munmap(at, 16 * PAGE) == 0, "munmap");
}

int main(void) {
    memory_is_zero_at_first();
    return 0;
}
