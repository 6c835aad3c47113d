// tour: why the child of a fork that only calls exec is better off in its parent's memory. NetBSD's
// argument for sharing, step by step, with this machine's figures beside each step.
//
// tour [--counts] [MIB...]. For each size, and each way of making a child, a program of its own is
// started (tour --measure) that writes to so many MiB, makes a child that execs, waits for it, and
// writes to all its pages again. The figures are what the kernel's ledger says of the program and
// its child (/proc/PID/ledger, docs/ledger.md). --counts prints them bare, without the times.
//
// tour --out [--counts] [MIB...], on a machine with swap: the same for parents that are out, whose
// child writes to some of their pages before it execs.
//
// All of it runs on one processor, where the parent of a fork goes on until it waits. On a machine
// that counts instructions (tools/spork run --icount --append norandmaps) every figure is the same
// in each run.
#include "../lib/afork.h"
#include "../lib/spork.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

enum { PAGE = 4096, MIB = 1 << 20, ALIGNMENT = 2 * MIB, MOST_SIZES = 4 };
enum way { COPY, COW, COW_PTE, VFORK_BSD, VFORK, AFORK, SPAWN, WAYS };

static const char program[] = "/demos/tour";
static char* const nothing[] = {"tour", "--nothing", NULL};
static char* const no_environment[] = {NULL};

