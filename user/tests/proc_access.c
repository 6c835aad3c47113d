// Who may look at whom through /proc: by the ids of the looker, by dumpable, and for the program
// and the process that were there when the file was opened.
#include "../lib/proc.h"
#include "../lib/rights.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { ANN = 54321, BOB = 54322 };

static const char* const of_memory[] = {"maps", "smaps", "smaps_rollup", "environ"};
static const char* const open_to_all[] = {"stat", "statm", "status", "cmdline", "comm", "limits"};
enum {
    PRIVATE = sizeof of_memory / sizeof *of_memory,
    PUBLIC = sizeof open_to_all / sizeof *open_to_all
};

static struct gate ready, go;

// A process of `uid` that waits for `go`.
static pid_t waiting(uid_t uid, int dumpable) {
    ready = gate_make();
    go = gate_make();
    pid_t pid = fork();
    need(pid >= 0);
    if (pid == 0) {
        if (uid != 0)
            become(uid);
        need(prctl(PR_SET_DUMPABLE, dumpable) == 0);
        gate_open(&ready);
        gate_pass(&go);
        _exit(0);
    }
    gate_pass(&ready);
    return pid;
}

static void end(pid_t pid) {
    gate_open(&go);
    need(exited_with(reap(pid), 0));
}

static int open_of(pid_t pid, const char* name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return open(path, O_RDONLY);
}

static bool reads(pid_t pid, const char* name) {
    char byte;
    int fd = open_of(pid, name);
    bool done = fd >= 0 && read(fd, &byte, 1) == 1;
    close(fd);
    return done;
}

static bool leads(pid_t pid, const char* name) {
    char path[64], text[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return readlink(path, text, sizeof text) > 0;
}

// What a process of user ANN finds of `pid`: a bit for each private thing that it gets, and 64 if a
// public one is refused.
static void look(void* pid_) {
    pid_t pid = *(pid_t*)pid_;
    become(ANN);
    int found = 0;
    for (int i = 0; i < PRIVATE; i++)
        found |= reads(pid, of_memory[i]) << i;
    found |= (leads(pid, "exe") && leads(pid, "cwd")) << 4;
    size_t size;
    void* head;
    found |= (syscall(SYS_get_robust_list, pid, &head, &size) == 0) << 5;
    for (int i = 0; i < PUBLIC; i++)
        if (!reads(pid, open_to_all[i]))
            found |= 64;
    _exit(found);
}
enum { EVERYTHING = 63, NOTHING = 0 };

static void by_ids(void) {
    pid_t pid = waiting(ANN, 1);
    is_exit(status_of(look, &pid), EVERYTHING, "one's own");
    end(pid);
    pid = waiting(BOB, 1);
    is_exit(status_of(look, &pid), NOTHING, "another user's");
    end(pid);
    pid = waiting(0, 1);
    is_exit(status_of(look, &pid), NOTHING, "root's");
    end(pid);
    pid = waiting(ANN, 0);
    is_exit(status_of(look, &pid), NOTHING, "one's own that is not dumpable");
    ok(reads(pid, "maps") && reads(pid, "environ") && leads(pid, "exe"), "root may");
    end(pid);
}

static uid_t owner(pid_t pid, const char* name) {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    need(stat(path, &st) == 0);
    return st.st_uid;
}

static void owners(void) {
    pid_t pid = waiting(ANN, 1);
    ok(owner(pid, "maps") == ANN && owner(pid, "") == ANN, "files belong to the user");
    end(pid);
    pid = waiting(ANN, 0);
    is(owner(pid, "maps"), 0, "those of one that is not dumpable to root");
    is(owner(pid, ""), ANN, "its directory to the user");
    is(owner(pid, "fd"), 0, "that of its descriptors to root");
    end(pid);
}

static void looks_at_itself(void* unused) {
    (void)unused;
    become(ANN);
    need(prctl(PR_SET_DUMPABLE, 0) == 0);
    need(reads(getpid(), "maps") && leads(getpid(), "exe"));
    need(open("/proc/self/fd/1", O_PATH) >= 0);
    DIR* dir = opendir("/proc/self/fd");
    need(dir != NULL && readdir(dir) != NULL && readdir(dir) != NULL && readdir(dir) != NULL);
    int fd = open("/proc/self/environ", O_RDONLY); // by the permission bits, which are root's
    need(fd < 0 && errno == EACCES);
}

static void itself(void) {
    is_exit(status_of(looks_at_itself, NULL), 0, "a process that is not dumpable sees itself");
}

// Opened while the process was one's own, read after it has run a set-uid program.
static void after_exec(void* program) {
    become(ANN);
    need(prctl(PR_SET_DUMPABLE, 1) == 0);
    struct gate started = gate_make(), begin = gate_make(), finish = gate_make();
    pid_t pid = fork();
    if (pid == 0) {
        char out[16], in[16];
        snprintf(out, sizeof out, "%d", started.fd[1]);
        snprintf(in, sizeof in, "%d", finish.fd[0]);
        gate_pass(&begin);
        execl(program, program, out, in, NULL);
        _exit(99);
    }
    int fd[PRIVATE], fds = open_of(pid, "fd");
    char text[256];
    for (int i = 0; i < PRIVATE; i++)
        need((fd[i] = open_of(pid, of_memory[i])) >= 0);
    need(fds >= 0 && openat(fds, "1", O_PATH) >= 0);
    need(pread(fd[0], text, sizeof text, 0) > 0);
    gate_open(&begin);
    gate_pass(&started);
    int found = 0;
    for (int i = 0; i < PRIVATE; i++)
        found |= (pread(fd[i], text, sizeof text, 0) > 0) << i;
    found |= (openat(fds, "1", O_PATH) >= 0) << 4;
    gate_open(&finish);
    need(exited_with(reap(pid), 0));
    _exit(found);
}

static const char* self;

static void copy_self(const char* to, mode_t mode) {
    int in = open(self, O_RDONLY), out = open(to, O_CREAT | O_WRONLY | O_EXCL, 0700);
    char block[16384];
    need(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
        need(write(out, block, (size_t)n) == n);
    need(fchmod(out, mode) == 0);
    need(close(in) == 0 && close(out) == 0);
}

static void held_over_exec(void) {
    copy_self("setuid", 04755);
    is_exit(status_of(after_exec, "./setuid"), 0, "nothing of a set-uid program");
}

static void held_over_the_end(void) {
    pid_t pid = waiting(ANN, 1);
    int fd = open_of(pid, "maps"), status = open_of(pid, "status"), dir = open_of(pid, ".");
    char text[64];
    need(fd >= 0 && status >= 0 && dir >= 0);
    end(pid);
    ok(pread(fd, text, sizeof text, 0) <= 0, "maps of a process that is gone");
    ok(pread(status, text, sizeof text, 0) <= 0, "status");
    ok(openat(dir, "maps", O_RDONLY) < 0, "its directory");
}

// What root has opened to be written to, of /proc/sys: all that can be.
static int open_settings(const char* folder, int fds[], int most) {
    int found = 0;
    DIR* dir = opendir(folder);
    need(dir != NULL);
    for (struct dirent* entry; (entry = readdir(dir)) != NULL && found < most;) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && (fds[found] = open(path, O_WRONLY | O_CLOEXEC)) >= 0)
            found++;
    }
    closedir(dir);
    return found;
}

