// The C library at work on the kernel: malloc, qsort, stdio, formatted input and output.
#include "../lib/proc.h"
#include "../lib/scratch.h"

static uint32_t state = 12345;

static uint32_t next(void) {
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

static void allocation(void) {
    enum { SLOTS = 500, STEPS = 20000 };
    static struct {
        unsigned char* at;
        size_t size;
    } slot[SLOTS];
    int wrong = 0;
    for (int step = 0; step < STEPS; step++) {
        const unsigned i = next() % SLOTS;
        const unsigned char mark = (unsigned char)i;
        if (slot[i].at != NULL) {
            wrong += slot[i].at[0] != mark || slot[i].at[slot[i].size - 1] != mark;
            if (next() % 2) {
                free(slot[i].at);
                slot[i].at = NULL;
                continue;
            }
        }
        const size_t size = next() % 100 == 0 ? 1 + next() % 500000 : 1 + next() % 3000;
        unsigned char* grown = realloc(slot[i].at, size);
        need(grown != NULL);
        if (slot[i].at != NULL)
            wrong += grown[0] != mark;
        memset(grown, mark, size);
        slot[i].at = grown;
        slot[i].size = size;
    }
    is(wrong, 0, "%d random calls of malloc, realloc and free: every block is whole", STEPS);
    for (int i = 0; i < SLOTS; i++)
        free(slot[i].at);
    char* big = calloc(1, 20 << 20);
    need(big != NULL);
    bool zero = true;
    for (size_t i = 0; i < 20 << 20; i += 4096)
        zero = zero && big[i] == 0;
    ok(zero, "20 MB of calloc are zero");
    free(big);
    volatile size_t half = SIZE_MAX / 2;
    ok(malloc(half) == NULL && errno == ENOMEM, "half of all addresses are not to be had");
}

static int compare(const void* a, const void* b) {
    const int x = *(const int*)a, y = *(const int*)b;
    return (x > y) - (x < y);
}

static void sorting(void) {
    enum { COUNT = 50000 };
    int* numbers = malloc(COUNT * sizeof *numbers);
    need(numbers != NULL);
    uint64_t sum = 0, after = 0;
    for (int i = 0; i < COUNT; i++)
        sum += (uint64_t)(numbers[i] = (int)(next() >> 1));
    qsort(numbers, COUNT, sizeof *numbers, compare);
    int disorder = 0;
    for (int i = 0; i < COUNT; i++) {
        after += (uint64_t)numbers[i];
        disorder += i > 0 && numbers[i - 1] > numbers[i];
    }
    is(disorder, 0, "qsort of %d numbers", COUNT);
    is(after, sum, "loses none");
    int key = numbers[777];
    int* found = bsearch(&key, numbers, COUNT, sizeof *numbers, compare);
    ok(found != NULL && *found == key, "bsearch finds one");
    free(numbers);
}

static void files(void) {
    FILE* f = fopen("lines", "w");
    need(f != NULL);
    for (int i = 0; i < 5000; i++)
        need(fprintf(f, "line %d of %s\n", i, "many") > 0);
    is(fclose(f), 0, "5,000 lines written");
    f = fopen("lines", "r");
    need(f != NULL);
    char line[64], want[64];
    int wrong = 0, count = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        snprintf(want, sizeof want, "line %d of many\n", count++);
        wrong += strcmp(line, want) != 0;
    }
    ok(count == 5000 && wrong == 0 && feof(f), "and read back");
    is(fseek(f, -5, SEEK_END), 0, "fseek");
    need(fgets(line, sizeof line, f) != NULL);
    is_str(line, "many\n", "to the last word");
    rewind(f);
    int number;
    char word[16];
    is(fscanf(f, "line %d of %15s", &number, word), 2, "fscanf");
    is(number, 0, "reads the first line again");
    fclose(f);
    f = fopen("lines", "a+");
    fputs("appended\n", f);
    fflush(f);
    fseek(f, -9, SEEK_CUR);
    need(fgets(line, sizeof line, f) != NULL);
    is_str(line, "appended\n", "append, then read");
    fclose(f);
    ok(fopen("none", "r") == NULL && errno == ENOENT, "a file that is not there");
    f = tmpfile();
    ok(f != NULL && fputs("temporary", f) >= 0, "tmpfile");
    is(remove("lines"), 0, "remove");
}

// What is in a buffer at the time of fork is written by each process that flushes it: exit does,
// _exit does not.
static void buffers_and_fork(void) {
    for (int flush = 0; flush < 2; flush++) {
        FILE* f = fopen("buffered", "w");
        fputs("once ", f);
        pid_t child = fork();
        if (child == 0) {
            if (flush)
                fclose(f);
            _exit(0);
        }
        reap(child);
        fclose(f);
        is_str(get_file("buffered"), flush ? "once once " : "once ", "the child %s",
               flush ? "flushes" : "does not flush");
    }
}

static void numbers(void) {
    char text[128];
    snprintf(text, sizeof text, "%.10g %a %5.2f|%-6d|%+d|%#x|%s", 1.0 / 3, 1.5, 2.0 / 3, 42, 7, 255,
             "end");
    is_str(text, "0.3333333333 0x1.8p+0  0.67|42    |+7|0xff|end", "formatted output");
    double x = strtod("2.718281828459045", NULL);
    snprintf(text, sizeof text, "%.15f", x);
    is_str(text, "2.718281828459045", "strtod and back");
    is(strtol("-0x1f", NULL, 0), -31, "strtol");
    setenv("VARIABLE", "value", 1);
    is_str(getenv("VARIABLE"), "value", "setenv");
}

int main(void) {
    scratch_begin();
    subtest("malloc", allocation);
    subtest("qsort", sorting);
    subtest("files", files);
    subtest("buffers and fork", buffers_and_fork);
    subtest("numbers", numbers);
    return done();
}
