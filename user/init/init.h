// What the parts of init share.
#ifndef SPORK_USER_INIT_INIT_H
#define SPORK_USER_INIT_INIT_H

#include <stdbool.h>
#include <sys/types.h>

// The one thing that this machine is to run.
struct job {
    bool on_console;     // on the console's terminal; else with pipes to the host channel
    unsigned short rows; // of the console, 0 when unknown
    unsigned short columns;
    const char* directory;
    char** arguments;   // null-terminated, at least one
    char** environment; // null-terminated
};

// job.c: reads the job that tools/spork left in `path`. False when there is none.
bool read_job(const char* path, struct job* job);

// job.c: a login shell on the console.
void login_shell(struct job* job);

// agent.c: runs `job` to its end, serving the host channel if there is one, and reaps orphans.
void supervise(const struct job* job);

// init.c: forks the process that runs `job`, on the console or on `streams`. -1 and errno.
// `*failed` has a byte when its exec has failed, else end of file once it has succeeded.
pid_t start(const struct job* job, const int streams[3], int* failed);

// init.c: prints `what` and errno's meaning on the console.
void complain(const char* what);

#endif
