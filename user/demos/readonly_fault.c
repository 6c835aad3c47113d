// After a fork the parent's and the child's pages are read-only in the page table, and a write is a
// copy that nobody notices. A write to a page that is read-only in earnest is a fault that the
// program gets: SIGSEGV, with the address, and SEGV_ACCERR; SEGV_MAPERR where nothing is mapped.
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static siginfo_t fault;

static void note(int signo, siginfo_t* info, void* context) {
    (void)signo;
    (void)context;
    fault = *info;
    siglongjmp(back, 1);
}

static void write_to(const char* name, volatile char* page) {
    memset(&fault, 0, sizeof fault);
    if (sigsetjmp(back, 1) == 0)
        page[5] = 1;
    if (fault.si_signo == 0)
        printf("%-32s the store is done\n", name);
    else
        printf("%-32s SIGSEGV, %s, at byte %ld of the page\n", name,
               fault.si_code == SEGV_ACCERR ? "SEGV_ACCERR" : "SEGV_MAPERR",
               (long)((char*)fault.si_addr - (char*)page));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[0] = 1;
    const pid_t child = fork(); // now both have it read-only, for copy-on-write
    if (child == 0) {
        write_to("child, after fork:", page);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    write_to("parent, after fork:", page);
    mprotect(page, 4096, PROT_READ);
    write_to("parent, after mprotect:", page);
    munmap(page, 4096);
    write_to("parent, after munmap:", page);
    return 0;
}
