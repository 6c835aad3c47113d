// marked PROGRAM ARGUMENT...: says to a plugin of QEMU's (tools/qemu/references.c) that from here on the
// machine is the program's, by a long no-op, and becomes it.
#include <stdio.h>
#include <unistd.h>

int main(int argc, char** argv) {
    if (argc < 2)
        return 2;
    __asm__ volatile("nopl 0x5a5b0000(%%rax)" ::: "memory");
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