static void check(bool good, const char* what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

// ---- What is shown ---------------------------------------------------------------------------

// Where the ledger has a figure: in the entry of the creation, in what came of it later in the
// parent or in the child, or in the entry of the child's exec. The parent's own writes are timed by
// the program. What they cost where a write gives a whole page table its right back comes from a
// second child.
enum place { CALL, PARENT_LATER, CHILD_LATER, EXEC, WRITES, TABLES_LATER, TABLES_WRITES, PLACES };
static const char* const place_names[PLACES] = {"call",   "parent", "child",       "exec",
                                                "writes", "tables", "table_writes"};

struct figure {
    enum place place;
    const char* name;
};
// Up to three figures, which are added up.
struct row {
    const char* label;
    const char* means;
    struct figure figures[3];
    enum { COUNT, WHETHER, THOUSANDS } shown_as;
};
struct step {
    const char* text;
    struct row rows[6];
};

static const struct step steps[] = {
    {"1. Walk the parent's map and mark what can be written copy-on-write. For the\n"
     "   pmap that is: take the right to write from every resident page, in the page\n"
     "   table or from the table as a whole, and make the TLB forget. (Mode copy\n"
     "   copies instead, below.) A parent that is shared is not touched.\n",
     {{"amaps now in common",
       "amaps that an entry of the child refers to, too",
       {{CALL, "amaps_referenced"}},
       COUNT},
      {"pages write-protected",
       "resident pages of the parent that lost the right to write",
       {{CALL, "ptes_protected"}},
       COUNT},
      {"by whole page tables",
       "each 512 of them at once, by a bit of the entry that leads to their table",
       {{CALL, "ptps_protected"}},
       COUNT},
      {"TLB flushes",
       "times that the processor forgot translations",
       {{CALL, "flushes_local"}},
       COUNT}}},
    {"2. Make a map for the child and copy the parent's entries into it. cow+pte also\n"
     "   copies page-table entries. The memory that the child might come to write\n"
     "   has to be promised to it, all of it. Or else: take a reference.\n",
     {{"map entries copied",
       "entries of the child's map, each a copy of one of the parent's",
       {{CALL, "map_entries_copied"}},
       COUNT},
      {"pages promised",
       "pages that the child may come to write, in the commit account",
       {{CALL, "commit_charged"}},
       COUNT},
      {"page-table pages made", "pages of the child's page table", {{CALL, "ptps_made"}}, COUNT},
      {"PTEs copied",
       "page-table entries that it has from the parent's",
       {{CALL, "ptes_copied"}},
       COUNT},
      {"pages copied", "pages of memory", {{CALL, "pages_copied"}}, COUNT}}},
    {"3. Block the parent, in the ways that do.\n",
     {{"parent blocked",
       "whether the parent's thread slept until the child let go",
       {{CALL, "blocked_ns"}},
       WHETHER}}},
    {"4. The child runs as far as exec. An empty page table is filled by faults; a\n"
     "   write to what is in common copies a page. In its parent's memory it finds\n"
     "   everything in place.\n",
     {{"faults without a copy",
       "page faults that mapped a page that was there",
       {{CHILD_LATER, "read_anon"}, {CHILD_LATER, "read_object"}, {CHILD_LATER, "write_reused"}},
       COUNT},
      {"pages copied by faults",
       "write faults that copied a page both had",
       {{CHILD_LATER, "write_copied"}},
       COUNT}}},
    {"5. exec throws all of that away again: entries, page tables, the promise. Where\n"
     "   the child only had a reference, exec drops that, and nothing is thrown away.\n"
     "   (What it returns then is a promise of its own: that the new program fits.)\n",
     {{"map entries freed",
       "entries of the map that exec leaves",
       {{EXEC, "map_entries_freed"}},
       COUNT},
      {"PTEs removed", "page-table entries that exec cleared", {{EXEC, "ptes_removed"}}, COUNT},
      {"page-table pages freed",
       "pages of the page table that it leaves",
       {{EXEC, "ptps_freed"}},
       COUNT},
      {"promised pages returned",
       "pages taken out of the commit account",
       {{EXEC, "commit_returned"}},
       COUNT}}},
    {"6. \"This implies that the parent's map has to be traversed to mark the COW\n"
     "   portions not-COW\", says NetBSD's page of step 5. Nobody does that walk. 4.4BSD\n"
     "   left the marks: the first write to an entry put a new object before the old\n"
     "   one, whoever else had that, and collapsing the chain undid it. UVM leaves\n"
     "   needs_copy, too, and the first write clears it: without a copy of the amap\n"
     "   if the child has gone by then.\n",
     {{"marks cleared at a write",
       "entries of the parent whose needs_copy a later write cleared",
       {{PARENT_LATER, "amap_reused"}, {PARENT_LATER, "amap_copied"}},
       COUNT},
      {"of them with a new amap",
       "because the child still had the old one",
       {{PARENT_LATER, "amap_copied"}},
       COUNT}}},
    {"7. The parent goes on, and writes to its memory. Each page that step 1 made\n"
     "   read-only faults once, though the child is gone and hardly a page is copied.\n"
     "   (So it is with vm.rights_ahead off, as in other kernels. With it, as Spork\n"
     "   is by itself, one fault gives the right back to all pages of a table that are\n"
     "   the parent's alone by then.) A parent that was shared takes no fault: its map\n"
     "   was never changed.\n",
     {{"faults",
       "write faults on pages that fork had write-protected",
       {{PARENT_LATER, "write_copied"}, {PARENT_LATER, "write_reused"}},
       COUNT},
      {"pages copied by them",
       "those that found that somebody else still had the page",
       {{PARENT_LATER, "write_copied"}},
       COUNT},
      {"faults, by tables",
       "those with rights_ahead on",
       {{TABLES_LATER, "write_copied"}, {TABLES_LATER, "write_reused"}},
       COUNT}}},
    {"8. The bill, in thousands of processor cycles (of instructions, on a machine\n"
     "   that counts them).\n",
     {{"making the child", "the call, as the ledger has it", {{CALL, "cycles"}}, THOUSANDS},
      {"its exec", "the child's, whole", {{EXEC, "cycles"}}, THOUSANDS},
      {"the parent's writes",
       "one to each page, after the child has ended",
       {{WRITES, "cycles"}},
       THOUSANDS},
      {"together", "", {{CALL, "cycles"}, {EXEC, "cycles"}, {WRITES, "cycles"}}, THOUSANDS},
      {"writes, by tables",
       "the parent's writes with rights_ahead on",
       {{TABLES_WRITES, "cycles"}},
       THOUSANDS},
      {"together, by tables",
       "",
       {{CALL, "cycles"}, {EXEC, "cycles"}, {TABLES_WRITES, "cycles"}},
       THOUSANDS}}},
    {"9. And where the parent is on disk? It puts out all that it has written to, and\n"
     "   makes a child, which writes to 16 of those pages and execs. (The child of\n"
     "   posix_spawn cannot.) A page that is out is shared by its slot: fork reads\n"
     "   nothing. Page-ins of pages that both have are laid to the fork.\n",
     {{"page-ins of the call",
       "those that making the child waited for",
       {{CALL, "pageins"}},
       COUNT},
      {"page-ins for the child",
       "those that its faults waited for, laid to what made it",
       {{CHILD_LATER, "paged_in"}},
       COUNT},
      {"pages copied by faults",
       "write faults of the child that copied a page both had",
       {{CHILD_LATER, "write_copied"}},
       COUNT},
      {"page-ins of its exec",
       "those that the child's exec waited for",
       {{EXEC, "pageins"}},
       COUNT},
      {"page-ins for the parent",
       "those that its faults waited for, when it wrote to each page later",
       {{WRITES, "pageins"}},
       COUNT},
      {"pages that came with them",
       "pages that came from swap meanwhile, several at once",
       {{WRITES, "pgswapin"}},
       COUNT}}},
};
enum { STEPS = sizeof steps / sizeof *steps, BILL = STEPS - 2, OUT = STEPS - 1 };

// ---- One measurement (tour --measure WAY MIB) ------------------------------------------------

static char afork_stack[16384] __attribute__((aligned(16)));

static uint64_t cycles(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

// What the child writes to: so many pages, so far apart.
static struct {
    volatile char* at;
    size_t pages, apart;
} written;

static void write_some(void) {
    for (size_t i = 0; i < written.pages; i++)
        written.at[i * written.apart]++;
}

static int child_of_afork(void* unused) {
    write_some();
    afork_raw(SYS_execve, program, nothing, no_environment);
    return 127;
}

static pid_t make_child(enum way way) {
    pid_t pid = -1;
    switch (way) {
    case COPY:
    case COW:
    case COW_PTE:
        pid = fork();
        if (pid == 0) {
            write_some();
            execve(program, nothing, no_environment);
            _exit(127);
        }
        break;
    case VFORK_BSD:
    case VFORK:
        pid = vfork();
        if (pid == 0) {
            write_some();
            execve(program, nothing, no_environment);
            _exit(127);
        }
        break;
    case AFORK: {
        struct afork_record record;
        int fd = afork(afork_stack, sizeof afork_stack, child_of_afork, NULL, AFORK_CLOEXEC, &pid);
        check(fd >= 0 && read(fd, &record, sizeof record) == sizeof record, "afork");
        break;
    }
    case SPAWN:
        errno = posix_spawn(&pid, program, NULL, NULL, nothing, no_environment);
        check(errno == 0, "posix_spawn");
        break;
    case WAYS: break;
    }
    check(pid > 0, "making a child");
    return pid;
}

static void write_all(char* memory, size_t size) {
    for (size_t at = 0; at < size; at += PAGE)
        ((volatile char*)memory)[at]++;
}

// Prints the ledger's figures as "place name value"; those of `later` alone, unless it is PLACES.
static void print_ledger(pid_t child, enum place later) {
    static char text[32768];
    int fd = open("/proc/self/ledger", O_RDONLY | O_CLOEXEC);
    ssize_t size = 0, n;
    while ((n = read(fd, text + size, sizeof text - 1 - (size_t)size)) > 0)
        size += n;
    check(fd >= 0 && n == 0, "/proc/self/ledger");
    enum place place = PLACES;
    for (char* line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char kind[16], name[2][32];
        long value[2];
        int pid;
        if (sscanf(line, "%*d %15s pid %d", kind, &pid) == 2) {
            if (pid != child)
                place = CALL;
            else
                place = strcmp(kind, "exec") == 0 ? EXEC : PLACES; // its exit is not shown
        } else if (strstr(line, "later, in the parent")) {
            place = later == PLACES ? PARENT_LATER : later;
        } else if (strstr(line, "later, in the child")) {
            place = CHILD_LATER;
        } else if (place != PLACES) {
            int pairs = sscanf(line, "%31s %ld %31s %ld", name[0], &value[0], name[1], &value[1]);
            for (int i = 0; i < pairs / 2 && (later == PLACES || later == place); i++)
                printf("%s %s %ld\n", place_names[place], name[i], value[i]);
        }
    }
}

static void write_file(const char* name, const char* value) {
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    check(fd >= 0 && write(fd, value, 1) == 1, name);
    close(fd);
}

// Memory of `size` bytes that has been written to, for a child that is made so.
static char* prepare(enum way way, size_t size) {
    static const int fork_modes[WAYS] = {[COPY] = FORK_COPY, [COW_PTE] = FORK_COW_PTE};
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    check(sched_setaffinity(0, sizeof first, &first) == 0, "sched_setaffinity");
    check(spork_forkmode(fork_modes[way] ? fork_modes[way] : FORK_COW,
                         way == VFORK_BSD ? VFORK_COW : VFORK_SHARE) >= 0,
          "spork_forkmode");
    // From a border of page tables on, so that it fills the same number of them in each run.
    char* memory =
        mmap(NULL, size + ALIGNMENT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, "mmap");
    const size_t before = -(uintptr_t)memory % ALIGNMENT;
    memory += before;
    check((before == 0 || munmap(memory - before, before) == 0) &&
              munmap(memory + size, ALIGNMENT - before) == 0,
          "munmap");
    write_all(memory, size);
    return memory;
}

static pid_t end_of_child(enum way way) {
    int status;
    pid_t child = make_child(way);
    check(waitpid(child, &status, 0) == child && status == 0, "the child");
    return child;
}

static void measure(enum way way, size_t size) {
    char* memory = prepare(way, size);
    for (int tables = 0; tables < 2; tables++) {
        write_file("/proc/sys/vm/rights_ahead", tables ? "1" : "0");
        write_file("/proc/self/ledger", "0");
        pid_t child = end_of_child(way);
        const uint64_t start = cycles();
        write_all(memory, size);
        const uint64_t end = cycles();
        print_ledger(child, tables ? TABLES_LATER : PLACES);
        printf("%s cycles %ld\n", place_names[tables ? TABLES_WRITES : WRITES],
               (long)(end - start));
    }
}

static void measure_out(enum way way, size_t size) {
    static const char* const counted[] = {"pageins", "pgswapin"};
    long before[2];
    written.at = prepare(way, size);
    written.pages = 16;
    written.apart = size / written.pages;
    check(madvise((char*)written.at, size, MADV_PAGEOUT) == 0, "madvise");
    write_file("/proc/self/ledger", "0");
    pid_t child = end_of_child(way);
    for (int i = 0; i < 2; i++)
        before[i] = uvmexp(counted[i]);
    write_all((char*)written.at, size);
    for (int i = 0; i < 2; i++)
        printf("%s %s %ld\n", place_names[WRITES], counted[i], uvmexp(counted[i]) - before[i]);
    print_ledger(child, PLACES);
}

// ---- All of them -----------------------------------------------------------------------------

static long sizes[MOST_SIZES] = {1, 8, 64};
static int size_count = 3;
static long found[WAYS][MOST_SIZES][STEPS][6]; // as the rows of `steps`

static void add_figure(enum way way, int size, const char* place, const char* name, long value) {
    for (int s = 0; s < STEPS; s++)
        for (int r = 0; r < 6 && steps[s].rows[r].label; r++)
            for (int f = 0; f < 3 && steps[s].rows[r].figures[f].name; f++) {
                const struct figure* figure = &steps[s].rows[r].figures[f];
                if (strcmp(figure->name, name) == 0 &&
                    strcmp(place_names[figure->place], place) == 0)
                    found[way][size][s][r] += value;
            }
}

static void run(enum way way, int size, char* measure) {
    char way_text[16], size_text[32], line[128];
    snprintf(way_text, sizeof way_text, "%d", way);
    snprintf(size_text, sizeof size_text, "%ld", sizes[size]);
    char* const argv[] = {"tour", measure, way_text, size_text, NULL};
    int out[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    check(pipe2(out, O_CLOEXEC) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    errno = posix_spawn(&pid, program, &actions, NULL, argv, no_environment);
    check(errno == 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    FILE* f = fdopen(out[0], "r");
    char place[16], name[32];
    long value;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%15s %31s %ld", place, name, &value) == 3)
            add_figure(way, size, place, name, value);
    fclose(f);
    check(waitpid(pid, &status, 0) == pid, "waitpid");
    if (status != 0)
        exit(1); // it has said why
}

static void print_value(const struct row* row, long value) {
    if (row->shown_as == THOUSANDS)
        printf(" %6ld", (value + 500) / 1000);
    else if (row->shown_as == WHETHER)
        printf(" %6s", value ? "yes" : "no");
    else
        printf(" %6ld", value);
}

static void print_row(int step, int r) {
    const struct row* row = &steps[step].rows[r];
    bool same = row->shown_as != THOUSANDS;
    for (int w = 0; w < WAYS; w++)
        for (int i = 1; i < size_count; i++)
            same =
                same && (row->shown_as == WHETHER ? !found[w][i][step][r] == !found[w][0][step][r]
                                                  : found[w][i][step][r] == found[w][0][step][r]);
    for (int i = 0; i < (same ? 1 : size_count); i++) {
        if (i == 0 && same)
            printf("  %-28s", row->label);
        else
            printf("  %-23s%3ld M", i == 0 ? row->label : "", sizes[i]);
        for (int w = 0; w < WAYS; w++)
            print_value(row, found[w][i][step][r]);
        printf("\n");
    }
}

static bool there_is_swap(void) {
    struct sysinfo machine;
    return sysinfo(&machine) == 0 && machine.totalswap != 0;
}

static void show_steps(int first, int end) {
    for (int s = first; s < end; s++) {
        printf("\n%s\n", steps[s].text);
        for (int r = 0; r < 6 && steps[s].rows[r].label; r++)
            if (*steps[s].rows[r].means)
                printf("   %s: %s\n", steps[s].rows[r].label, steps[s].rows[r].means);
        printf("\n%30s %20s %13s\n%30s %6s %6s %6s %6s %6s %6s %6s\n", "", "------- fork -------",
               "--- vfork ---", "", "copy", "cow", "+pte", "4.4BSD", "share", "afork", "spawn");
        for (int r = 0; r < 6 && steps[s].rows[r].label; r++)
            print_row(s, r);
    }
}

static void show(void) {
    printf("A shell, a make, a server that starts a helper: they fork in order to exec. What\n"
           "does that cost, if the child gets a copy-on-write copy of its parent's memory,\n"
           "and what, if it borrows that memory while the parent waits?\n\n"
           "Seven ways to make a child, by parents that have written to");
    for (int i = 0; i < size_count; i++)
        printf("%s %ld", i == 0 ? "" : i + 1 == size_count ? " and" : ",", sizes[i]);
    printf(" MiB:\n\n"
           "  fork   copy     every page is copied: the first Unix\n"
           "         cow      pages are copied when somebody writes to them: Mach, 4.4BSD\n"
           "         cow+pte  and the child begins with its parent's page tables\n"
           "  vfork  4.4BSD   fork cow, and the parent waits\n"
           "         share    the child borrows its parent's address space: 3BSD, NetBSD\n"
           "  afork           the same on a stack of its own, and the parent goes on\n"
           "  spawn           posix_spawn, which the C library builds on vfork share\n");
    show_steps(0, OUT);
    const int together = 3, size = size_count - 1;
    const long* cow = found[COW][size][BILL];
    long share = found[VFORK][size][BILL][together];
    printf("\nWith %ld MiB, fork cow and what comes of it cost %ld times what vfork share does,\n"
           "and %ld times with rights_ahead.\n",
           sizes[size], share ? (cow[together] + share / 2) / share : 0,
           share ? (cow[together + 2] + share / 2) / share : 0);
}

static void show_counts(int first, int end) {
    static const char* const names[WAYS] = {"copy",  "cow",   "cow+pte", "vfork-cow",
                                            "share", "afork", "spawn"};
    for (int s = first; s < end; s++)
        for (int r = 0; r < 6 && steps[s].rows[r].label; r++)
            for (int i = 0; i < size_count; i++)
                for (int w = 0; w < WAYS; w++) {
                    long value = found[w][i][s][r];
                    if (steps[s].rows[r].shown_as != THOUSANDS)
                        printf("%d|%s|%ld|%s|%ld\n", s + 1, steps[s].rows[r].label, sizes[i],
                               names[w], steps[s].rows[r].shown_as == WHETHER ? value != 0 : value);
                }
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
        return 0; // what the children exec
    if (argc == 4 && strncmp(argv[1], "--measure", 9) == 0) {
        (argv[1][9] ? measure_out : measure)((enum way)atoi(argv[2]), (size_t)atol(argv[3]) * MIB);
        return 0;
    }
    if (!on_spork()) {
        fprintf(stderr, "tour: only Spork keeps a ledger\n");
        return 1;
    }
    int first = 1;
    const bool out = argc > first && strcmp(argv[first], "--out") == 0;
    first += out;
    const bool counts = argc > first && strcmp(argv[first], "--counts") == 0;
    first += counts;
    if (out && !there_is_swap()) {
        fprintf(stderr, "tour: there is no swap (spork run --swap 256M)\n");
        return 1;
    }
    if (argc > first)
        size_count = 0;
    for (int i = first; i < argc; i++) {
        long size = atol(argv[i]);
        if (size < 1 || size > 999 || size_count == MOST_SIZES) {
            fprintf(stderr, "usage: tour [--out] [--counts] [MIB...], at most %d sizes\n",
                    MOST_SIZES);
            return 2;
        }
        sizes[size_count++] = size;
    }
    for (int i = 0; i < size_count; i++)
        for (int w = 0; w < WAYS; w++)
            run((enum way)w, i, out ? "--measure-out" : "--measure");
    if (counts)
        show_counts(out ? OUT : 0, out ? STEPS : OUT);
    else if (out)
        show_steps(OUT, STEPS);
    else
        show();
    return 0;
}
