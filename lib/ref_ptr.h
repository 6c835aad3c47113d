// Shared ownership by intrusive reference counts.
//
// A class derives from ref_counted<T> and provides `void last_reference_gone()`, which gives
// the object back to wherever it came from (its pool). A raw pointer never owns. What nobody may
// change any more is held by ref_ptr<const T>.
//
// It also declares `end_takes`: the lowest rank of the locks that its end may take, itself or by
// what it drops in its turn. A reference may be dropped only where a lock of that rank may be
// taken, whether or not it is the last: who holds the others is nobody's business here, and they
// may all be gone by now. Builds with checks panic at any drop that breaks this, and at an end that
// takes a lock below the rank it declares.
#pragma once

#include "lib/assert.h"
#include "lib/lock_rank.h"

#include <atomic>
#include <cstdint>
#include <utility>

template <class T> class ref_counted {
public:
    ref_counted() = default;
    ref_counted(const ref_counted&) = delete;
    ref_counted& operator=(const ref_counted&) = delete;

    void add_reference() const;
    void drop_reference() const;
    // Of an object to which the caller keeps another reference until it returns: no end, so that
    // any lock may be held.
    void drop_spare_reference();
    // As drop_reference(), but leaves the end of the object to the caller: returns whether this was
    // the last reference. For chains of objects, which are freed in a loop.
    [[nodiscard]] bool drop_reference_and_keep();
    // For look-ups in a table that does not own: takes a reference unless the last one is gone.
    bool try_add_reference();
    uint32_t references() const { return references_.load(std::memory_order_acquire); }

private:
    // A class's, or an object's own.
    lock_rank lowest() const { return static_cast<const T*>(this)->end_takes; }

    mutable std::atomic<uint32_t> references_{1};
};

template <class T> class ref_ptr {
public:
    constexpr ref_ptr() = default;
    constexpr ref_ptr(std::nullptr_t) {}
    // A further reference to an object that somebody else keeps alive during the call.
    explicit ref_ptr(T* object) : object_(object) {
        if (object_)
            object_->add_reference();
    }
    // Takes over the reference that the caller owns (a new object is born with one).
    static ref_ptr adopt(T* object) {
        ref_ptr p;
        p.object_ = object;
        return p;
    }
    // What a table has found that owns nothing: null if its last reference is gone.
    static ref_ptr unless_ending(T* object) {
        return object && object->try_add_reference() ? adopt(object) : nullptr;
    }
    ref_ptr(const ref_ptr& other) : ref_ptr(other.object_) {}
    ref_ptr(ref_ptr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    template <class U>
        requires std::is_convertible_v<U*, T*>
    ref_ptr(const ref_ptr<U>& other) : ref_ptr(static_cast<T*>(other.get())) {}
    template <class U>
        requires std::is_convertible_v<U*, T*>
    ref_ptr(ref_ptr<U>&& other) noexcept : object_(other.leak()) {}
    ~ref_ptr() {
        if (object_)
            object_->drop_reference();
    }
    ref_ptr& operator=(ref_ptr other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }

    T* get() const { return object_; }
    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }
    explicit operator bool() const { return object_ != nullptr; }
    friend bool operator==(const ref_ptr& a, const ref_ptr& b) { return a.object_ == b.object_; }
    void reset() { *this = ref_ptr(); }
    // As reset(), of a reference that is known not to be the last: see drop_spare_reference().
    void reset_spare() {
        if (T* object = leak())
            object->drop_spare_reference();
    }
    // As reset(), but leaves the end of the object to the caller, and then returns it: see
    // drop_reference_and_keep().
    [[nodiscard]] T* reset_and_keep() {
        T* object = leak();
        return object && object->drop_reference_and_keep() ? object : nullptr;
    }
    // Hands the reference over to the caller, who must adopt() or drop it.
    [[nodiscard]] T* leak() { return std::exchange(object_, nullptr); }

private:
    T* object_ = nullptr;
};

// A reference that is let go of early: before the end of what holds it, for the one may end where
// the other must not, under a spin lock. So the holder need not know the type, and may lie below it.
template <class T> class early_ref {
public:
    constexpr early_ref() = default;
    early_ref(const early_ref&) = delete;
    early_ref& operator=(const early_ref&) = delete;
    ~early_ref() { ASSERT(!object_); }
    early_ref& operator=(ref_ptr<T> other) {
        (void)exchange(std::move(other));
        return *this;
    }

    T* get() const { return object_; }
    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }
    explicit operator bool() const { return object_ != nullptr; }
    friend bool operator==(const early_ref& a, const early_ref& b) {
        return a.object_ == b.object_;
    }
    operator ref_ptr<T>() const { return ref_ptr<T>(object_); } // one more
    // Puts `next` here; returns what was there.
    [[nodiscard]] ref_ptr<T> exchange(ref_ptr<T> next) {
        return ref_ptr<T>::adopt(std::exchange(object_, next.leak()));
    }
    [[nodiscard]] ref_ptr<T> take() { return exchange({}); }
    void reset() { (void)take(); }

private:
    T* object_ = nullptr;
};

// ---- How references are counted, and ends looked after

#if SPORK_CHECKS
// Panics if a lock is held that forbids taking one of `lowest`.
void assert_may_end(lock_rank lowest);
// Around an end: until then no lock below `lowest` may be taken. One of a spin lock's rank keeps
// interrupts off and may not sleep.
class end_of_object {
public:
    explicit end_of_object(lock_rank lowest);
    ~end_of_object();
    end_of_object(const end_of_object&) = delete;

private:
    const bool spins_;
};
#else
inline void assert_may_end(lock_rank) {}
struct end_of_object {
    explicit end_of_object(lock_rank) {}
};
#endif

template <class T> inline void ref_counted<T>::add_reference() const {
    [[maybe_unused]] uint32_t before = references_.fetch_add(1, std::memory_order_relaxed);
    CHECK_ASSERT(before != 0);
}

template <class T> inline void ref_counted<T>::drop_reference() const {
    assert_may_end(lowest());
    uint32_t before = references_.fetch_sub(1, std::memory_order_acq_rel);
    ASSERT(before != 0);
    if (before != 1)
        return;
    [[maybe_unused]] end_of_object ending(lowest());
    const_cast<T*>(static_cast<const T*>(this))->last_reference_gone();
}

template <class T> inline void ref_counted<T>::drop_spare_reference() {
    uint32_t before = references_.fetch_sub(1, std::memory_order_acq_rel);
    ASSERT(before > 1);
}

template <class T> inline bool ref_counted<T>::drop_reference_and_keep() {
    assert_may_end(lowest());
    uint32_t before = references_.fetch_sub(1, std::memory_order_acq_rel);
    ASSERT(before != 0);
    return before == 1;
}

template <class T> inline bool ref_counted<T>::try_add_reference() {
    uint32_t n = references_.load(std::memory_order_relaxed);
    while (n != 0)
        if (references_.compare_exchange_weak(n, n + 1, std::memory_order_acquire))
            return true;
    return false;
}
