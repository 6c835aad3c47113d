// Whom a process asks that only one processor knows.
#include "../../lab.h"

#include <fcntl.h>

static long counter(const char* name) {
    static char text[16384];
    int fd = open("/proc/uvmexp", O_RDONLY | O_CLOEXEC);
    lab_need(fd >= 0, "open");
    ssize_t length = 0, n;
    while ((n = read(fd, text + length, sizeof text - 1 - (size_t)length)) > 0)
        length += n;
    text[length] = 0;
    const char* line = strstr(text, name);
    lab_need(close(fd) == 0 && line, name);
    return atol(line + strlen(name));
}

int main(void) {
    alarm(LAB_SECONDS);
    volatile uint64_t* at = lab_map(1);
    const long before = counter("\nshootdown_interrupts ");
    for (int round = 0; round < 1000; round++) {
        lab_need(mprotect((void*)at, LAB_PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
        *at = 1;
        lab_need(mprotect((void*)at, LAB_PAGE, PROT_READ) == 0, "mprotect");
    }
    lab_value("asked", (uint64_t)(counter("\nshootdown_interrupts ") - before));
    return 0;
}
