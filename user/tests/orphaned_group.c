// Process groups that nobody is left to continue: stopped members get SIGHUP and SIGCONT.
#include "../lib/proc.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static int report[2];
static pid_t* job_made; // shared with the children

static void say(char what) { need(write(report[1], &what, 1) == 1); }

static char heard(void) {
    char what = 0;
    struct pollfd fd = {.fd = report[0], .events = POLLIN};
    if (poll(&fd, 1, 5000) == 1)
        need(read(report[0], &what, 1) == 1);
    return what;
}

static void on_signal(int signo) { say(signo == SIGHUP ? 'h' : 'c'); }

// Stops in the group that it is in, and says which signals came.
static void stop(void* unused) {
    (void)unused;
    signal(SIGHUP, on_signal);
    signal(SIGCONT, on_signal);
    raise(SIGSTOP);
    say('w'); // woken
}

static void await_stopped(pid_t child) {
    int status;
    need(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
}

static void nothing(void* unused) { (void)unused; }

// A group of which no member ever had a parent in the session: another member's end changes
// nothing.
static void session_of_its_own(void* unused) {
    (void)unused;
    need(setsid() > 0);
    pid_t stopped = spawn(stop, NULL);
    await_stopped(stopped);
    reap(spawn(nothing, NULL));
    need(proc_state(stopped) == 'T');
    need(kill(stopped, SIGKILL) == 0);
    need(killed_by(reap(stopped), SIGKILL));
}

static void not_orphaned(void) {
    is_exit(status_of(session_of_its_own, NULL), 0,
            "a group that was orphaned all along is left alone");
}

// The parent of a stopped job in a group of its own, the only tie of that group to the session.
static void tie(void* unused) {
    (void)unused;
    need(setpgid(0, 0) == 0);
    pid_t job = spawn(stop, NULL);
    need(setpgid(job, job) == 0);
    await_stopped(job);
    *job_made = job;
}

static void orphaned(void) {
    need(pipe(report) == 0);
    is_exit(status_of(tie, NULL), 0, "the parent of a stopped job ends");
    char first = heard(), second = heard();
    ok((first == 'h' && second == 'c') || (first == 'c' && second == 'h'),
       "the job gets SIGHUP and SIGCONT");
    is(heard(), 'w', "and goes on");
}

// A subreaper of the same session becomes the job's parent, and ties its group as the last one did.
static void adopted(void) {
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    is_exit(status_of(tie, NULL), 0, "the parent of a stopped job ends");
    is(proc_state(*job_made), 'T', "the job of a subreaper's child stays stopped");
    need(kill(*job_made, SIGKILL) == 0);
    need(killed_by(reap(*job_made), SIGKILL));
}

// In an orphaned group the terminal's stop signals do nothing.
static void stop_by_terminal(void* unused) {
    (void)unused;
    need(setsid() > 0);
    raise(SIGTSTP);
    raise(SIGTTIN);
    raise(SIGTTOU);
    _exit(50);
}

static void stop_signals(void) {
    is_exit(status_of(stop_by_terminal, NULL), 50, "only SIGSTOP stops a member");
}

// Whether the child stops when it is sent SIGTSTP, which a member of an orphaned group does not. It
// is told of the end of the try by SIGUSR1.
static bool stops(pid_t child) {
    int status;
    need(kill(child, SIGTSTP) == 0 && kill(child, SIGUSR1) == 0);
    need(waitpid(child, &status, WUNTRACED) == child);
    need(WIFSTOPPED(status) || exited_with(status, 0));
    if (WIFSTOPPED(status))
        need(kill(child, SIGKILL) == 0 && killed_by(reap(child), SIGKILL));
    return WIFSTOPPED(status);
}

static void leave(int signo) {
    (void)signo;
    _exit(0);
}

static void until_told(void* gate) {
    signal(SIGUSR1, leave);
    gate_open(gate);
    for (;;)
        pause();
}

static pid_t a_child(void) {
    struct gate ready = gate_make();
    pid_t child = spawn(until_told, &ready);
    gate_pass(&ready);
    return child;
}

// The leader of a session, whose group nobody outside it could continue, has a child, which has
// children.
static void middle(void* unused) {
    (void)unused;
    const pid_t leader = getsid(0);
    pid_t in_ours = a_child();
    need(!stops(in_ours));

    in_ours = a_child(); // stays where we were
    need(setpgid(0, 0) == 0);
    need(stops(in_ours));

    pid_t with_us = a_child();
    need(setpgid(0, leader) == 0); // it is in the group that we have left
    need(stops(with_us));

    with_us = a_child();
    need(setpgid(with_us, with_us) == 0 && setpgid(0, with_us) == 0); // tied by us now
    need(stops(with_us));

    need(setpgid(0, leader) == 0);
    in_ours = a_child();
    need(!stops(in_ours));
}

static void lead(void* unused) {
    need(setsid() > 0);
    pid_t child = spawn(middle, unused);
    need(exited_with(reap(child), 0));
}

static void moved(void) {
    is_exit(status_of(lead, NULL), 0,
            "a process that changes its group ties those of its children");
}

static void begin_session(void* unused) {
    (void)unused;
    pid_t child = a_child();
    need(setpgid(child, child) == 0 && setsid() > 0);
    need(!stops(child));
}

static void left_behind(void) {
    is_exit(status_of(begin_session, NULL), 0, "and no longer when it begins a session of its own");
}

int main(void) {
    job_made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(job_made != MAP_FAILED);
    subtest("was orphaned before", not_orphaned);
    subtest("becomes orphaned", orphaned);
    subtest("adopted", adopted);
    subtest("stop signals", stop_signals);
    subtest("a parent that moves", moved);
    subtest("a parent that leaves the session", left_behind);
    return done();
}
