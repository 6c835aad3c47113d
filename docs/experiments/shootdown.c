// mprotect in a process whose other threads run on other processors, and how many of those had to
// be asked to forget what they knew (/proc/uvmexp: flushes_remote, shootdown_interrupts).
//
//   musl-gcc -static -O2 -pthread -o /tmp/shootdown docs/experiments/shootdown.c
//   tools/spork run --smp 4 --add /tmp/shootdown -- /shootdown 3
#include "uvmexp.h"

#include <pthread.h>
#include <sys/mman.h>

enum { PAGE = 4096, ROUNDS = 100 };

static char* memory;
static volatile int stop;

static void* reader(void* unused) {
    while (!stop)
        (void)*(volatile char*)memory;
    return unused;
}

int main(int argc, char** argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    pthread_t each[16];
    for (int i = 0; i < threads && i < 16; i++)
        if (pthread_create(&each[i], NULL, reader, NULL) != 0)
            return 1;
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        *(volatile char*)memory = 1;
        mprotect(memory, PAGE, PROT_READ);
        mprotect(memory, PAGE, PROT_READ | PROT_WRITE);
    }
    printf("%d other threads, %d times read-only and back: ", threads, ROUNDS);
    show("");
    stop = 1;
    for (int i = 0; i < threads && i < 16; i++)
        pthread_join(each[i], NULL);
    return 0;
}
