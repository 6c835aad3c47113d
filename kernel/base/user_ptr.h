// user_ptr<T>: an address in the running program, as a system call gets it. It cannot be
// dereferenced; read() and write() go through arch/uaccess.h and give EFAULT for a bad one.
#pragma once

#include "arch/uaccess.h"
#include "lib/result.h"
#include "lib/types.h"

#include <type_traits>

template <class T> class user_ptr {
public:
    constexpr user_ptr() = default;
    constexpr explicit user_ptr(vaddr_t address) : address_(address) {}
    constexpr explicit user_ptr(uint64_t address) : address_(address) {}

    constexpr vaddr_t address() const { return address_; }
    constexpr explicit operator bool() const { return address_.value() != 0; }
    template <class U> constexpr user_ptr<U> as() const { return user_ptr<U>(address_); }

    // May sleep; EFAULT.
    auto read() const
        requires(!std::is_void_v<T>)
    {
        return read_at(0);
    }
    expected<std::remove_const_t<T>> read_at(size_t index) const
        requires(!std::is_void_v<T> && std::is_trivially_copyable_v<T>)
    {
        std::remove_const_t<T> value;
        TRY(copy_in(&value, address_ + index * sizeof(T), sizeof(T)));
        return value;
    }
    status write(const T& value) const
        requires(!std::is_const_v<T> && !std::is_void_v<T>)
    {
        return copy_out(address_, &value, sizeof(T));
    }
    status write_at(size_t index, const T& value) const
        requires(!std::is_const_v<T> && !std::is_void_v<T>)
    {
        return copy_out(address_ + index * sizeof(T), &value, sizeof(T));
    }

private:
    vaddr_t address_{};
};
// Untyped memory.
template <> class user_ptr<void> {
public:
    constexpr user_ptr() = default;
    constexpr explicit user_ptr(vaddr_t address) : address_(address) {}
    constexpr explicit user_ptr(uint64_t address) : address_(address) {}
    constexpr vaddr_t address() const { return address_; }
    constexpr explicit operator bool() const { return address_.value() != 0; }
    template <class U> constexpr user_ptr<U> as() const { return user_ptr<U>(address_); }

private:
    vaddr_t address_{};
};
