// What makes and ends processes, and what they are bound by, in vm/ and in the model.
#include "tests/host/vm_insides.h"
#include "tests/host/vm_model_state.h"
#include "vm/phys/alloc_fail.h"

#include <algorithm>
#include <optional>

namespace vm_model {

// ---- fork, vfork, exec, exit -----------------------------------------------------------------

void model::fork(process& p, uint32_t value) {
    if (processes_.size() == most_processes)
        return;
    auto memory = std::make_shared<space>(*p.memory);
    uint64_t promise = 0;
    for (page& c : memory->pages) {
        c.wired = c.on_fault = false;
        if (!c.mapped)
            continue;
        if (c.shared && c.inherit != vm_inherit::share)
            c.charged = allows(c.prot, vm_prot::write); // its own copy of something shared
        switch (c.inherit) {
        case vm_inherit::none: c = {}; break;
        case vm_inherit::share: break; // the cell too
        case vm_inherit::zero:
            c.shared = false;
            c.object = nullptr;
            c.index = 0;
            c.own = std::make_shared<cell>();
            break;
        case vm_inherit::copy:
            c.shared = false;
            c.own = c.own ? std::make_shared<cell>(*c.own) : std::make_shared<cell>();
            break;
        }
        promise += c.charged;
    }
    ref_ptr<vm_aftermath> later = vm_aftermath::create();
    bool refused = would_refuse(promise);
    std::optional<insides> before;
    if (refused || injected_) {
        paging_.turns.settle(); // what goes meanwhile is not mapped any more
        before.emplace(*p.vm);
    }
    auto got = p.vm->fork({fork_mode(value % 3), later});
    if (!got) {
        expect(got.error() == Errno::nomem && (refused || injected_), "fork's errno");
        expect(before->may_be_left_as(insides(*p.vm)), "the parent of a fork that has failed");
        return;
    }
    expect(!refused, "a fork that was promised too much");
    processes_.push_back({*got, std::move(memory), p.limits});
}

void model::vfork(process& p) {
    if (processes_.size() < most_processes)
        processes_.push_back(process(p));
}

void model::exec(process& p) {
    auto fresh = vmspace::create();
    if (!fresh) {
        expect(injected_, "an address space for exec");
        return;
    }
    bool alone = p.memory.use_count() == 1;
    const vmspace* before = p.vm.get();
    p.vm = vmspace::exec(std::move(p.vm), std::move(*fresh));
    expect((p.vm.get() == before) == alone, "exec reuses what is its own, and that alone");
    add_space(p);
}

void model::exit(process& p) {
    processes_.erase(processes_.begin() + (&p - processes_.data()));
    if (processes_.empty()) {
        fail_nothing();
        processes_.push_back(start_process());
    }
}

// ---- Limits, switches
// --------------------------------------------------------------------------------

amounts model::amounts_of(const process& p, unsigned first, unsigned end) {
    amounts sum;
    for (unsigned i = first; i < end; i++)
        sum.add(p.at(i));
    return sum;
}

bool model::over_memlock(const process& p, uint64_t more) {
    return amounts_of(p, 0, window).locked + more > p.limits.memlock;
}

bool model::over_limits(const process& p, const amounts& more) {
    const amounts now = amounts_of(p, 0, window);
    const auto& limits = p.limits;
    return (more.mapped && now.mapped + more.mapped > limits.address_space) ||
           (more.data && now.data + more.data > limits.data);
}

// A limit that is near what there is, also below it; or none.
void model::limit(process& p, uint32_t value) {
    auto set = [&](uint64_t now, uint64_t& limit) {
        const uint64_t most = now + (value >> 8) % 16, less = (value >> 16) % 8;
        const bool none = value / 3 % 3 == 0;
        limit = none ? UINT64_MAX : most > less ? most - less : 0;
    };
    const amounts now = amounts_of(p, 0, window);
    switch (value % 3) {
    case 0: set(now.mapped, p.limits.address_space); break;
    case 1: set(now.data, p.limits.data); break;
    default: set(now.locked, p.limits.memlock); break;
    }
}

// vm/ asks for the limits of whoever calls.
void model::runs(const process& p) {
    auto bytes = [](uint64_t n) { return n == UINT64_MAX ? vm_unlimited : ::pages(n); };
    ::limits = {.address_space = bytes(p.limits.address_space),
                .data = bytes(p.limits.data),
                .memlock = bytes(p.limits.memlock)};
    vm_limit_of_caller = limit_of_test;
}

void model::overcommit(uint32_t value) {
    // Not while there is shared memory that was not promised: the model does not know which pages
    // of it are charged for already, and the others may be refused.
    const bool unpromised = std::any_of(anonymous_.begin(), anonymous_.end(), [](const auto& o) {
        object_ref alive = o.lock();
        return alive && alive->charged == 0;
    });
    strict_ = value % 2 && !unpromised;
    uint64_t most = uvm_commit::committed() + (value >> 8) % 96, less = (value >> 16) % 32;
    less += uvm_swap::pages();
    limit_ = most > less ? most - less : 1; // 0 would be no limit
    uvm_commit::set_kbytes(strict_ ? limit_ * (page_size / 1024) : 0);
    uvm_commit::set_mode(strict_         ? uvm_commit::mode::strict
                         : value / 2 % 2 ? uvm_commit::mode::always
                                         : uvm_commit::mode::heuristic);
}

void model::switches(uint32_t value) {
    uvm_fault_ahead_enabled = value & 1;
    uvm_zero_page_enabled = value & 2;
    uvm_rights_ahead_enabled = value & 4;
}

} // namespace vm_model