static void settings(void) {
    enum { MOST = 100 };
    static const char* const folders[] = {"fs", "kernel", "vm"};
    int fds[MOST], found = 0;
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/sys/%s", folders[i]);
        found += open_settings(path, fds + found, MOST - found);
    }
    ok(found > 15, "root may change %d settings", found);
    become(ANN);
    int refused = 0;
    for (int i = 0; i < found; i++)
        refused += write(fds[i], "1", 1) < 0 && errno == EPERM;
    is(refused, found,
       "of an ordinary user's words none is taken, though root had opened the file");
}

// Where in memory a page is, in the lines of the page table.
static int places_shown(void) {
    int shown = 0;
    for (const char* at = get_file("/proc/self/vmspace"); (at = strstr(at, "->")) != NULL; at += 2)
        shown += strtoul(at + 2, NULL, 16) != 0;
    return shown;
}

static void places_in_memory(void) {
    ok(places_shown() > 0, "root is told where in memory pages are");
    become(ANN);
    need(prctl(PR_SET_DUMPABLE, 1) == 0);
    ok(strstr(get_file("/proc/self/vmspace"), "->") != NULL,
       "an ordinary user sees its page table");
    is(places_shown(), 0, "and not where they are");
}

int main(int argc, char** argv) {
    if (argc == 3) { // the set-uid program
        char byte;
        return write(atoi(argv[1]), "", 1) != 1 || read(atoi(argv[2]), &byte, 1) != 1;
    }
    self = strdup(self_path(argv[0]));
    if (geteuid() != 0 || !may(CAP_SYS_PTRACE)) {
        skip("for root alone, who can be several users and may look at all");
        return done();
    }
    scratch_begin();
    subtest("by ids and dumpable", by_ids);
    subtest("owners", owners);
    subtest("itself", itself);
    subtest("held over an exec", held_over_exec);
    subtest("held over the end", held_over_the_end);
    if (on_spork()) {
        subtest("settings", settings);
        subtest("places in memory", places_in_memory);
    }
    return done();
}
