// The switch between mutants: all changes that tools/mutants makes in the sources are compiled in at once, and
// the one whose number the environment's MUTANT says is the one that is there. Every source that has mutants includes
// this first. Without MUTANT the program is as it was.
#pragma once

#include <type_traits>

// Numbers begin at 1.
inline constexpr unsigned mutants_at_most = 16384;
extern unsigned mutant_chosen;
extern unsigned char mutant_reached[mutants_at_most]; // 1: a test has come by

constexpr bool mutant_on(unsigned number) {
    if consteval {
        return false;
    } else {
        mutant_reached[number] = 1;
        return mutant_chosen == number;
    }
}

// A condition, turned.
template <class T> constexpr bool mutant_turn(unsigned number, const T& condition) {
    return mutant_on(number) != static_cast<bool>(condition);
}
// Bounds, off by one.
template <class A, class B> constexpr bool mutant_lt(unsigned number, const A& a, const B& b) {
    return mutant_on(number) ? a <= b : a < b;
}
template <class A, class B> constexpr bool mutant_le(unsigned number, const A& a, const B& b) {
    return mutant_on(number) ? a < b : a <= b;
}
template <class A, class B> constexpr bool mutant_gt(unsigned number, const A& a, const B& b) {
    return mutant_on(number) ? a >= b : a > b;
}
template <class A, class B> constexpr bool mutant_ge(unsigned number, const A& a, const B& b) {
    return mutant_on(number) ? a > b : a >= b;
}
// Sums and differences, exchanged.
template <class A, class B> constexpr auto mutant_add(unsigned number, const A& a, const B& b) {
    return mutant_on(number) ? a - b : a + b;
}
template <class A, class B> constexpr auto mutant_sub(unsigned number, const A& a, const B& b) {
    return mutant_on(number) ? a + b : a - b;
}
// A flag, lost.
template <class T> constexpr T mutant_none(unsigned number, const T& flag) {
    return mutant_on(number) ? T{} : flag;
}
// An errno that is another one.
template <class T> constexpr T mutant_errno(unsigned number, const T& error) {
    return mutant_on(number) ? static_cast<T>(static_cast<int>(error) == 1 ? 2 : 1) : error;
}
