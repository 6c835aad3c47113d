// expected<T> and status: what a function that can fail returns. Both are [[nodiscard]], and
// TRY is the one-line way to pass an error on:
//
//     auto page = TRY(allocate_page());
#pragma once

#include "lib/errno.h"

#include <expected>
#include <utility>

template <class T> class [[nodiscard]] expected : public std::expected<T, Errno> {
public:
    using std::expected<T, Errno>::expected;
};

using status = expected<void>;

// return fail(Errno::nomem);
[[nodiscard]] constexpr std::unexpected<Errno> fail(Errno e) { return std::unexpected<Errno>(e); }

// The value of `expression`, or a return of its error from the enclosing function. Not beside
// another TRY whose value has a destructor, in a list of arguments or of members: the return runs
// no destructor of an object that is half made, or of an argument of a call not yet made.
#define TRY(expression)                                                                            \
    ({                                                                                             \
        auto try_result_ = (expression);                                                           \
        if (!try_result_.has_value()) [[unlikely]]                                                 \
            return std::unexpected<Errno>(try_result_.error());                                    \
        detail::take(try_result_);                                                                 \
    })

namespace detail {
template <class T> constexpr T take(expected<T>& r) {
    if constexpr (!std::is_void_v<T>)
        return std::move(*r);
}
} // namespace detail
