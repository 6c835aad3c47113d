// execve of ELF files that are odd or wrong: each gives an errno to a process that is whole, or
// runs. And the other ways of exec failing late: limits, memory, busy files; fexecve and execveat;
// exec from a thread.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <elf.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

extern char** environ;
static bool spork; // Linux finds out about some files too late, and kills the process

// A program of one page of code, one of data and one of zeros, which exits with 42 if they are as
// they should be.
enum { CODE, DATA, SEGMENTS };
enum { CODE_AT = 0x400000, DATA_AT = 0x600000, PAGE = 4096 };

struct image {
    Elf64_Ehdr header;
    Elf64_Phdr segment[SEGMENTS + 2];
    unsigned char code[64];
};

static const unsigned char code[] = {
    0x8b, 0x3c, 0x25, 0x10, 0x00, 0x60, 0x00, // mov 0x600010, %edi: the word in the data
    0x03, 0x3c, 0x25, 0x00, 0x18, 0x60, 0x00, // add 0x601800, %edi: a zero
    0xb8, 0x3c, 0x00, 0x00, 0x00,             // mov $60, %eax
    0x0f, 0x05,                               // syscall
};

static struct image good(void) {
    struct image i;
    memset(&i, 0, sizeof i);
    memcpy(i.header.e_ident, "\177ELF\2\1\1", 7);
    i.header.e_type = ET_EXEC;
    i.header.e_machine = EM_X86_64;
    i.header.e_version = 1;
    i.header.e_entry = CODE_AT + offsetof(struct image, code);
    i.header.e_phoff = offsetof(struct image, segment);
    i.header.e_ehsize = sizeof i.header;
    i.header.e_phentsize = sizeof i.segment[0];
    i.header.e_phnum = SEGMENTS;
    i.segment[CODE] = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_flags = PF_R | PF_X,
                                   .p_vaddr = CODE_AT,
                                   .p_filesz = sizeof i,
                                   .p_memsz = sizeof i,
                                   .p_align = PAGE};
    i.segment[DATA] = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_flags = PF_R | PF_W,
                                   .p_offset = PAGE,
                                   .p_vaddr = DATA_AT,
                                   .p_filesz = 32,
                                   .p_memsz = 2 * PAGE,
                                   .p_align = PAGE};
    memcpy(i.code, code, sizeof code);
    return i;
}

static void put_image(const char* path, const struct image* i) {
    int data[8] = {0, 0, 0, 0, 42};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    need(fd >= 0);
    need(write(fd, i, sizeof *i) == sizeof *i);
    need(pwrite(fd, data, sizeof data, PAGE) == sizeof data);
    need(ftruncate(fd, 2 * PAGE) == 0);
    need(close(fd) == 0);
}

// What comes of running a file: 0 and the exit code, an errno, or the signal as a negative number.
static int outcome(const char* path) {
    int told[2];
    need(pipe2(told, O_CLOEXEC) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        execve(path, (char*[]){"x", NULL}, (char*[]){NULL});
        int error = errno;
        need(write(told[1], &error, sizeof error) == sizeof error);
        _exit(0);
    }
    close(told[1]);
    int error = 0;
    bool failed = read(told[0], &error, sizeof error) == sizeof error;
    close(told[0]);
    int status = reap(child);
    if (failed)
        return WIFEXITED(status) ? error : -1000; // a process that exec failed in is whole
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status) == 42 ? 0 : 1000;
}

enum { DIES = 1 << 20 }; // on Linux it is killed instead: SIGSEGV or SIGKILL

static void is_outcome(struct image i, int want, const char* what) {
    put_image("image", &i);
    int got = outcome("image");
    const bool may_die = want & DIES;
    want &= ~DIES;
    if (may_die && !spork && got < 0)
        got = want;
    is(got, want, "%s", what);
}

