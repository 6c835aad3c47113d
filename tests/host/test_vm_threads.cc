// Several processes, a thread for each, at memory that they have in common: what one takes from all
// while another looks at its own.
#include "tests/host/vm_paging.h"
#include "tests/host/vm_world.h"
#include "vm/uvm_pageout.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_swapoff.h"

#include <atomic>
#include <functional>
#include <thread>

namespace {

constexpr vaddr_t at{0x100000};

// Runs `one` again and again until `other`, which runs in a thread of its own, has come to its end.
// Whether both always returned true: Catch is for one thread.
bool beside(const std::function<bool()>& one, const std::function<bool()>& other) {
    std::atomic<bool> begun{false}, ended{false};
    bool one_worked = true, other_worked = false;
    std::thread thread([&] {
        while (!begun)
            std::this_thread::yield();
        other_worked = other();
        ended = true;
    });
    do {
        begun = true;
        one_worked &= one();
    } while (!ended);
    thread.join();
    return one_worked && other_worked;
}

// mlock2(MLOCK_ONFAULT) and munlock: both go by what is mapped.
bool wire_and_unwire(vm_ref& vm, uint64_t count) {
    return vm->lock_pages(at, pages(count), true) && vm->unlock_pages(at, pages(count));
}

} // namespace

// The anons that the child has not written are in the slots of two amaps. A file that is truncated
// empties one after the other, and takes the pages from everybody at the first.
TEST_CASE("threads: mlock of private pages of a file that is truncated", "[threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    constexpr uint64_t count = 48;
    auto file = uvm_aobj::create(pages(count), "file", uvm_aobj::charging::nothing);
    REQUIRE(file);
    for (int round = 0; round < 40; round++) {
        REQUIRE((*file)->resize(pages(count)));
        vm_ref parent = new_space();
        map_object(parent, at.value(), count, *file, false);
        for (uint64_t i = 0; i < count; i++)
            REQUIRE(store(parent, at + pages(i), 1) == 1);
        vm_ref child = fork_of(parent);
        REQUIRE(store(child, at, 2) == 2);
        for (uint64_t i = 1; i < count; i++)
            REQUIRE(load(child, at + pages(i)) == 1);
        REQUIRE(beside([&] { return wire_and_unwire(child, count); },
                       [&] { return bool((*file)->resize(0)); }));
        REQUIRE(load(child, at) == -3);
        child->check();
        parent->check();
    }
}

// Two processes write to one amap, and a third has a copy of it: the first write to a page takes
// the old one from all three, so that nobody goes on reading it in the first two.
TEST_CASE("threads: mlock of a copy of memory that two others write to", "[threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    constexpr uint64_t count = 48;
    for (int round = 0; round < 40; round++) {
        vm_ref one = new_space();
        map_private(one, at.value(), count);
        REQUIRE(one->inherit(at, pages(count), vm_inherit::share));
        for (uint64_t i = 0; i < count; i++)
            REQUIRE(store(one, at + pages(i), 1) == 1);
        vm_ref two = fork_of(one);
        REQUIRE(one->inherit(at, pages(count), vm_inherit::copy));
        vm_ref three = fork_of(one);
        for (uint64_t i = 0; i < count; i++)
            REQUIRE(load(three, at + pages(i)) == 1);
        auto stores = [&] {
            bool all = true;
            for (uint64_t i = 0; i < count; i++)
                all &= store(i % 2 ? one : two, at + pages(i), 2) == 2;
            return all;
        };
        REQUIRE(beside([&] { return wire_and_unwire(three, count); }, stores));
        for (uint64_t i = 0; i < count; i++) {
            REQUIRE(load(one, at + pages(i)) == 2);
            REQUIRE(load(three, at + pages(i)) == 1);
        }
        for (vm_ref* vm : {&one, &two, &three})
            (*vm)->check();
    }
}

// Four processes of one family, each in a thread: they write, forget, wire, fork and end, and each
// reads what it wrote or what there was before.
TEST_CASE("threads: a family writes, forgets, wires and forks at once", "[threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    constexpr uint64_t count = 24;
    constexpr unsigned processes = 4;
    for (int round = 0; round < 10; round++) {
        vm_ref first = new_space();
        map_private(first, at.value(), count);
        for (uint64_t i = 0; i < count; i++)
            REQUIRE(store(first, at + pages(i), 9) == 9);
        std::atomic<unsigned> ready{0}, wrong{0};
        auto program = [&](vm_ref vm, unsigned me) {
            uint8_t want[count];
            std::fill(std::begin(want), std::end(want), uint8_t{9});
            for (ready++; ready < processes;)
                std::this_thread::yield();
            uint32_t random = 77 * me + static_cast<uint32_t>(round);
            for (int step = 0; step < 120; step++) {
                random = random * 1664525 + 1013904223;
                const uint64_t i = (random >> 8) % count;
                const vaddr_t page = at + pages(i);
                switch ((random >> 20) % 8) {
                case 0:
                    wrong += !vm->advise(page, page_size, linux_abi::madv_dontneed);
                    want[i] = 0;
                    break;
                case 1: wrong += !wire_and_unwire(vm, count); break;
                case 2: // the parent ends
                    if (auto child = vm->fork(random >> 24 & 1 ? fork_mode::cow : fork_mode::copy))
                        vm = *child;
                    break;
                case 3: (void)vm->fork(fork_mode::cow_pte); break; // the child ends
                default:
                    want[i] = uint8_t(10 + me);
                    wrong += store(vm, page, want[i]) != want[i];
                    break;
                }
                wrong += load(vm, page) != want[i];
            }
            for (uint64_t i = 0; i < count; i++)
                wrong += load(vm, at + pages(i)) != want[i];
            vm->check();
        };
        std::thread others[processes - 1];
        for (unsigned k = 0; k + 1 < processes; k++)
            others[k] = std::thread(program, fork_of(first), k + 1);
        program(std::move(first), 0);
        for (std::thread& other : others)
            other.join();
        REQUIRE(wrong == 0);
    }
}

