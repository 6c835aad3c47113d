// When the parent goes on: not before its child has let go of the address space, and then at once.
#include "../../lab.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>

static const struct timespec some_time = {0, 50000000};

int main(int argc, char** argv) {
    (void)lab_seed(argc, argv);
    lab_need(argc > 2, "exit, exec or kill?");
    const char how = argv[2][2]; // exIt, exEc, kiLl
    int never[2], status = 0;
    // Shared by any two processes, whatever vfork does.
    volatile int* done =
        mmap(NULL, LAB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    lab_need(done != MAP_FAILED && pipe2(never, O_CLOEXEC) == 0, "pipe");
    pid_t child = vfork();
    lab_need(child >= 0, "vfork");
    if (child == 0) {
        nanosleep(&some_time, NULL);
        *done = 1;
        if (how == 'e') {
            dup2(never[0], 0);
            execl("/bin/cat", "cat", (char*)NULL);
        } else if (how == 'l') {
            kill(getpid(), SIGKILL);
        }
        _exit(0);
    }
    lab_value("waited", (uint64_t)*done);
    if (how == 'e')
        lab_value("alive", waitpid(child, &status, WNOHANG) == 0);
    close(never[1]);
    lab_need(waitpid(child, &status, 0) == child, "wait");
    lab_need(status == (how == 'l' ? SIGKILL : 0), "the child ended in another way");
    return 0;
}