static void headers(void) {
    is_outcome(good(), 0, "the program as it should be");
    struct image i = good();
    i.header.e_ident[0] = 0x7e;
    is_outcome(i, ENOEXEC, "another magic number");
    i = good();
    i.header.e_machine = EM_AARCH64;
    is_outcome(i, ENOEXEC, "another machine");
    i = good();
    i.header.e_type = ET_REL;
    is_outcome(i, ENOEXEC, "an object file");
    i = good();
    i.header.e_type = ET_CORE;
    is_outcome(i, ENOEXEC, "a core file");
    i = good();
    i.header.e_phentsize = 32;
    is_outcome(i, ENOEXEC, "program headers of another size");
    i = good();
    i.header.e_phnum = 0;
    is_outcome(i, ENOEXEC, "no program headers");
    i = good();
    i.header.e_phnum = 65535;
    is_outcome(i, ENOEXEC, "more of them than there may be");
    i = good();
    i.header.e_phnum = 1000;
    is_outcome(i, ENOEXEC, "more of them than the file has");
    i = good();
    i.header.e_phoff = 1 << 20;
    is_outcome(i, ENOEXEC, "program headers past the end of the file");
    i = good();
    i.header.e_phoff = -8ull;
    is_outcome(i, ENOEXEC, "at the end of the world");
    i = good();
    i.segment[CODE].p_type = i.segment[DATA].p_type = PT_NOTE;
    is_outcome(i, ENOEXEC | DIES, "nothing to load");
}

static void segments(void) {
    struct image i = good();
    i.segment[DATA].p_filesz = 2 * PAGE + 1;
    is_outcome(i, ENOEXEC | DIES, "more in the file than in memory");
    i = good();
    i.segment[DATA].p_offset = PAGE + 8;
    is_outcome(i, ENOEXEC | DIES, "a place in the file that is not one of a page");
    i = good();
    i.segment[DATA].p_memsz = 1ull << 48;
    is_outcome(i, ENOEXEC | DIES, "more memory than there are addresses");
    i = good();
    i.segment[DATA].p_memsz = -PAGE;
    is_outcome(i, ENOEXEC | DIES, "so much that it wraps around");
    i = good();
    i.segment[DATA].p_vaddr = 0xffff800000000000ull;
    is_outcome(i, ENOEXEC | DIES, "an address of the kernel's");
    i = good();
    i.segment[DATA].p_vaddr = 1ull << 47;
    is_outcome(i, ENOEXEC | DIES, "the first address that is not a program's");
    i = good();
    i.segment[DATA].p_offset = 1ull << 62;
    is_outcome(i, ENOEXEC | DIES, "a place in the file that no file has");
    i = good();
    i.segment[DATA].p_memsz = 1ull << 46;
    is_outcome(i, ENOMEM | DIES, "so much memory that there is no room for the stack");
    i = good();
    i.segment[CODE].p_align = 3;
    is_outcome(i, 0, "an alignment that is no power of two");
    i = good();
    i.segment[DATA].p_align = 1ull << 40;
    is_outcome(i, 0, "a huge alignment");
    i = good();
    i.segment[DATA].p_align = 0;
    is_outcome(i, 0, "no alignment");
}

static void overlaps(void) {
    struct image i = good();
    // The same data once more, over the first: the later one is what counts.
    i.header.e_phnum = SEGMENTS + 1;
    i.segment[SEGMENTS] = i.segment[DATA];
    is_outcome(i, 0, "two segments at one place");
    i = good();
    i.segment[SEGMENTS] = i.segment[DATA];
    i.segment[SEGMENTS].p_offset = 0; // other data
    i.header.e_phnum = SEGMENTS + 1;
    put_image("image", &i);
    is(outcome("image"), 1000, "the later one is what the program finds");
    i = good();
    i.segment[SEGMENTS] = i.segment[CODE];
    i.segment[CODE] = i.segment[DATA];
    i.segment[DATA] = i.segment[SEGMENTS];
    is_outcome(i, 0, "segments that are not in order");
    i = good();
    i.header.e_phnum = SEGMENTS + 1;
    i.segment[SEGMENTS] = (Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = 0x700000, .p_flags = PF_R};
    is_outcome(i, 0, "an empty segment");
}

