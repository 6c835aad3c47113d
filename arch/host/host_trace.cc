#include "host_trace.h"

#include <mutex>
#include <utility>

namespace {
std::mutex events_lock;
std::vector<host_event> events;
} // namespace

void trace::deliver(point id, category c, const void* fields, size_t size) {
    if (wanted_by_ring(c)) {
        const auto* bytes = static_cast<const unsigned char*>(fields);
        std::lock_guard guard(events_lock);
        events.push_back({id, {bytes, bytes + size}});
    }
    if (hook call = wanted_by_hook(c))
        call(id, fields, size);
}

host_trace::host_trace(uint32_t categories) {
    events.clear();
    trace::set_ring_categories(categories);
}

host_trace::~host_trace() { trace::set_ring_categories(0); }

std::vector<host_event> host_trace::take() {
    std::lock_guard guard(events_lock);
    return std::exchange(events, {});
}
