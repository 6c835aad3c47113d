// uvm_fault: the four cases and their counters, fault-ahead, stacks, threads at one address.
#include "tests/host/vm_world.h"
#include "vm/phys/alloc_fail.h"

#include <atomic>
#include <thread>

namespace {

struct no_fault_ahead {
    no_fault_ahead() { uvm_fault_ahead_enabled = false; }
    ~no_fault_ahead() { uvm_fault_ahead_enabled = true; }
};

} // namespace

TEST_CASE("fault: 1A, an anon is mapped as it is", "[fault]") {
    vm_world world;
    no_fault_ahead off;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 2);
    store(vm, at, 5);
    vm->physical_map().remove(at, at + pages(2)); // may be thrown away at any time
    counted anon(uvm_counter::flt_anon), copied(uvm_counter::pages_copied),
        faults(uvm_counter::faults);
    CHECK(load(vm, at) == 5);
    CHECK(store(vm, at, 6) == 6);
    CHECK(anon() == 1); // alone with it: mapped writable by the read already
    CHECK(faults() == 1);
    CHECK(copied() == 0);
}

TEST_CASE("fault: 1B, an anon with other references is copied", "[fault]") {
    vm_world world;
    no_fault_ahead off;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 2);
    store(vm, at, 5);
    store(vm, at + pages(1), 6);
    vm_ref child = fork_of(vm);
    counted acow(uvm_counter::flt_acow), copied(uvm_counter::pages_copied);
    CHECK(store(child, at, 7) == 7);
    CHECK(acow() == 1);
    CHECK(copied() == 1);
    CHECK(load(vm, at) == 5);
    counted takeover(uvm_counter::flt_anon_takeover);
    CHECK(store(vm, at, 8) == 8);
    CHECK(copied() == 1);
    CHECK(takeover() == 1); // the child has its own: this one is taken over
    CHECK(load(child, at) == 7);
    CHECK(load(child, at + pages(1)) == 6);
}

TEST_CASE("fault: 2A, a page of an object", "[fault]") {
    vm_world world;
    no_fault_ahead off;
    vm_ref vm = new_space();
    auto object = new_object(pages(4), 10);
    vaddr_t shared = map_object(vm, 0x100000, 4, object, true);
    vaddr_t priv = map_object(vm, 0x200000, 4, object, false);
    counted obj(uvm_counter::flt_obj), copied(uvm_counter::pages_copied);
    CHECK(load(vm, shared + pages(2)) == 12);
    CHECK(load(vm, priv + pages(2)) == 12);
    CHECK(obj() == 2);
    CHECK(store(vm, shared + pages(2), 99) == 99);
    CHECK(load(vm, priv + pages(2)) == 99); // not promoted yet: still the object's
    CHECK(copied() == 0);
    CHECK(pmap::is_modified(*(*object->hold(2, uvm_aobj::purpose::read)).page()));
}

TEST_CASE("fault: 2B, a private write promotes a copy, and zeros where there is nothing",
          "[fault]") {
    vm_world world;
    no_fault_ahead off;
    vm_ref vm = new_space();
    auto object = new_object(pages(4), 10);
    vaddr_t file = map_object(vm, 0x100000, 4, object, false);
    vaddr_t memory = map_private(vm, 0x200000, 4);
    counted prcopy(uvm_counter::flt_prcopy), przero(uvm_counter::flt_przero);
    CHECK(store(vm, file + pages(1), 77) == 77);
    CHECK(prcopy() == 1);
    CHECK(*(*object->hold(1, uvm_aobj::purpose::read)).data() == 11);
    CHECK(load(vm, file + pages(1) + 1) == 0);
    CHECK(load(vm, memory) == 0);
    CHECK(przero() == 0); // a read shares the page of zeros
    CHECK(store(vm, memory, 1) == 1);
    CHECK(load(vm, memory + 1) == 0);
    CHECK(przero() == 1);
    CHECK(load(vm, memory + pages(1)) == 0); // which is still zeros
    uvm_zero_page_enabled = false;
    CHECK(load(vm, memory + pages(2)) == 0);
    CHECK(przero() == 2);
}

