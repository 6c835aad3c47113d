#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char** environ;

/* Linked with the library that was built: printf with a number, malloc, and posix_spawn. */
int main(void) {
    char* words[] = {"sh", "-c", "exit 7", 0};
    char* text = malloc(100);
    pid_t child;
    int status = 0;
    strcpy(text, "linked with the libc that was built here");
    int error = posix_spawn(&child, "/bin/sh", 0, 0, words, environ);
    waitpid(child, &status, 0);
    printf("%s: %d %d %.3f\n", text, error, WEXITSTATUS(status), 2.5);
    return 11;
}
