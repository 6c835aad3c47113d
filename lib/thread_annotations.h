// Names for clang's thread-safety attributes; empty under GCC. `make lint` checks them.
#pragma once

#if defined(__clang__)
#define SPORK_TSA(x) __attribute__((x))
#else
#define SPORK_TSA(x)
#endif

#define CAPABILITY(x) SPORK_TSA(capability(x))
#define SCOPED_CAPABILITY SPORK_TSA(scoped_lockable)
#define GUARDED_BY(x) SPORK_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) SPORK_TSA(pt_guarded_by(x))
#define REQUIRES(...) SPORK_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) SPORK_TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) SPORK_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) SPORK_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) SPORK_TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) SPORK_TSA(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) SPORK_TSA(release_generic_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) SPORK_TSA(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) SPORK_TSA(locks_excluded(__VA_ARGS__))
#define ASSERT_CAPABILITY(x) SPORK_TSA(assert_capability(x))
#define ASSERT_SHARED_CAPABILITY(x) SPORK_TSA(assert_shared_capability(x))
#define RETURN_CAPABILITY(x) SPORK_TSA(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS SPORK_TSA(no_thread_safety_analysis)

// What clang cannot follow is said to the reader, and to tools/fields, which wants a word at each
// field of what several threads know.
//
//   OWNED_BY_THREAD        of a thread: touched by the thread itself, and before its first run by its
//                          maker. Where others look, they see it as it was a moment ago.
//   CONSTANT_ONCE_SHARED   set before others can find the object, and not changed then.
//   GUARD_UNCHECKED(lock)  guarded: by a lock of another object that is known at run time only, or
//                          read without it by the one thread that may change it.
#define OWNED_BY_THREAD
#define CONSTANT_ONCE_SHARED
#define GUARD_UNCHECKED(...)
