// The same with glibc.
#include "malloc_stdio.c"
