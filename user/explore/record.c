// record COMMAND [ARGUMENT...]: executes a command as a recorded process (docs/explorer.md).
#include "explore.h"

int main(int count, char** arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: record COMMAND [ARGUMENT...]\n");
        return 2;
    }
    record_begin();
    if (!recording) {
        fprintf(stderr, "record: /proc/self/record: %s\n", strerror(errno));
        return 1;
    }
    execvp(arguments[1], arguments + 1);
    fprintf(stderr, "record: %s: %s\n", arguments[1], strerror(errno));
    return 127;
}
