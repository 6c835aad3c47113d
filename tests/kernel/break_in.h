// What the defences of the kernel are there to stop, done: what the command line's `break_in=` names. What is said
// then is in tests/system/test_defences.py.
#pragma once

// stack-smashed    a string that is longer than the array on the stack into which it goes
// recursion        a function that calls itself for ever
// write-constant   a store to a constant
// write-code       a store to the kernel's code, by its own address
// write-alias      the same, by that in the direct map
// run-data         a jump to a variable
// run-heap         a jump to memory that was allocated
// run-program      a jump to a program's memory
// read-program     a load from a program's memory, without an accessor
// write-program    a store to it
//
// Anything else does nothing. Panics in any case, also when it is not stopped.
void break_in(const char* how);
