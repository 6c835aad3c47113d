// init, the first process: prepares the file systems, then runs either a login shell on the
// console or the one command that /etc/spork/run describes, and powers the machine off when that
// has ended. In between it reaps every orphan.
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

static const char welcome[] =
    "\nWelcome to Spork. This is busybox's shell; `exit` or Ctrl-D powers the machine off.\n"
    "Demonstrations are in /demos, test programs in /tests.\n\n";

void complain(const char* what) {
    char line[256];
    int length = snprintf(line, sizeof line, "init: %s: %s\n", what, strerror(errno));
    if (write(STDERR_FILENO, line, (size_t)length) < 0) {
        // There is nowhere left to say it.
    }
}

static void mount_on(const char* type, const char* where) {
    mkdir(where, 0755);
    if (mount(type, where, type, 0, NULL) < 0 && errno != EBUSY)
        complain(where);
}

// Makes /dev/console descriptors 0, 1 and 2, without it becoming init's controlling terminal.
static void open_console(void) {
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    if (console < 0)
        return;
    for (int fd = 0; fd <= 2; fd++)
        dup2(console, fd);
    if (console > 2)
        close(console);
}

static void set_hostname(void) {
    char name[64];
    int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, name, sizeof name);
    if (fd >= 0)
        close(fd);
    while (length > 0 && name[length - 1] == '\n')
        length--;
    if (length > 0)
        sethostname(name, (size_t)length);
}

// The swap areas of /etc/fstab, if there is one, but for those marked noauto.
static void swap_on(void) {
    FILE* table = setmntent("/etc/fstab", "re");
    if (!table)
        return;
    for (struct mntent* line; (line = getmntent(table));) {
        if (strcmp(line->mnt_type, MNTTYPE_SWAP) != 0 || hasmntopt(line, "noauto"))
            continue;
        const char* priority = hasmntopt(line, "pri");
        const int flags =
            priority && priority[3] == '=' ? SWAP_FLAG_PREFER | atoi(priority + 4) : 0;
        if (swapon(line->mnt_fsname, flags) < 0)
            complain(line->mnt_fsname);
    }
    endmntent(table);
}

// In a child: makes the console the controlling terminal of a session of its own.
static void take_console(const struct job* job) {
    setsid();
    if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        complain("/dev/console");
    if (job->rows > 0) {
        struct winsize size = {.ws_row = job->rows, .ws_col = job->columns};
        ioctl(STDIN_FILENO, TIOCSWINSZ, &size);
    }
}

// Writes a byte into `failed`, which an exec closes, when the command cannot be run.
static _Noreturn void run(const struct job* job, const int streams[3], int failed) {
    signal(SIGPIPE, SIG_DFL);
    if (job->on_console) {
        take_console(job);
    } else {
        setsid();
        for (int fd = 0; fd <= 2; fd++)
            dup2(streams[fd], fd);
    }
    int status = 126;
    if (chdir(job->directory) < 0) {
        complain(job->directory);
    } else {
        environ = job->environment;
        const char* path = getenv("PATH");
        if (!path)
            setenv("PATH", "/sbin:/usr/sbin:/bin:/usr/bin", 1);
        execvp(job->arguments[0], job->arguments);
        if (errno == ENOENT)
            status = 127;
        complain(job->arguments[0]);
    }
    if (write(failed, "", 1) < 0)
        complain("pipe");
    _exit(status);
}

pid_t start(const struct job* job, const int streams[3], int* failed) {
    int failure[2];
    if (pipe2(failure, O_CLOEXEC) < 0)
        return -1;
    pid_t child = fork();
    if (child == 0)
        run(job, streams, failure[1]);
    close(failure[1]);
    *failed = failure[0];
    return child;
}

static _Noreturn void power_off(void) {
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) {
    }
    sync();
    reboot(RB_POWER_OFF);
    complain("power off");
    for (;;)
        pause();
}

int main(void) {
    umask(022);
    mount_on("devtmpfs", "/dev");
    open_console();
    mount_on("proc", "/proc");
    set_hostname();
    swap_on();

    struct job job;
    if (!read_job("/etc/spork/run", &job)) {
        login_shell(&job);
        if (write(STDOUT_FILENO, welcome, sizeof welcome - 1) < 0)
            complain("console");
    }
    supervise(&job);
    power_off();
}
