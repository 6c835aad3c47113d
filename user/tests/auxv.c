// The auxiliary vector: what the kernel tells a new program about itself and the machine, and how
// the stack lies on which it does.
#include "../lib/proc.h"

#include <elf.h>
#include <sys/auxv.h>

extern char** environ;
extern char _start[], __ehdr_start[];

static int the_argc;
static char** the_argv;

static void program(void) {
    const Elf64_Ehdr* header = (const Elf64_Ehdr*)__ehdr_start;
    is(getauxval(AT_PHDR), (uintptr_t)__ehdr_start + header->e_phoff, "AT_PHDR");
    is(getauxval(AT_PHENT), sizeof(Elf64_Phdr), "AT_PHENT");
    is(getauxval(AT_PHNUM), header->e_phnum, "AT_PHNUM");
    is(getauxval(AT_ENTRY), _start, "AT_ENTRY");
    is(getauxval(AT_BASE), 0, "AT_BASE: there is no interpreter");
    is(getauxval(AT_PAGESZ), 4096, "AT_PAGESZ");
    is(sysconf(_SC_PAGESIZE), 4096, "sysconf");
    is(getauxval(AT_CLKTCK), 100, "AT_CLKTCK");
    is(getauxval(AT_FLAGS), 0, "AT_FLAGS");
    const char* name = (const char*)getauxval(AT_EXECFN);
    ok(name != NULL && strstr(name, "auxv") != NULL, "AT_EXECFN names this program");
    const char* platform = (const char*)getauxval(AT_PLATFORM);
    ok(platform != NULL && strcmp(platform, "x86_64") == 0, "AT_PLATFORM");
}

static void user(void) {
    is(getauxval(AT_UID), getuid(), "AT_UID");
    is(getauxval(AT_EUID), geteuid(), "AT_EUID");
    is(getauxval(AT_GID), getgid(), "AT_GID");
    is(getauxval(AT_EGID), getegid(), "AT_EGID");
    is(getauxval(AT_SECURE), 0, "AT_SECURE");
}

static void random_bytes(void) {
    const unsigned char* bytes = (const unsigned char*)getauxval(AT_RANDOM);
    need(bytes != NULL);
    unsigned any = 0;
    for (int i = 0; i < 16; i++)
        any |= bytes[i];
    ok(any != 0, "AT_RANDOM has 16 bytes that are not all zero");

    char first[16], again[16];
    char* argv[] = {"auxv", "random", NULL};
    for (int run = 0; run < 2; run++) {
        int out[2];
        need(pipe(out) == 0);
        pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            dup2(out[1], STDOUT_FILENO);
            execv(self_path(the_argv[0]), argv);
            _exit(111);
        }
        need(read(out[0], run == 0 ? first : again, 16) == 16);
        is_exit(reap(child), 0, "run %d", run + 1);
    }
    ok(memcmp(first, again, 16) != 0, "each exec has its own");
}

// From the initial stack pointer up: argc, argv, NULL, environment, NULL, vector, then the strings.
static void layout(void) {
    long* base = (long*)the_argv - 1;
    is(*base, the_argc, "argc lies below argv");
    is((uintptr_t)base % 16, 0, "at a multiple of 16");
    is(the_argv[the_argc], NULL, "argv ends in NULL");
    is(environ, the_argv + the_argc + 1, "the environment follows");
    char** end = environ;
    while (*end != NULL)
        end++;
    const Elf64_auxv_t* entry = (const Elf64_auxv_t*)(end + 1);
    int count = 0, null_entries = 0;
    bool known = true;
    for (; count < 64 && null_entries == 0; count++) {
        null_entries += entry[count].a_type == AT_NULL;
        const unsigned long type = entry[count].a_type;
        const bool own_idea = type == AT_HWCAP || type == AT_HWCAP2; // glibc's, of what counts
        known =
            known && (type == AT_NULL || own_idea || getauxval(type) == entry[count].a_un.a_val);
    }
    is(null_entries, 1, "the vector follows, and ends in AT_NULL");
    ok(known, "getauxval finds what is in it");
    ok((char*)the_argv[0] > (char*)&entry[count - 1], "the strings lie above");
}

static void absent(void) {
    errno = 0;
    is(getauxval(9999), 0, "an entry that is not there is 0");
    is(errno, ENOENT, "with ENOENT");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "random") == 0)
        return write(STDOUT_FILENO, (void*)getauxval(AT_RANDOM), 16) == 16 ? 0 : 1;
    the_argc = argc;
    the_argv = argv;
    subtest("the program", program);
    subtest("the user", user);
    subtest("random bytes", random_bytes);
    subtest("layout of the stack", layout);
    subtest("what is not there", absent);
    return done();
}
