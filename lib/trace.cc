// The switches of the trace points, and their names.
#include "lib/trace.h"

#include <string_view>

namespace trace {

std::atomic<uint32_t> wanted{0};

namespace {

std::atomic<uint32_t> ring_wants{0}, hook_wants{0};
std::atomic<hook> the_hook{nullptr};

constexpr const char* category_names[] = {
#define TRACE_CATEGORY(name, text) #name,
#include "lib/trace_points.inc"
};

constexpr const char* point_names[] = {
#define TRACE_POINT(category, name, literature, text, ...) #name,
#include "lib/trace_points.inc"
};

void update() { wanted.store(ring_wants.load() | hook_wants.load()); }

} // namespace

void set_ring_categories(uint32_t bits) {
    ring_wants.store(bits & all_categories);
    update();
}

uint32_t ring_categories() { return ring_wants.load(std::memory_order_relaxed); }

void set_hook(hook h, uint32_t categories) {
    the_hook.store(h);
    hook_wants.store(h ? categories : 0);
    update();
}

bool wanted_by_ring(category c) { return ring_wants.load(std::memory_order_relaxed) & bit(c); }

hook wanted_by_hook(category c) {
    if (!(hook_wants.load(std::memory_order_relaxed) & bit(c)))
        return nullptr;
    return the_hook.load(std::memory_order_acquire);
}

const char* category_name(category c) { return category_names[unsigned(c)]; }
const char* point_name(point id) { return point_names[unsigned(id)]; }

uint32_t parse_categories(const char* list) {
    uint32_t bits = 0;
    std::string_view rest(list);
    while (!rest.empty()) {
        const size_t comma = rest.find(',');
        const std::string_view word = rest.substr(0, comma);
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
        uint32_t found = word == "all" ? all_categories : 0;
        for (unsigned i = 0; i < unsigned(category::count); i++)
            if (word == category_names[i])
                found = uint32_t{1} << i;
        if (!found)
            return 0;
        bits |= found;
    }
    return bits;
}

} // namespace trace
