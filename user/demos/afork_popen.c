// popen on afork returns before its child has run: the caller goes on and learns through the pipe
// what became of it, that it could not be executed, too. popen on vfork waits for the exec.
#include "../lib/afork.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static void run(const char* path, char* const argv[]) {
    struct afork_popen* p = afork_popen(path, argv, "r");
    if (p == NULL) {
        perror("afork_popen");
        return;
    }
    struct pollfd released = {.fd = p->released, .events = POLLIN};
    const int early = poll(&released, 1, 0) == 0;
    char line[128];
    printf("%s: back %s\n", path,
           early ? "before the child has let go" : "when the child has let go");
    while (fgets(line, sizeof line, p->stream) != NULL)
        printf("    the pipe says: %s", line);
    printf("    the pipe has ended\n");
    const int status = afork_pclose(p);
    if (status < 0)
        printf("    it could not be executed: %s\n", strerror(errno));
    else
        printf("    it exited with %d\n", WEXITSTATUS(status));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    run("/bin/echo", (char*[]){"echo", "hello", NULL});
    run("/bin/false", (char*[]){"false", NULL});
    run("/no/such/program", (char*[]){"program", NULL});
    return 0;
}
