// What the guided walks of docs/walks/ step through: one act, as plain as it can be.
//
//   walk fork        a COW fork; then the child and the parent each write to one page
//   walk vfork       a vfork whose child writes what the parent then reads, and executes
//   walk exec        execve of this program itself, as `walk done`
//   walk cow-fault   one page, shared by a fork, and the store that parts it
//   walk page-in     a page that is in swap, and is read, and written to; with --swap
//   walk exit        a child that ends, and a parent that waits for it
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

// Apart from everything else that is written to, each on a page of its own.
__attribute__((aligned(4096))) static volatile char page[4096] = "before";
static volatile int shared_word;

static int wait_for(pid_t child) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

__attribute__((noinline)) static void store_byte(char value) { page[0] = value; }

static int walk_fork(void) {
    store_byte('p');
    pid_t child = fork();
    if (child == 0) {
        store_byte('c');
        _exit(page[0] == 'c' ? 0 : 1);
    }
    int status = wait_for(child);
    printf("the child wrote 'c'; the parent reads '%c'\n", page[0]);
    return status;
}

static int walk_vfork(void) {
    char* const arguments[] = {"walk", "done", NULL};
    char* const environment[] = {NULL};
    pid_t child = vfork();
    if (child == 0) {
        shared_word = 42;
        execve("/demos/walk", arguments, environment);
        _exit(127);
    }
    printf("the child wrote 42; the parent reads %d\n", shared_word);
    return wait_for(child);
}

static int walk_exec(void) {
    char* const arguments[] = {"walk", "done", NULL};
    char* const environment[] = {NULL};
    execve("/demos/walk", arguments, environment);
    return 127;
}

static int walk_cow_fault(void) {
    int go[2];
    char byte;
    store_byte('p');
    if (pipe(go))
        return 1;
    pid_t child = fork();
    if (child == 0) { // stays until the parent has written: then it may go
        close(go[1]);
        ssize_t end = read(go[0], &byte, 1);
        _exit(end == 0 && page[0] == 'p' ? 0 : 1);
    }
    store_byte('q');
    close(go[1]);
    return wait_for(child);
}

static int walk_page_in(void) {
    enum { PAGE = 4096, PAGEOUT = 21 }; // MADV_PAGEOUT
    volatile char* out =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (out == MAP_FAILED)
        return 1;
    out[0] = 's';
    if (madvise((void*)out, PAGE, PAGEOUT) != 0)
        return 1;
    const char came = out[0];
    out[0] = 't';
    printf("'s' went out; '%c' came back\n", came);
    return came == 's' ? 0 : 1;
}

static int walk_exit(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    return wait_for(child) == 7 ? 0 : 1;
}

int main(int count, char** arguments) {
    static const struct {
        const char* name;
        int (*walk)(void);
    } walks[] = {{"fork", walk_fork},           {"vfork", walk_vfork},     {"exec", walk_exec},
                 {"cow-fault", walk_cow_fault}, {"page-in", walk_page_in}, {"exit", walk_exit}};
    for (unsigned i = 0; i < sizeof walks / sizeof *walks; i++)
        if (count == 2 && !strcmp(arguments[1], walks[i].name))
            return walks[i].walk();
    if (count == 2 && !strcmp(arguments[1], "done"))
        return 0;
    fprintf(stderr, "usage: walk fork|vfork|exec|cow-fault|page-in|exit\n");
    return 2;
}
