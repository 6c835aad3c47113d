#include "vm/vm_aftermath.h"

#include "lib/trace.h"
#include "vm/phys/pool.h"

#include <algorithm>

static constinit pool<vm_aftermath> aftermath_pool{"vm_aftermath"};
static constinit std::atomic<uint64_t> forks{0};

ref_ptr<vm_aftermath> vm_aftermath::create() {
    const uint64_t number = forks.fetch_add(1, std::memory_order_relaxed);
    return ref_ptr<vm_aftermath>::adopt(aftermath_pool.create(number));
}

uint32_t vm_aftermath::now() { return uint32_t(forks.load(std::memory_order_relaxed)); }

void vm_aftermath::last_reference_gone() { aftermath_pool.destroy(this); }

bool vm_aftermath::nothing_yet(side s) const {
    return std::ranges::all_of(counts_[unsigned(s)], [](const auto& n) { return n == 0; });
}

const char* vm_aftermath::name(kind k) {
    static constexpr const char* names[] = {
#define X(name, text) #name,
        VM_AFTERMATH(X)
#undef X
    };
    return names[unsigned(k)];
}

void remembered_fork::count(trace::fault_kind fault, bool write) const {
    using enum vm_aftermath::kind;
    using enum trace::fault_kind;
    if (!aftermath) [[likely]]
        return;
    switch (fault) {
    case case_1a: return aftermath->count(side, write ? write_reused : read_anon);
    case takeover: return aftermath->count(side, write_reused);
    case case_1b: return aftermath->count(side, write_copied);
    case case_2a: return aftermath->count(side, read_object);
    default: return;
    }
}

void remembered_fork::count(trace::write_right how) const {
    using enum trace::write_right;
    if (aftermath && how != amap_made)
        aftermath->count(side, how == amap_copied ? vm_aftermath::kind::amap_copied
                                                  : vm_aftermath::kind::amap_reused);
}

void remembered_fork::keep_later(const remembered_fork& other) {
    if (other.aftermath && (!aftermath || other.aftermath->later_than(*aftermath)))
        *this = other;
}
