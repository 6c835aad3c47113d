// popen on afork: the caller goes on at once, without waiting for the exec as popen on vfork does
// (vfork_fifo_deadlock shows what that is good for). What becomes of the child arrives through the
// pipe: what it prints and, as an end of file, that it could not be executed, too.
#include "../lib/afork.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static void run(const char* path, char* const argv[]) {
    struct afork_popen* p = afork_popen(path, argv, "r");
    if (p == NULL) {
        perror("afork_popen");
        return;
    }
    char line[128];
    printf("%s is on its way\n", path);
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
