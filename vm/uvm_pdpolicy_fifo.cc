// First in, first out, used or not (Belady, Nelson and Shedler 1969: its anomaly).
#include "vm/uvm_pdpolicy_impl.h"

namespace {

class fifo final : public one_list_policy {
public:
    constexpr fifo() : one_list_policy("fifo") {}
    bool spares(vm_page&, bool) override { return false; }
};

} // namespace

page_policy& fifo_policy() {
    static constinit fifo policy;
    return policy;
}
