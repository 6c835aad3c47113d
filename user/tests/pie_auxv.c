// The auxiliary vector of a static position-independent executable, which the kernel has put
// somewhere else than it was linked for.
#include "auxv.c"
