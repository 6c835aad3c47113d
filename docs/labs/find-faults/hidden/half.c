// Forks, and looks at what it wrote.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    volatile char* at =
        mmap(0, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int page = 0; page < 16; page++)
        at[page * 4096] = (char)page;
    pid_t child = fork();
    if (child == 0) {
        munmap((void*)at, 8 * 4096);
        _exit(0);
    }
    waitpid(child, 0, 0);
    for (int page = 0; page < 16; page++)
        if (at[page * 4096] != (char)page)
            return 1;
    return 0;
}
