#include "tests/host/vm_paging.h"

#include "vm/phys/vm_page.h"
#include "vm/uvm_pageout.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/uvm_swapoff.h"

static void end_paging() {
    while (true) {
        uvm_swap::facts area;
        if (!uvm_swap::look(0, area) || !uvm_swapoff(const_cast<disk&>(*area.area)))
            break;
    }
    uvm_pdpolicy::paging = false;
    vm_page_set_reserve({});
    vm_page_are_low = false;
    (void)uvm_pdpolicy::choose(uvm_pdpolicy::name(0));
}

// ---- Taking turns ----------------------------------------------------------------------------

paging_machine::paging_machine(uint64_t seed)
    : random_(uint32_t(seed)), turns(seed, [this] { return answer_one(); }) {
    uvm_pdpolicy::paging = true;
}

paging_machine::~paging_machine() {
    turns.settle();
    mend();
    end_paging();
}

sim_disk& paging_machine::add_disk(uint64_t pages) {
    sim_disk& d = disks_.emplace_back("sim", pages, random_());
    d.make_swap();
    return d;
}

status paging_machine::swap_on(sim_disk& d, int priority) {
    TRY(uvm_swap::on(d.device, priority));
    if (!daemon_)
        turns.start([] { uvm_pageout(); }, "page daemon");
    daemon_ = true;
    uvm_pdaemon::begin_paging();
    return {};
}

uint64_t paging_machine::put_out(uint64_t pages) {
    const uint64_t before = vm_page_count_free();
    (void)uvm_pageout_turn(before + pages);
    return vm_page_count_free() - before;
}

void paging_machine::put_all_out() {
    while (put_out(UINT32_MAX) != 0) {
    }
}

bool paging_machine::answer_one() {
    if (disks_.empty())
        return false;
    const size_t first = random_() % disks_.size();
    for (size_t i = 0; i < disks_.size(); i++)
        if (disks_[(first + i) % disks_.size()].answer_one())
            return true;
    return false;
}

bool paging_machine::quiet() const {
    for (const sim_disk& d : disks_)
        if (d.under_way() != 0)
            return false;
    return turns.quiet();
}

void paging_machine::seed(uint64_t seed) {
    random_.seed(uint32_t(seed));
    turns.seed(seed + 1);
    for (sim_disk& d : disks_)
        d.seed(seed + 2);
}

void paging_machine::fail_request_after(uint64_t n) {
    for (sim_disk& d : disks_)
        (void)d.fail_after(n);
}

uint64_t paging_machine::requests_failed() const {
    uint64_t sum = 0;
    for (const sim_disk& d : disks_)
        sum += d.failed();
    return sum;
}

void paging_machine::mend() {
    for (sim_disk& d : disks_) {
        d.mend();
        (void)d.fail_after(0);
    }
}

// ---- As the host lets them run ---------------------------------------------------------------

free_paging_machine::free_paging_machine(uint64_t pages) : disk("sim", pages) {
    uvm_pdpolicy::paging = true;
    disk.make_swap();
    answers_.emplace(disk);
    daemon_.emplace("page daemon", [] { uvm_pageout(); });
    ASSERT(uvm_swap::on(disk.device, 0));
    uvm_pdaemon::begin_paging();
}

free_paging_machine::~free_paging_machine() {
    daemon_.reset();
    end_paging();
}

// ---- Where pages are -------------------------------------------------------------------------

swap_page disk_page_of(swap_slot slot) {
    const uvm_swap::slot_place at = uvm_swap::place(slot);
    return {&sim_disk::of(*at.area), at.page};
}

static page_place place_of(vm_page* page, bool busy, swap_slot slot) {
    page_place p{.there = page || slot,
                 .resident = page && !busy,
                 .busy = busy,
                 .slot = slot,
                 .data = nullptr};
    if (page && !busy)
        p.data = static_cast<const uint8_t*>(page->data());
    else if (!page && slot && slot != slot_of_zeros) {
        const swap_page at = disk_page_of(slot);
        p.data = at.disk->page(at.page);
    }
    return p;
}

page_place place_of(vm_anon& anon) {
    vm_page* page = vm_page_of(anon.physical());
    return place_of(page, page && !anon.page(), anon.slot());
}

page_place place_of(uvm_aobj& object, uint64_t index) NO_THREAD_SAFETY_ANALYSIS {
    uint64_t at = index;
    vm_page* page = object.resident_from(at);
    if (at != index)
        page = nullptr;
    return place_of(page, page && !object.lookup(index), object.slot_of(index));
}
