// Trace points on the host: what they tell of a fork and of the write after it is what happened.
#include "arch/host/host_trace.h"
#include "tests/host/vm_world.h"
#include "vm/phys/event.h"

#include <algorithm>

namespace {

template <class Event> std::vector<Event> all_of(const std::vector<host_event>& events) {
    std::vector<Event> found;
    for (const host_event& e : events)
        if (e.is<Event>())
            found.push_back(e.as<Event>());
    return found;
}

unsigned hook_calls;
void count_call(trace::point, const void*, size_t) { hook_calls++; }

} // namespace

TEST_CASE("trace: categories by name") {
    CHECK(trace::parse_categories("all") == trace::all_categories);
    CHECK(trace::parse_categories("fault,pmap") ==
          (trace::bit(trace::category::fault) | trace::bit(trace::category::pmap)));
    CHECK(trace::parse_categories("fault,nonsense") == 0);
    CHECK(trace::parse_categories("") == 0);
    CHECK(trace::point_name(trace::point::fork_begin) == std::string("fork_begin"));
}

TEST_CASE("trace: a point whose category is off computes nothing") {
    bool computed = false;
    auto compute = [&] {
        computed = true;
        return uint64_t{1};
    };
    EVENT(vmspace_unmapped, .vmspace = compute());
    CHECK_FALSE(computed);
    host_trace sink(trace::bit(trace::category::vmspace));
    EVENT(vmspace_unmapped, .vmspace = compute());
    CHECK(computed);
    CHECK(sink.take().size() == 1);
}

TEST_CASE("trace: the hook is called without the ring") {
    hook_calls = 0;
    trace::set_hook(count_call, trace::bit(trace::category::commit));
    EVENT(commit_charged, .pages = 1, .committed = 1);
    EVENT(page_zeroed, .page = uint64_t{0}, .kind = trace::page_kind::anon);
    trace::set_hook(nullptr);
    EVENT(commit_charged, .pages = 1, .committed = 1);
    CHECK(hook_calls == 1);
}

TEST_CASE("trace: texts are cut to what fits") {
    CHECK(trace::text("0123456789abcdefghij").bytes == std::string("0123456789abcde"));
    CHECK(trace::text(nullptr).bytes == std::string());
}

TEST_CASE("trace: a fork, and the write that breaks its sharing") {
    using namespace trace;
    vm_world world;
    uvm_fault_ahead_enabled = false;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 8);
    for (int i = 0; i < 8; i++)
        store(parent, at + pages(i), uint8_t(i));

    host_trace sink;
    vm_ref child = fork_of(parent);
    std::vector<host_event> events = sink.take();
    auto inherited = all_of<event::map_entry_inherited>(events);
    REQUIRE(inherited.size() == 1);
    CHECK(inherited[0].outcome == inherit_outcome::amap_referenced);
    CHECK(inherited[0].start.value == at.value());
    auto protect = all_of<event::pte_protected>(events);
    REQUIRE(protect.size() == 1);
    CHECK(protect[0].entries == 8);
    CHECK(all_of<event::needs_copy_set>(events).size() == 1);
    CHECK(all_of<event::anon_copied>(events).empty());
    auto forked = all_of<event::vmspace_forked>(events);
    REQUIRE(forked.size() == 1);
    CHECK(forked[0].parent.value == addr(parent.get()).value);
    CHECK(forked[0].child.value == addr(child.get()).value);
    CHECK(forked[0].entries == 1);
    // Told of when all of it was done.
    auto told = std::ranges::find_if(
        events, [](const host_event& e) { return e.is<event::vmspace_forked>(); });
    CHECK(std::none_of(told, events.end(), [](const host_event& e) {
        return e.is<event::pte_protected>() || e.is<event::needs_copy_set>() ||
               e.is<event::map_entry_inherited>() || e.is<event::map_entry_inserted>();
    }));

    store(child, at + pages(3), 77);
    events = sink.take();
    auto cleared = all_of<event::needs_copy_cleared>(events);
    REQUIRE(cleared.size() == 1);
    CHECK(cleared[0].how == write_right::amap_copied);
    CHECK(all_of<event::anon_referenced>(events).size() == 8);
    auto copied = all_of<event::anon_copied>(events);
    REQUIRE(copied.size() == 1);
    auto cases = all_of<event::fault_case>(events);
    REQUIRE(cases.size() == 1);
    CHECK(cases[0].kind == fault_kind::case_1b);
    CHECK(cases[0].page.value == copied[0].page.value);
    auto entered = all_of<event::pte_entered>(events);
    REQUIRE(entered.size() == 1);
    CHECK(entered[0].va.value == (at + pages(3)).value());
    CHECK(entered[0].prot == protection::rw);

    // The parent is alone with that page now.
    store(parent, at + pages(3), 78);
    events = sink.take();
    auto taken_over = all_of<event::fault_case>(events);
    REQUIRE(taken_over.size() == 1);
    CHECK(taken_over[0].kind == fault_kind::takeover);
    CHECK(all_of<event::anon_copied>(events).empty());

    child.reset();
    events = sink.take();
    CHECK(events.back().is<event::vmspace_destroyed>());
    CHECK(all_of<event::anon_released>(events).size() == 7);
    CHECK(all_of<event::anon_destroyed>(events).size() == 1);
}

TEST_CASE("trace: what is refused is told") {
    vm_world world;
    uvm_commit::set_mode(uvm_commit::mode::strict);
    uvm_commit::set_kbytes(4);
    host_trace sink(trace::bit(trace::category::commit));
    CHECK_FALSE(uvm_commit::charge(1000));
    auto refused = all_of<trace::event::commit_refused>(sink.take());
    REQUIRE(refused.size() == 1);
    CHECK(refused[0].pages == 1000);
}
