#include "vm/vm_aftermath.h"

#include "vm/phys/pool.h"

static constinit pool<vm_aftermath> aftermath_pool{"vm_aftermath"};
static constinit std::atomic<uint64_t> forks{0};

ref_ptr<vm_aftermath> vm_aftermath::create() {
    const uint64_t number = forks.fetch_add(1, std::memory_order_relaxed);
    return ref_ptr<vm_aftermath>::adopt(aftermath_pool.create(number));
}

void vm_aftermath::last_reference_gone() { aftermath_pool.destroy(this); }

const char* vm_aftermath::name(kind k) {
    static constexpr const char* names[] = {
#define X(name, text) #name,
        VM_AFTERMATH(X)
#undef X
    };
    return names[unsigned(k)];
}

void remembered_fork::keep_later(const remembered_fork& other) {
    if (other.aftermath && (!aftermath || other.aftermath->later_than(*aftermath)))
        *this = other;
}
