// What is said when an address space breaks a rule: which one, where, and whose memory it is.
#include "arch/host/host_machine.h"
#include "tests/host/vm_world.h"

namespace {

// Enters what is mapped at `at` once more, with other rights: what a fork would do that forgets to
// write-protect.
void map_again(vm_ref& vm, vaddr_t at, vm_prot prot) {
    pmap& map = vm->physical_map();
    REQUIRE(map.enter(at, *vm_page_of(map.lookup(at)->pa), prot, {}));
}

std::string broken_rule(vm_ref& vm) {
    return host_panic_of([&] { vm->check(); });
}

} // namespace

TEST_CASE("rules: a page that a fork has shared is mapped writable", "[rules]") {
    vm_world world;
    vm_ref parent = new_space();
    const vaddr_t at = map_private(parent, 0x100000, 3);
    store(parent, at + pages(1), 7);
    vm_ref child = fork_of(parent);
    CHECK(broken_rule(parent).empty());

    map_again(parent, at + pages(1), vm_prot::rw);
    CHECK_THAT(
        broken_rule(parent),
        ContainsSubstring("copy on write: an entry that needs_copy has no page mapped writable") &&
            ContainsSubstring("address 0x101000 of the entry 0x100000-0x103000") &&
            ContainsSubstring("needs_copy") && ContainsSubstring("mapped: rw-"));
    map_again(parent, at + pages(1), vm_prot::read);
    CHECK(broken_rule(parent).empty());

    // The parent's amap is a copy now, and the anon of page 1 in both.
    store(parent, at, 1);
    CHECK(load(child, at + pages(1)) == 7);
    map_again(parent, at + pages(1), vm_prot::rw);
    CHECK_THAT(broken_rule(parent),
               ContainsSubstring("a page that others have, too, is mapped writable by nobody") &&
                   ContainsSubstring("an anon, with 2 references"));
    map_again(parent, at + pages(1), vm_prot::read);
}

TEST_CASE("rules: a right that the mapping does not give", "[rules]") {
    vm_world world;
    vm_ref vm = new_space();
    const vaddr_t at = map_private(vm, 0x100000, 1);
    store(vm, at, 7);
    REQUIRE(vm->protect(at, page_size, vm_prot::read));
    map_again(vm, at, vm_prot::rw);
    CHECK_THAT(broken_rule(vm), ContainsSubstring("a right that its entry does not give") &&
                                    ContainsSubstring("address 0x100000"));
    map_again(vm, at, vm_prot::read);
}

TEST_CASE("rules: a private mapping that would write to its file", "[rules]") {
    vm_world world;
    vm_ref vm = new_space();
    auto object = uvm_aobj::create(page_size, "/tmp/file", uvm_aobj::charging::nothing);
    REQUIRE(object);
    const vaddr_t at = map_object(vm, 0x100000, 1, *object, false);
    CHECK(load(vm, at) == 0); // the object's page
    map_again(vm, at, vm_prot::rw);
    CHECK_THAT(broken_rule(vm), ContainsSubstring("copy on write: an entry that needs_copy"));
    map_again(vm, at, vm_prot::read);
}