static void interpreters(void) {
    const struct {
        const char* name;
        size_t size; // of it, with its NUL
        int want;
        const char* what;
    } cases[] = {
        {"/no/such/loader", 16, ENOENT, "an interpreter that is not there"},
        {"/", 2, EACCES, "a folder"},
        {"/etc/passwd", 12, EACCES, "a file that cannot be run"},
        {"/etc/passwd", 11, ENOEXEC, "a name without an end"},
        {"", 1, ENOEXEC, "no name"},
        {"/", 5000, ENOEXEC, "a name that is too long"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct image i = good();
        i.header.e_phnum = SEGMENTS + 1;
        i.segment[SEGMENTS] = (Elf64_Phdr){.p_type = PT_INTERP,
                                           .p_offset = offsetof(struct image, code) + 32,
                                           .p_filesz = cases[n].size,
                                           .p_memsz = cases[n].size};
        memcpy(i.code + 32, cases[n].name, strlen(cases[n].name));
        is_outcome(i, cases[n].want, cases[n].what);
    }
    struct image i = good();
    i.header.e_phnum = SEGMENTS + 1;
    i.segment[SEGMENTS] = (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 1 << 20, .p_filesz = 16};
    put_image("image", &i);
    int got = outcome("image"); // Linux: EIO
    ok(got == ENOEXEC || got == EIO, "a name past the end of the file");
}

// Every bit of the headers, turned over: whatever comes of it, it is one of the three.
static void every_bit(void) {
    int runs = 0, errnos = 0, dies = 0;
    const size_t bits = offsetof(struct image, segment[SEGMENTS]) * 8;
    for (size_t bit = 0; bit < bits; bit++) {
        struct image i = good();
        ((unsigned char*)&i)[bit / 8] ^= (unsigned char)(1 << bit % 8);
        put_image("image", &i);
        int got = outcome("image");
        need(got != -1000);
        *(got == 0 || got == 1000 ? &runs : got > 0 ? &errnos : &dies) += 1;
    }
    ok(runs + errnos + dies == (int)bits, "%zu files: %d run, %d are an errno, %d die", bits, runs,
       errnos, dies);
}

// ---- Limits and memory -----------------------------------------------------------------------

static void limited(void* arg) {
    struct rlimit limit = {4096 * 20, 4096 * 20};
    need(setrlimit(RLIMIT_AS, &limit) == 0);
    execl("/proc/self/exe", "x", "exit", NULL);
    int error = errno;
    _exit(error == ENOMEM || error == E2BIG || error == EFAULT ? 0 : 1);
    (void)arg;
}

static void memory(void) {
    int status = status_of(limited, NULL);
    ok(exited_with(status, 0) || (!spork && WIFSIGNALED(status)),
       "no address space for the new program: an errno");
    struct image i = good();
    i.segment[DATA].p_memsz = 1ull << 40; // a terabyte
    put_image("image", &i);
    int got = outcome("image");
    ok(got == ENOMEM || (!spork && got <= 0), "a terabyte of zeros: ENOMEM");
}

static void busy(void) {
    struct image i = good();
    put_image("busy", &i);
    int fd = open("busy", O_WRONLY | O_CLOEXEC);
    need(fd >= 0);
    is(outcome("busy"), ETXTBSY, "a file that is open for writing");
    close(fd);
    is(outcome("busy"), 0, "and closed again");
}

// ---- By descriptor ---------------------------------------------------------------------------

static int execveat_(int fd, const char* path, int flags) {
    return (int)syscall(SYS_execveat, fd, path, (char*[]){"x", NULL}, environ, flags);
}

static void run_descriptor(void* arg) { execveat_(*(int*)arg, "", AT_EMPTY_PATH); }
static void run_in_folder(void* arg) { execveat_(*(int*)arg, "image", 0); }
static void run_script(void* arg) { execveat_(*(int*)arg, "", AT_EMPTY_PATH); }
static void run_fexecve(void* arg) { fexecve(*(int*)arg, (char*[]){"x", NULL}, environ); }

static void by_descriptor(void) {
    struct image i = good();
    put_image("image", &i);
    put_file("script", 0755, "#!/bin/sh\nexit 7\n");
    put_file("text", 0644, "text\n");
    need(symlink("image", "link") == 0);
    int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open("image", O_RDONLY | O_CLOEXEC), path = open("image", O_PATH | O_CLOEXEC);
    int script = open("script", O_RDONLY), closing = open("script", O_RDONLY | O_CLOEXEC);
    int text = open("text", O_RDONLY);
    need(folder >= 0 && fd >= 0 && path >= 0 && script >= 0 && closing >= 0 && text >= 0);
    is_exit(status_of(run_descriptor, &fd), 42, "execveat of a descriptor");
    is_exit(status_of(run_descriptor, &path), 42, "of one that was opened with O_PATH");
    is_exit(status_of(run_in_folder, &folder), 42, "of a name in a folder");
    is_exit(status_of(run_fexecve, &fd), 42, "fexecve");
    is_exit(status_of(run_script, &script), 7, "a script by descriptor: through /dev/fd");
    is_errno(execveat_(closing, "", AT_EMPTY_PATH), ENOENT,
             "not when exec closes it: its interpreter could not open it");
    is_errno(execveat_(folder, "link", AT_SYMLINK_NOFOLLOW), ELOOP, "AT_SYMLINK_NOFOLLOW");
    is_errno(execveat_(folder, "", 0), ENOENT, "no name, and no AT_EMPTY_PATH");
    is_errno(execveat_(folder, "", AT_EMPTY_PATH), EACCES, "a folder");
    is_errno(execveat_(text, "", AT_EMPTY_PATH), EACCES, "a file that cannot be run");
    is_errno(execveat_(99, "", AT_EMPTY_PATH), EBADF, "no descriptor");
    is_errno(execveat_(fd, "x", 0), ENOTDIR, "a name in a file");
    is_errno(execveat_(folder, "image", 0x8000), EINVAL, "a flag that is none");
}

// ---- From a thread ---------------------------------------------------------------------------

static void* sleep_for_ever(void* arg) {
    for (;;)
        pause();
    return arg;
}

static void* busy_for_ever(void* arg) {
    for (;;)
        continue;
    return arg;
}

static void* exec_now(void* arg) {
    execl(arg, "x", "same-pid", NULL);
    _exit(99);
}

static void* exec_fails(void* arg) {
    execl("/no/such/file", "x", NULL);
    *(int*)arg = errno;
    return NULL;
}

static void threads_and_exec(void* path) {
    pthread_t t;
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("PID_BEFORE", pid, 1);
    for (int i = 0; i < 3; i++)
        need(pthread_create(&t, NULL, i & 1 ? busy_for_ever : sleep_for_ever, NULL) == 0);
    int error = 0;
    need(pthread_create(&t, NULL, exec_fails, &error) == 0 && pthread_join(t, NULL) == 0);
    need(error == ENOENT); // and the others are there
    need(pthread_create(&t, NULL, exec_now, path) == 0);
    sleep_for_ever(NULL);
}

static void from_threads(void) {
    for (int i = 0; i < 10; i++)
        need(exited_with(status_of(threads_and_exec, (void*)"/proc/self/exe"), 17));
    ok(true, "exec by a thread: the others die, and the process keeps its id");
}

static int run_again(char** argv) {
    if (strcmp(argv[1], "same-pid") == 0)
        return getpid() == atoi(getenv("PID_BEFORE")) && syscall(SYS_gettid) == getpid() ? 17 : 18;
    return 5;
}

int main(int argc, char** argv) {
    if (argc > 1)
        return run_again(argv);
    struct utsname system;
    need(uname(&system) == 0);
    spork = strstr(system.release, "spork") != NULL;
    scratch_begin();
    subtest("headers", headers);
    subtest("segments", segments);
    subtest("overlaps", overlaps);
    subtest("interpreters", interpreters);
    subtest("every bit turned over", every_bit);
    subtest("limits and memory", memory);
    subtest("a busy file", busy);
    subtest("by descriptor", by_descriptor);
    subtest("from threads", from_threads);
    return done();
}
