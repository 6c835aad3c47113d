// The file that says what to run: strings, each ended by a NUL, each KEY=VALUE.
//
//   console=1      on the console's terminal     size=24x80     the terminal's rows and columns
//   cwd=/root      the working directory         env=NAME=VALUE one for each variable
//   arg=WORD       one for each word of the command
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

static bool after(const char* string, const char* key, const char** value) {
    size_t length = strlen(key);
    if (strncmp(string, key, length) != 0)
        return false;
    *value = string + length;
    return true;
}

// The whole file with a NUL after it, which the caller owns; null when it cannot be had.
static char* read_file(const char* path, size_t* size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return NULL;
    char* text = malloc((size_t)status.st_size + 1);
    *size = 0;
    while (text && *size < (size_t)status.st_size) {
        ssize_t count = read(fd, text + *size, (size_t)status.st_size - *size);
        if (count <= 0)
            break;
        *size += (size_t)count;
    }
    close(fd);
    if (text)
        text[*size] = '\0';
    return text;
}

bool read_job(const char* path, struct job* job) {
    size_t size;
    char* text = read_file(path, &size);
    if (!text)
        return false;
    size_t strings = 1;
    for (size_t i = 0; i < size; i++)
        strings += text[i] == '\0';

    *job = (struct job){.directory = "/"};
    job->arguments = calloc(strings + 1, sizeof(char*));
    job->environment = calloc(strings + 1, sizeof(char*));
    if (!job->arguments || !job->environment)
        return false;
    size_t arguments = 0, variables = 0;
    for (char* string = text; string < text + size; string += strlen(string) + 1) {
        const char* value;
        if (after(string, "arg=", &value))
            job->arguments[arguments++] = (char*)value;
        else if (after(string, "env=", &value))
            job->environment[variables++] = (char*)value;
        else if (after(string, "cwd=", &value))
            job->directory = value;
        else if (after(string, "console=", &value))
            job->on_console = strcmp(value, "1") == 0;
        else if (after(string, "size=", &value))
            sscanf(value, "%hux%hu", &job->rows, &job->columns);
    }
    return arguments > 0;
}

void login_shell(struct job* job) {
    static char* arguments[] = {"/bin/sh", "-l", NULL};
    static char* environment[] = {"HOME=/root",
                                  "TERM=vt100",
                                  "USER=root",
                                  "LOGNAME=root",
                                  "PATH=/usr/local/bin:/sbin:/usr/sbin:/bin:/usr/bin",
                                  NULL};
    *job = (struct job){.on_console = true,
                        .directory = "/root",
                        .arguments = arguments,
                        .environment = environment};
}