TEST_CASE("fault: signals", "[fault]") {
    vm_world world;
    vm_ref vm = new_space();
    auto object = uvm_aobj::create(pages(1) + 1, "/tmp/short", uvm_aobj::charging::nothing);
    REQUIRE(object);
    vaddr_t file = map_object(vm, 0x100000, 4, *object, true);
    vaddr_t text = map_private(vm, 0x200000, 1, vm_prot::rx);
    vaddr_t none = map_private(vm, 0x300000, 1, vm_prot::none);
    vaddr_t data = map_private(vm, 0x400000, 1, vm_prot::rw);
    vaddr_t blind = map_private(vm, 0x500000, 1, vm_prot::write);
    counted maperr(uvm_counter::flt_maperr), accerr(uvm_counter::flt_accerr);
    CHECK(load(vm, vaddr_t(0xdead000)) == -1);
    CHECK(store(vm, text, 1) == -2);
    CHECK(load(vm, none) == -2);
    CHECK(load(vm, file + pages(1)) == 0);
    CHECK(load(vm, file + pages(2)) == -3);
    CHECK(store(vm, file + pages(3), 1) == -3);
    CHECK(maperr() == 1);
    CHECK(accerr() == 2);
    uint8_t byte;
    fault_outcome why;
    CHECK(host_fetch(*vm, text, &byte));
    CHECK_FALSE(host_fetch(*vm, data, &byte, &why));
    CHECK(why == fault_outcome::accerr);
    CHECK(load(vm, blind) == 0); // as on every x86: what can be written can be read
}

TEST_CASE("fault: neighbours are mapped by advice, and not when it is switched off", "[fault]") {
    vm_world world;
    auto object = new_object(pages(64), 1);
    auto faults_for = [&](int advice, bool on) {
        uvm_fault_ahead_enabled = on;
        vm_ref vm = new_space();
        vaddr_t at = map_object(vm, 0x100000, 64, object, false, 0, vm_prot::read);
        REQUIRE(vm->advise(at, pages(64), advice));
        counted faults(uvm_counter::faults);
        for (int i = 0; i < 64; i++)
            CHECK(load(vm, at + pages(i)) == 1 + i);
        vm->check();
        return faults();
    };
    CHECK(faults_for(linux_abi::madv_normal, false) == 64);
    CHECK(faults_for(linux_abi::madv_random, true) == 64);
    CHECK(faults_for(linux_abi::madv_normal, true) == 13); // 5 pages each
    CHECK(faults_for(linux_abi::madv_sequential, true) == 8);
}

TEST_CASE("fault: anons that a fork left behind are mapped ahead, read-only", "[fault]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 16);
    for (int i = 0; i < 16; i++)
        store(vm, at + pages(i), uint8_t(i));
    vm_ref child = fork_of(vm);
    counted ahead(uvm_counter::flt_ahead), faults(uvm_counter::faults);
    for (int i = 0; i < 16; i++)
        CHECK(load(child, at + pages(i)) == i);
    CHECK(faults() == 4);
    CHECK(ahead() == 12);
    child->check();
    CHECK(store(child, at + pages(1), 50) == 50);
    CHECK(load(vm, at + pages(1)) == 1);
}

TEST_CASE("fault: a fault whose mapping is in place is spurious", "[fault]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 1);
    store(vm, at, 1);
    counted spurious(uvm_counter::flt_spurious), anon(uvm_counter::flt_anon);
    CHECK(vm->fault(at + 5, vm_prot::write) == fault_outcome::resolved);
    CHECK(spurious() == 1);
    CHECK(anon() == 0);
}

TEST_CASE("fault: stacks grow down to their limit and keep clear of what is below",
          "[fault][stack]") {
    vm_world world;
    vm_ref vm = new_space();
    limits.stack = pages(2048);
    vaddr_t top(0x7fff'8000'0000);
    auto mapped = vm->map({.address = top - pages(4),
                           .size = pages(4),
                           .prot = vm_prot::rw,
                           .fixed = true,
                           .stack = true,
                           .tag = "[stack]"});
    REQUIRE(mapped);
    CHECK(store(vm, top - pages(1), 1) == 1);
    CHECK(store(vm, top - pages(100), 2) == 2);
    CHECK(entry_count(vm) == 1); // grown in place
    CHECK(vm->get_sizes().stack_pages == 100);
    CHECK(load(vm, top - pages(1)) == 1);
    CHECK(load(vm, top - pages(100)) == 2);
    CHECK(store(vm, top - pages(2049), 1) == -1);
    CHECK(store(vm, top - pages(2048), 1) == 1);
    // Something else close by.
    REQUIRE(vm->unmap(top - pages(2048), pages(1900)));
    vaddr_t below = map_private(vm, (top - pages(500)).value(), 1);
    CHECK(store(vm, below + pages(100), 1) == -1);
    CHECK(store(vm, below + pages(1 + 256), 1) == 1);
    // Nobody is placed into the guard gap unless he insists.
    vm_ref other = new_space();
    auto high = other->map({.address = vaddr_t(0x7000'0000'0000),
                            .size = pages(1),
                            .prot = vm_prot::rw,
                            .fixed = true,
                            .stack = true});
    REQUIRE(high);
    other->set_layout(vaddr_t(0x7000'0000'0000));
    auto found = other->map({.size = pages(1), .prot = vm_prot::rw});
    REQUIRE(found);
    CHECK(*found == *high - stack_guard_gap - pages(1));
    auto hinted = other->map({.address = *high - pages(3), .size = pages(1), .prot = vm_prot::rw});
    REQUIRE(hinted);
    CHECK(*hinted != *high - pages(3));
}

