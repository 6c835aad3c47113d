// Some page or other: what any cleverer policy has to be better than.
//
// A hand goes round the pages in strides of 1 to 32, so that each page that it comes past goes with the
// same chance whatever its past, and nobody has to know where the n-th page is.
#include "vm/uvm_pdpolicy_impl.h"

namespace {

class random_choice final : public one_list_policy {
public:
    constexpr random_choice() : one_list_policy("random") {}

    status begin(uint64_t) override {
        state_ = 1;
        return {};
    }

    void dequeue(vm_page& page) override {
        if (&page == hand_)
            hand_ = pages_.next(page);
        one_list_policy::dequeue(page);
    }

    vm_page* select_victim() override {
        state_ = state_ * 6364136223846793005 + 1442695040888963407; // Knuth's MMIX
        for (uint64_t stride = (state_ >> 59) + 1; stride != 0; stride--)
            hand_ = after(hand_);
        return hand_;
    }

    void skip(vm_page&) override {}
    bool spares(vm_page&, bool) override { return false; }

private:
    vm_page* after(vm_page* page) const {
        vm_page* next = page ? pages_.next(*page) : nullptr;
        return next ? next : pages_.front();
    }

    vm_page* hand_ = nullptr;
    uint64_t state_ = 1;
};

} // namespace

page_policy& random_policy() {
    static constinit random_choice policy;
    return policy;
}
