// What each step after a fork costs, in the VM system's own counters (/proc/uvmexp).
//
// A process with 1,000 pages of private memory, all written to, forks. Parent and child then take
// turns; after each step the counters that moved are printed. docs/fork.md explains the numbers.
//
//   musl-gcc -static -O2 -o /tmp/fork_steps docs/experiments/fork_steps.c
//   tools/spork run --icount --append norandmaps --add /tmp/fork_steps -- /fork_steps
#include "uvmexp.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGES = 1000, PAGE = 4096 };

static char* memory;

static void read_pages(void) {
    for (int i = 0; i < PAGES; i++)
        (void)*(volatile char*)(memory + i * PAGE);
}

static void write_pages(char value) {
    for (int i = 0; i < PAGES; i++)
        *(volatile char*)(memory + i * PAGE) = value;
}

// The child does what the letters that come through the pipe say, and answers each.
static void child(int commands, int answers) {
    for (char c; read(commands, &c, 1) == 1;) {
        if (c == 'r')
            read_pages();
        if (c == 'w')
            write_pages('c');
        if (write(answers, &c, 1) != 1)
            break;
    }
    _exit(0);
}

static int commands[2], answers[2];

static void ask(char what) {
    if (write(commands[1], &what, 1) != 1 || read(answers[0], &what, 1) != 1)
        exit(1);
}

static pid_t start_child(void) {
    if (pipe(commands) < 0 || pipe(answers) < 0)
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        close(commands[1]);
        child(commands[0], answers[1]);
    }
    ask('-'); // it has begun: what it does first is part of the fork
    return pid;
}

static void end_child(pid_t pid) {
    close(commands[1]);
    waitpid(pid, NULL, 0);
    close(commands[0]);
    close(answers[0]);
    close(answers[1]);
}

int main(void) {
    memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    begin();
    write_pages('p');
    show("first write to 1,000 pages");

    pid_t pid = start_child();
    show("fork");
    ask('r');
    show("the child reads them");
    ask('w');
    show("the child writes to them");
    write_pages('q');
    show("the parent writes to them");
    end_child(pid);
    show("the child exits");

    pid = start_child();
    show("fork again");
    end_child(pid);
    show("the child exits without having written");
    write_pages('s');
    show("the parent writes to them");

    pid = vfork();
    if (pid == 0) {
        memory[0] = 'v';
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    show(memory[0] == 'v' ? "vfork; the child stored a byte, and the parent sees it" : "vfork?");
    write_pages('t');
    show("the parent writes to them");

    pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", (char*)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    show("fork, exec of /bin/true, exit, wait");
    write_pages('u');
    show("the parent writes to them");
    pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", (char*)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    show("vfork, exec of /bin/true, exit, wait");
    write_pages('x');
    show("the parent writes to them");
    return 0;
}