TEST_CASE("fault: out of memory is an answer, and nothing is lost", "[fault]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 4);
    store(vm, at, 42);
    vm_ref child = fork_of(vm);
    counted noram(uvm_counter::flt_noram);
    for (uint64_t n = 1;; n++) {
        alloc_fail_after(n);
        int got = store(child, at, 43);
        bool failed = alloc_fail_after(0) == 0;
        if (!failed) {
            CHECK(got == 43);
            break;
        }
        CHECK(got == -4);
        child->check();
        CHECK(load(child, at) == 42);
    }
    CHECK(noram() > 3); // the amap's copy in several steps, the anon, its page
    CHECK(load(vm, at) == 42);
}

TEST_CASE("fault: read_memory and write_memory see what the program sees", "[fault]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 3);
    auto object = new_object(pages(1), 9);
    vaddr_t text = map_object(vm, 0x200000, 1, object, false, 0, vm_prot::rx);
    char buffer[9000] = "hello";
    REQUIRE(vm->write_memory(at + 4000, buffer, 5000));
    CHECK(load(vm, at + 4000) == 'h');
    store(vm, at + 4001, 'u');
    vm_ref child = fork_of(vm);
    REQUIRE(child->write_memory(at + 4002, "x", 1));
    CHECK(load(vm, at + 4002) == 'l');
    char back[8] = {};
    REQUIRE(child->read_memory(at + 4000, back, 5));
    CHECK(std::string(back) == "huxlo");
    counted przero(uvm_counter::flt_przero);
    REQUIRE(vm->read_memory(at + pages(2) + 4000, back, 8));
    CHECK(przero() == 0);
    CHECK(error_of(vm->read_memory(at + pages(3) - 4, back, 8)) == Errno::fault);
    CHECK(error_of(vm->write_memory(text, "x", 1)) == Errno::fault);
    REQUIRE(vm->write_memory(text, "x", 1, true)); // as a debugger
    CHECK(load(vm, text) == 'x');
    CHECK(load(child, text) == 9);
    CHECK(store(vm, text, 1) == -2);
    vaddr_t locked_out = map_private(vm, 0x300000, 1, vm_prot::none);
    REQUIRE(vm->write_memory(locked_out, "y", 1, true));
    CHECK(load(vm, locked_out) == -2);
    REQUIRE(vm->protect(locked_out, pages(1), vm_prot::read));
    CHECK(load(vm, locked_out) == 'y');
}

// Threads of two processes at the same few pages, while a third one forks, unmaps and protects.
TEST_CASE("fault: threads at one address, with the map changing under them", "[fault][threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    {
        vm_ref vm = new_space();
        vaddr_t at = map_private(vm, 0x100000, 8);
        std::atomic<bool> stop{false};
        std::atomic<int> wrong{0};
        auto program = [&](unsigned who) {
            for (unsigned i = 0; !stop; i++) {
                vaddr_t mine = at + pages(i % 8) + who;
                bool stored = store(vm, mine, uint8_t(i % 200)) >= 0; // else protected or unmapped
                int got = load(vm, mine);
                if (stored && got >= 0 && got != int(i % 200) && got != 0) // 0: dropped in between
                    wrong++;
            }
        };
        std::vector<std::thread> threads;
        for (unsigned who = 0; who < 3; who++)
            threads.emplace_back(program, who);
        for (int i = 0; i < 300; i++) {
            vm_ref child = fork_of(vm, fork_mode(i % 3));
            store(child, at + pages(i % 8), 1);
            if (i % 5 == 0)
                CHECK(vm->advise(at + pages(3), pages(2), linux_abi::madv_dontneed));
            if (i % 7 == 0) {
                CHECK(vm->unmap(at + pages(5), pages(2)));
                map_private(vm, (at + pages(5)).value(), 2);
            }
            if (i % 3 == 0) {
                CHECK(vm->protect(at, pages(4), vm_prot::read));
                CHECK(vm->protect(at, pages(4), vm_prot::rw));
            }
        }
        stop = true;
        for (auto& t : threads)
            t.join();
        CHECK(wrong == 0);
        vm->check();
    }
}
