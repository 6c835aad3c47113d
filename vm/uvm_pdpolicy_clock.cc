// Second chance.
#include "vm/uvm_pdpolicy_impl.h"

bool second_chance::spares(vm_page& page, bool referenced) {
    if (referenced)
        skip(page);
    return referenced;
}

page_policy& second_chance_policy() {
    static constinit second_chance policy{"second-chance"};
    return policy;
}
