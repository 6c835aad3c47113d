// Marks for functions that have no errno by which to say that there was no memory.
//
// NO_ALLOC before a declaration: neither the function nor anything that it calls allocates. The end
// of an object (last_reference_gone) needs no mark. MAY_LOSE("what is lost, and why nobody minds")
// before a definition: this one may, since what it then cannot do may be left out. tools/no-alloc
// (make lint) finds both by the sections that they put functions into, and follows the calls.
#pragma once

#if SPORK_HOST // is not searched; and inline functions and others may not share a section there
#define NO_ALLOC
#define MAY_LOSE(why)
#else
#define NO_ALLOC [[gnu::noinline, gnu::section(".text.no_alloc")]]
#define MAY_LOSE(why) [[gnu::noinline, gnu::section(".text.may_lose")]]
#endif
