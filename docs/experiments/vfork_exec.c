// vfork and exec, and nothing else: to be watched with strace.
//
//   musl-gcc -static -o /tmp/vfork_exec docs/experiments/vfork_exec.c
//   tools/spork run -v --smp 1 --append strace --add /tmp/vfork_exec -- /vfork_exec
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", (char*)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return 0;
}
