// prefork_server: where fork is right. A server that has prepared a lot of memory makes its workers
// by fork, without exec: each begins with all of it, and copy-on-write has them share what none of
// them changes.
//
// The master builds a table of 4 MiB and forks four workers. They take requests (a number) from one
// pipe, look the answer up in their table, and send it back by another. One worker is killed on the
// way, and the master forks another one in its place. At the end the answers are checked, and the
// pages that had to be copied are held against what the workers' tables would be without sharing.
#include "../lib/spork.h"

#include <signal.h>
#include <sys/wait.h>

enum { WORKERS = 4, REQUESTS = 2000, ENTRIES = 1 << 20, PAGE = 4096 };

struct answer {
    int request, value;
};

static int* table;
static int to_workers[2], to_master[2];

static int value_of(int i) { return (int)((unsigned)i * 2654435761u >> 8); }

static void work(void) {
    int request;
    close(to_workers[1]);
    close(to_master[0]);
    while (read(to_workers[0], &request, sizeof request) == sizeof request) {
        struct answer a = {request, table[request % ENTRIES]};
        write(to_master[1], &a, sizeof a);
    }
    _exit(0);
}

static pid_t new_worker(void) {
    pid_t pid = fork();
    if (pid == 0)
        work();
    return pid;
}

// Sends requests [first, end) and checks their answers; a pipe holds as many.
static int serve(int first, int end) {
    int right = 0;
    for (int i = first; i < end; i++) {
        int request = i * 523;
        write(to_workers[1], &request, sizeof request);
    }
    for (int i = first; i < end; i++) {
        struct answer a = {0, 0};
        if (read(to_master[0], &a, sizeof a) == sizeof a)
            right += a.value == value_of(a.request % ENTRIES);
    }
    return right;
}

int main(void) {
    pid_t worker[WORKERS];
    enum { BATCH = 100 };
    int right = 0;
    table = malloc(ENTRIES * sizeof *table);
    for (int i = 0; i < ENTRIES; i++)
        table[i] = value_of(i);
    pipe(to_workers);
    pipe(to_master);
    long copied = uvmexp("pages_copied");
    for (int i = 0; i < WORKERS; i++)
        worker[i] = new_worker();
    for (int done = 0; done < REQUESTS; done += BATCH) {
        if (done == REQUESTS / 2) { // all requests are answered: none is lost with it
            kill(worker[0], SIGKILL);
            waitpid(worker[0], NULL, 0);
            worker[0] = new_worker();
        }
        right += serve(done, done + BATCH);
    }
    if (copied >= 0)
        copied = uvmexp("pages_copied") - copied;
    close(to_workers[1]); // end of file: the workers leave
    int ended_well = 0;
    for (int i = 0; i < WORKERS; i++) {
        int status = -1;
        waitpid(worker[i], &status, 0);
        ended_well += status == 0;
    }
    printf("%d of %d answers are right; %d of %d workers ended well\n", right, REQUESTS, ended_well,
           WORKERS);
    const long pages = (long)(ENTRIES * sizeof *table / PAGE) * (WORKERS + 1);
    if (copied >= 0)
        printf("the table is %ld pages in all the workers made; fewer than %ld were copied: %s\n",
               pages, pages / 10, copied < pages / 10 ? "yes" : "no");
    return right == REQUESTS && ended_well == WORKERS ? 0 : 1;
}
