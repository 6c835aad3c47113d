// The kinds that an event may have (lib/trace_points.def), for headers that only hand them on: a new
// event compiles none of what includes those.
#pragma once

#include <cstdint>

namespace trace {

enum class call_kind : uint32_t;
enum class fault_kind : uint32_t;
enum class inherit_outcome : uint32_t;
enum class write_right : uint32_t;

} // namespace trace
