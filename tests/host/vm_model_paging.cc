// What goes out to disks and comes back, of which no program sees anything: swapon, swapoff, the
// page daemon, and disks that fail. Some of it goes on beside the operations that follow, in threads
// that take turns with theirs.
#include "tests/host/vm_model_state.h"
#include "vm/phys/alloc_fail.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/uvm_swapoff.h"

#include <optional>

namespace vm_model {

// Its pages, if it is on.
static std::optional<uint64_t> pages_of(const sim_disk& d) {
    uvm_swap::facts area;
    for (unsigned n = 0; uvm_swap::look(n, area); n++)
        if (area.area == &d.device)
            return area.pages;
    return {};
}
static bool is_on(const sim_disk& d) { return pages_of(d).has_value(); }

bool model::too_much_is_promised_without(const sim_disk& d) const {
    return strict_ && committed_ > limit_ + uvm_swap::pages() - pages_of(d).value_or(0);
}

// Each slot that is in use belongs to one of those that say so, and to no other.
void model::compare_swap(uint64_t slots) {
    uvm_swap::check();
    uint64_t used = 0;
    uvm_swap::facts area;
    for (unsigned n = 0; uvm_swap::look(n, area); n++)
        used += area.used;
    expect(used == slots, "slots of swap that nobody has, or that two have");
}

void model::swap_on(uint32_t value) {
    sim_disk& d = paging_.disks()[value % paging_.disks().size()];
    const bool on = is_on(d);
    if (!on && value / 2 % 2)
        d.make_swap({1 + value / 4 % 5, 7, 8, uint32_t(10 + value / 32 % 10)});
    else if (!on)
        d.make_swap();
    const status got = paging_.swap_on(d, value / 1024 % 3 == 0 ? -1 : int(value / 4096 % 3));
    if (injected_ && !got && !on)
        return expect(!is_on(d), "swapon that has failed");
    expect(error_of(got) == (on ? Errno::busy : Errno{}), "swapon's errno");
}

// Slot after slot is emptied, and what has come stays in memory also where the rest does not.
void model::swap_off(uint32_t value) {
    sim_disk& d = paging_.disks()[value % paging_.disks().size()];
    const bool closing = swapoff_.under_way && swapoff_.of == &d, on = is_on(d);
    const bool refused = too_much_is_promised_without(d);
    if (on && !swapoff_.under_way && !injected_ && value / 2 % 2) {
        swapoff_ = {.under_way = true,
                    .of = &d,
                    .refused = refused,
                    .failed_before = paging_.requests_failed()};
        paging_.turns.start([this] {
            swapoff_.result = uvm_swapoff(swapoff_.of->device);
            swapoff_.ended = true;
        });
        return;
    }
    const status got = uvm_swapoff(d.device);
    if (swapoff_.ended && closing) // while this one was about to begin
        return;
    const Errno want = !on       ? Errno::inval
                       : closing ? Errno::busy
                       : refused ? Errno::nomem
                                 : Errno{};
    if (injected_ && want == Errno{} && !got)
        expect(got.error() == Errno::io || got.error() == Errno::nomem, "a failed swapoff's errno");
    else
        expect(error_of(got) == want, "swapoff's errno");
    expect(is_on(d) == (on && !got), "an area that is on or off");
}

void model::look_at_swapoffs() {
    if (!swapoff_.ended)
        return;
    if (!swapoff_.result) {
        const bool failed = paging_.requests_failed() != swapoff_.failed_before;
        expect(swapoff_.result.error() == (failed ? Errno::io : Errno::nomem) &&
                   (failed || swapoff_.refused),
               "the errno of a swapoff beside other operations");
    }
    expect(is_on(*swapoff_.of) == !swapoff_.result, "an area that is on or off");
    swapoff_ = {};
}

void model::page_out(uint32_t value) {
    if (!injected_ && value / 64 % 4 == 0) {
        unsigned policies = 0;
        while (uvm_pdpolicy::name(policies))
            policies++;
        expect(bool(uvm_pdpolicy::choose(uvm_pdpolicy::name(value / 256 % policies))), "a policy");
    }
    const uint64_t count = 1 + value % 32;
    if (daemon_at_work_)
        paging_.turns.settle();
    if (!injected_ && value / 32 % 2) {
        daemon_at_work_ = true;
        paging_.turns.start([this, count] {
            (void)paging_.put_out(count);
            daemon_at_work_ = false;
        });
        return;
    }
    (void)paging_.put_out(count);
    expect(!allocation_failed(), "the daemon allocates");
}

// ---- Disks that fail -------------------------------------------------------------------------

void model::disk_error(process& p, unsigned first, uint32_t value) {
    fail_nothing();
    paging_.turns.settle();
    look_at_swapoffs();
    if (value % 4 == 0)
        return write_error(value);
    for (unsigned i = first; i < window; i++) {
        if (!p.at(i).mapped)
            continue;
        real_page real;
        {
            read_guard guard(p.vm->map_for_tests().lock());
            real = look(*p.vm->map_for_tests().lookup(address(i)), address(i));
        }
        if (real.out() && real.place.slot != slot_of_zeros)
            return read_error(p, i, real.place.slot, value);
    }
}

// Who wants the page gets the signal, each time; swapoff fails; nobody else notices.
void model::read_error(process& p, unsigned at, swap_slot slot, uint32_t value) {
    const page& x = p.at(at);
    const vaddr_t byte = address(at) + offsets[value / 4 % samples];
    const swap_page where = disk_page_of(slot);
    where.disk->spoil(disk_operation::read, where.page);
    for (int times = 0; times < 2; times++) {
        expect(load(p.vm, byte) == (x.prot != vm_prot::none ? adrerr : accerr),
               "a load from a page that can not be read");
        expect(store(p.vm, byte, 1) == (allows(x.prot, vm_prot::write) ? adrerr : accerr),
               "a store to a page that can not be read");
    }
    uint8_t some;
    expect(!p.vm->read_memory(byte, &some, 1), "read_memory of a page that can not be read");
    compare();
    if (value / 64 % 2) {
        const bool refused = too_much_is_promised_without(*where.disk);
        expect(error_of(uvm_swapoff(where.disk->device)) == (refused ? Errno::nomem : Errno::io) &&
                   is_on(*where.disk),
               "swapoff of a page that can not be read");
        compare();
    }
    where.disk->mend();
    if (x.prot != vm_prot::none)
        expect(reads(p, at, value / 4 % samples, load(p.vm, byte)),
               "a page that can be read again");
}

// The pages stay, and the slots are lost.
void model::write_error(uint32_t value) {
    sim_disk& d = paging_.disks()[value / 4 % paging_.disks().size()];
    for (uint64_t n = 1; n < d.device.is.sectors / (page_size / sector_size); n++)
        if (value / 8 % 2 == 0 || n % 3 == 0)
            d.spoil(disk_operation::write, n);
    (void)paging_.put_out(1 + value / 16 % 20);
    compare();
    d.mend();
}

} // namespace vm_model