// ---- While pages go out and come back --------------------------------------------------------

namespace {

// Each thread has a family of processes that need more memory than there is: it stores, loads, throws
// away, forks and ends, and knows what is where.
class pager_program {
public:
    static constexpr uint64_t count = 90;

    pager_program(uint32_t seed, ref_ptr<uvm_aobj> shared) : random_(seed), me_(uint8_t(seed)) {
        vm_ = *vmspace::create();
        vm_->set_layout(vaddr_t(0x7fff'0000'0000));
        good_ = bool(
            vm_->map({.address = at, .size = pages(count), .prot = vm_prot::rw, .fixed = true}));
        good_ &= bool(vm_->map({.address = file,
                                .size = pages(count),
                                .prot = vm_prot::rw,
                                .fixed = true,
                                .shared = true,
                                .object = std::move(shared)}));
    }
    bool run(int steps) {
        for (int n = 0; n < steps && good_; n++)
            step();
        for (uint64_t i = 0; i < count; i++)
            good_ &= load(vm_, at + pages(i)) == want_[i];
        vm_->check();
        return good_;
    }

private:
    static constexpr vaddr_t file{0x800000};

    void step() {
        random_ = random_ * 1664525 + 1013904223;
        const uint64_t i = (random_ >> 8) % count;
        const vaddr_t page = at + pages(i);
        switch ((random_ >> 20) % 16) {
        case 0:
            good_ &= bool(vm_->advise(page, page_size, linux_abi::madv_dontneed));
            want_[i] = 0;
            break;
        case 1: // the parent ends
            if (auto child = vm_->fork(random_ >> 24 & 1 ? fork_mode::cow : fork_mode::cow_pte))
                vm_ = *child;
            break;
        case 2: // the child ends
            if (auto child = vm_->fork(fork_mode::cow))
                good_ &= store(*child, page, 1) == 1;
            break;
        case 3: { // of a file that all have, each byte with one writer
            const vaddr_t mine = file + pages(i) + 8 * me_;
            good_ &= store(vm_, mine, uint8_t(random_ >> 24)) == uint8_t(random_ >> 24);
            good_ &= load(vm_, mine) == uint8_t(random_ >> 24);
            break;
        }
        case 4: good_ &= wire_and_unwire(vm_, 8); break;
        case 5: (void)vm_->advise(page, page_size, linux_abi::madv_pageout); break;
        default:
            want_[i] = uint8_t(random_ >> 24);
            good_ &= store(vm_, page, want_[i]) == want_[i];
            break;
        }
        const uint64_t k = (random_ >> 4) % count;
        good_ &= load(vm_, at + pages(k)) == want_[k];
    }

    vm_ref vm_;
    uint32_t random_;
    const uint8_t me_;
    uint8_t want_[count] = {};
    bool good_ = true;
};

} // namespace

TEST_CASE("threads: families write, fork and end while their pages go out", "[threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    {
        free_paging_machine m(4000);
        const shortage there_is(150);
        ref_ptr<uvm_aobj> object = new_object(pages(pager_program::count));
        constexpr unsigned programs = 3;
        std::atomic<unsigned> good{0};
        std::vector<std::thread> threads;
        for (unsigned k = 1; k <= programs; k++)
            threads.emplace_back([&, k] { good += pager_program(k, object).run(600); });
        for (std::thread& each : threads)
            each.join();
        CHECK(good == programs);
        // 69 to 1,500 were read: the fewer, the less they have run at the same time.
        CHECK(m.disk.answered(disk_operation::read) > 20);
        CHECK(m.disk.answered(disk_operation::write) > 20);
    }
}

// swapoff goes from slot to owner, while owners end, write, and go out again.
TEST_CASE("threads: swapon and swapoff while pages go out", "[threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    {
        free_paging_machine m(2000);
        ref_ptr<uvm_aobj> object = new_object(pages(pager_program::count));
        std::atomic<unsigned> good{0};
        std::vector<std::thread> threads;
        for (unsigned k = 1; k <= 2; k++)
            threads.emplace_back([&, k] { good += pager_program(k, object).run(600); });
        bool on = true, all = true;
        for (int n = 0; n < 40; n++) {
            if (on)
                (void)uvm_pageout_turn(vm_page_count_free() + 40);
            all &= bool(on ? uvm_swapoff(m.disk.device) : uvm_swap::on(m.disk.device, 0));
            on = !on;
        }
        for (std::thread& each : threads)
            each.join();
        CHECK(all);
        CHECK(good == 2);
    }
}
