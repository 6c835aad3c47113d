// The same with glibc, as a static position-independent executable.
#include "malloc_stdio.c"
