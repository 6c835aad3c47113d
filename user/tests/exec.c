// execve: what the new program is given, what it keeps, and what a file must be to be run.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/utsname.h>

static const char* self;
extern char** environ;
static void* volatile nowhere = (void*)8; // the compiler has no opinion about it

// What the new program does when this file is run again by the tests: main goes here.
static int run_again(int argc, char** argv) {
    const char* what = argv[1];
    if (strcmp(what, "exit") == 0)
        return atoi(argv[2]);
    if (strcmp(what, "is-closed") == 0) {
        errno = 0;
        return fcntl(atoi(argv[2]), F_GETFD) == -1 && errno == EBADF ? 0 : 1;
    }
    if (strcmp(what, "show") == 0) { // the arguments and the environment, a line each
        printf("argc=%d\n", argc);
        for (int i = 0; i < argc; i++)
            printf("[%s]\n", argv[i]);
        for (char** e = environ; *e != NULL; e++)
            printf("env %s\n", *e);
        fflush(stdout);
        return argv[argc] == NULL ? 0 : 1;
    }
    if (strcmp(what, "hold") == 0) { // until standard input ends
        char byte;
        while (read(STDIN_FILENO, &byte, 1) > 0)
            continue;
        return 0;
    }
    return 2;
}

// Runs path with argv and envp; its output in a buffer that the next call reuses.
static const char* output_of(const char* path, char* const argv[], char* const envp[],
                             int* status) {
    static char text[16384];
    int out[2];
    need(pipe(out) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execve(path, argv, envp);
        _exit(110 + (errno == ENOEXEC));
    }
    close(out[1]);
    size_t used = 0;
    for (ssize_t n; (n = read(out[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = 0;
    close(out[0]);
    *status = reap(child);
    return text;
}

static void arguments(void) {
    int status;
    char* argv[] = {"any name", "show", "", "two words", "\xff", NULL};
    char* envp[] = {"A=1", "no equals sign", NULL};
    is_str(output_of(self, argv, envp, &status),
           "argc=5\n[any name]\n[show]\n[]\n[two words]\n[\xff]\nenv A=1\nenv no equals sign\n",
           "arguments and environment arrive as they were given");
    is_exit(status, 0, "and the program ends well");
    char* none[] = {NULL};
    output_of(self, argv, none, &status);
    is_exit(status, 0, "an empty environment will do");
}

static int exec_errno(const char* path, char* const argv[], char* const envp[]) {
    errno = 0;
    execve(path, argv, envp);
    return errno;
}

static void sizes(void) {
    const size_t big = 100000; // less than 128 KiB, the most one string may have
    char* string = malloc(200000);
    need(string != NULL);
    memset(string, 'x', 200000);
    string[big] = 0;
    char *argv[] = {"x", "exit", "7", string, string, NULL}, *none[] = {NULL};
    int status;
    output_of(self, argv, none, &status);
    is_exit(status, 7, "two arguments of 100,000 bytes");

    string[big] = 'x';
    string[199999] = 0;
    is(exec_errno(self, argv, none), E2BIG, "one argument of more than 128 KiB is E2BIG");
    string[big] = 0;
    static char* many[200];
    for (int i = 0; i < 199; i++)
        many[i] = string;
    is(exec_errno(self, many, none), E2BIG, "arguments of 20 MB together are E2BIG");
    is(exec_errno(self, argv, many), E2BIG, "and so is such an environment");
    free(string);
}

static void errnos(void) {
    char* argv[] = {"x", "exit", "0", NULL};
    char long_name[5000];
    memset(long_name, 'n', sizeof long_name);
    long_name[300] = 0;
    put_file("empty", 0755, "");
    put_file("text", 0755, "this is no program\n");
    put_file("elf-start", 0755, "\177ELF\2\1\1");
    put_file("no-x", 0644, "#!/bin/sh\n");
    put_file("bad-interpreter", 0755, "#!/no/such/interpreter\n");
    put_file("no-interpreter", 0755, "#! \n");
    need(mkdir("folder", 0755) == 0);
    need(symlink("loop", "loop") == 0);
    need(symlink("gone", "dangling") == 0);
    const struct {
        const char* path;
        int want;
    } cases[] = {
        {"no-such-file", ENOENT},
        {"", ENOENT},
        {"dangling", ENOENT},
        {"empty", ENOEXEC},
        {"text", ENOEXEC},
        {"elf-start", ENOEXEC},
        {"no-x", EACCES},
        {"folder", EACCES},
        {"text/below", ENOTDIR},
        {"loop", ELOOP},
        {"loop/below", ELOOP},
        {"bad-interpreter", ENOENT},
        {"no-interpreter", ENOEXEC},
        {long_name, ENAMETOOLONG},
        {"/dev/null", EACCES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        is(exec_errno(cases[i].path, argv, environ), cases[i].want, "exec of \"%.20s\"",
           cases[i].path);
    is(exec_errno(nowhere, argv, environ), EFAULT, "a path that is not there");
    is(exec_errno(self, nowhere, environ), EFAULT, "arguments that are not there");
    is(exec_errno(self, (char*[]){"x", nowhere, NULL}, environ), EFAULT,
       "an argument that is not there");
    is(exec_errno(self, argv, nowhere), EFAULT, "an environment that is not there");
}

static void scripts(void) {
    char text[PATH_MAX + 64];
    int status;
    char *envp[] = {NULL}, *argv[] = {"zeroth", "first", "second one", NULL};
    // The interpreter is this program, by a name without blanks; it gets: name, one argument with
    // all the words of the line, the script's path, the arguments after the zeroth.
    need(symlink(self, "interp") == 0);
    snprintf(text, sizeof text, "#!%s/interp show \nrest is not read", scratch_path);
    put_file("script", 0755, text);
    snprintf(text, sizeof text, "argc=5\n[%s/interp]\n[show]\n[./script]\n[first]\n[second one]\n",
             scratch_path);
    is_str(output_of("./script", argv, envp, &status), text, "a script with an argument");
    is_exit(status, 0, "ends well");

    snprintf(text, sizeof text, "#! \t%s/interp  show  a  b\t\n", scratch_path);
    put_file("script", 0755, text);
    output_of("./script", argv, envp, &status);
    is_exit(status, 2, "all words after the interpreter are one argument, blanks and all");

    put_file("sh", 0755, "#!/bin/sh\necho $# \"$1\" ${0##*/}\nexit 5\n");
    is_str(output_of("./sh", argv, envp, &status), "2 first sh\n", "a shell script");
    is_exit(status, 5, "with its exit status");

    snprintf(text, sizeof text, "#!%s/sh\n", scratch_path);
    put_file("on-script", 0755, text);
    is_str(output_of("./on-script", argv, envp, &status), "3 ./on-script sh\n",
           "a script may be the interpreter of another");
    snprintf(text, sizeof text, "#!%s/selfish\n", scratch_path);
    put_file("selfish", 0755, text);
    is(exec_errno("selfish", argv, envp), ELOOP, "a script that is its own interpreter is ELOOP");
}

static void close_on_exec(void) {
    char number[16];
    char* argv[] = {"x", "is-closed", number, NULL};
    int ends[2], status, kept = dup(STDIN_FILENO);
    need(kept >= 0 && pipe2(ends, O_CLOEXEC) == 0);
    snprintf(number, sizeof number, "%d", ends[0]);
    output_of(self, argv, environ, &status);
    is_exit(status, 0, "a descriptor opened with O_CLOEXEC is closed by exec");
    snprintf(number, sizeof number, "%d", kept);
    output_of(self, argv, environ, &status);
    is_exit(status, 1, "one without stays open");
    need(fcntl(kept, F_SETFD, FD_CLOEXEC) == 0);
    output_of(self, argv, environ, &status);
    is_exit(status, 0, "FD_CLOEXEC set later closes it");

    need(fcntl(ends[1], F_SETFD, 0) == 0 && dup2(ends[1], 60) == 60);
    need(fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0);
    strcpy(number, "60");
    output_of(self, argv, environ, &status);
    is_exit(status, 1, "the flag belongs to the descriptor, not to what it refers to");
    close(60);
}

// A vfork parent goes on after its child's exec: the child's close-on-exec descriptors, among them
// a pipe's only other writer, are closed. Linux may wake the parent just before it closes them;
// Spork closes them first.
static void closed_for_vfork_parent(void) {
    struct utsname system;
    need(uname(&system) == 0);
    // Spork calls itself Linux too, but says which kernel it is in its release.
    const int flags = strstr(system.release, "spork") ? O_NONBLOCK : 0;
    static volatile int in_fd;
    static int wrong, round;
    for (round = 0; round < 20; round++) {
        int data[2], keep[2];
        need(pipe2(data, O_CLOEXEC) == 0 && pipe2(keep, O_CLOEXEC) == 0);
        in_fd = keep[0];
        pid_t child = vfork();
        if (child == 0) {
            dup2(in_fd, STDIN_FILENO);
            execl(self, "x", "hold", NULL);
            _exit(111);
        }
        need(child > 0);
        close(data[1]);
        need(fcntl(data[0], F_SETFL, flags) == 0);
        char byte;
        wrong += read(data[0], &byte, 1) != 0;
        close(keep[1]);
        need(exited_with(reap(child), 0));
        close(keep[0]);
        close(data[0]);
    }
    is(wrong, 0, "the parent reads the end of the pipe while the child's program runs");
}

int main(int argc, char** argv) {
    if (argc > 1)
        return run_again(argc, argv);
    self = self_path(argv[0]);
    scratch_begin();
    subtest("arguments and environment", arguments);
    subtest("how much of them", sizes);
    subtest("files that cannot be run", errnos);
    subtest("scripts", scripts);
    subtest("close-on-exec", close_on_exec);
    subtest("close-on-exec and vfork", closed_for_vfork_parent);
    return done();
}
