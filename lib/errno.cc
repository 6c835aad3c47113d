#include "lib/errno.h"

const char* errno_name(Errno e) {
    switch (e) {
#define X(number, name, text)                                                                      \
    case Errno::name: return text;
        SPORK_ERRNO_LIST(X)
#undef X
    }
    return "E?";
}
