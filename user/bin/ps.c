// ps: the processes, why each sleeps, and whose address space it has. With arguments it is
// busybox's ps, which knows columns and selections.
//
//     PID  PPID STAT WCHAN      VMSPACE          COMMAND
//      12     4 D    vfork      lent to 13       /bin/make
//      13    12 S    pause      borrowed from 12 /bin/make
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct facts {
    int parent;
    char name[64], state[8], reason[32], space[64];
};

// Whether `line` is "KEY:\tvalue"; then the value without its end of line goes to `out`.
static int field(const char* line, const char* key, char* out, size_t size) {
    const size_t n = strlen(key);
    if (strncmp(line, key, n) != 0 || strncmp(line + n, ":\t", 2) != 0)
        return 0;
    snprintf(out, size, "%.*s", (int)strcspn(line + n + 2, "\n"), line + n + 2);
    return 1;
}

static int read_facts(const char* pid, struct facts* f) {
    char path[300], line[256], number[16];
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE* status = fopen(path, "re");
    if (status == NULL)
        return 0; // it has ended meanwhile
    memset(f, 0, sizeof *f);
    while (fgets(line, sizeof line, status) != NULL) {
        if (field(line, "Name", f->name, sizeof f->name) ||
            field(line, "State", f->state, sizeof f->state) ||
            field(line, "Wchan", f->reason, sizeof f->reason) ||
            field(line, "VmSpace", f->space, sizeof f->space))
            continue;
        if (field(line, "PPid", number, sizeof number))
            f->parent = atoi(number);
    }
    fclose(status);
    return f->name[0] != 0;
}

// The command line with its arguments; in brackets the name, where there is none.
static void print_command(const char* pid, const struct facts* f) {
    char path[300], text[1024];
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    FILE* file = fopen(path, "re");
    size_t n = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    while (n > 0 && text[n - 1] == 0)
        n--;
    for (size_t i = 0; i < n; i++)
        if (!isprint((unsigned char)text[i]))
            text[i] = ' ';
    if (n > 0)
        printf("%.*s\n", (int)n, text);
    else
        printf("[%s]\n", f->name);
}

int main(int argc, char** argv) {
    if (argc > 1) {
        execv("/bin/busybox", argv);
        perror("/bin/busybox");
        return 127;
    }
    DIR* proc = opendir("/proc");
    if (proc == NULL) {
        perror("/proc");
        return 1;
    }
    printf("%5s %5s %-4s %-10s %-16s %s\n", "PID", "PPID", "STAT", "WCHAN", "VMSPACE", "COMMAND");
    for (struct dirent* entry; (entry = readdir(proc)) != NULL;) {
        struct facts f;
        if (!isdigit((unsigned char)entry->d_name[0]) || !read_facts(entry->d_name, &f))
            continue;
        printf("%5s %5d %-4.1s %-10s %-16s ", entry->d_name, f.parent, f.state,
               strcmp(f.reason, "0") != 0 ? f.reason : "-", f.space[0] ? f.space : "-");
        print_command(entry->d_name, &f);
    }
    closedir(proc);
    return 0;
}
