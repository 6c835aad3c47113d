// disk: what it refuses, and who waits for it; with a device that answers when the test says so.
#include "arch/timer.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/timer.h"
#include "lib/disk.h"
#include "tests/kernel/ktest.h"

#include <algorithm>

namespace {

// Keeps up to three requests, and ends them in an interrupt, the last one first.
class late_driver final : public disk_driver {
public:
    void start(disk_request& r) override {
        kept[count++] = &r;
        if (count == at_once)
            later.set(now() + 1'000'000, answer, this);
    }
    static void answer(void* self) {
        auto& d = *static_cast<late_driver*>(self);
        while (d.count > 0) {
            disk_request* r = d.kept[--d.count];
            disk_finish(*r, r->sector == d.bad_sector ? fail(Errno::io) : status{});
        }
    }
    disk_request* kept[3] = {};
    unsigned count = 0, at_once = 1;
    uint64_t bad_sector = UINT64_MAX;
    timer_event later;
};

disk::facts facts(uint32_t block_size) {
    return {.name = "test",
            .number = 0,
            .first = 0,
            .sectors = 64,
            .block_size = block_size,
            .most_segments = 2,
            .read_only = false,
            .write_back = true};
}

Errno error_of(disk& d, disk_request r) {
    disk_wait wait;
    wait.submit(d, r);
    status s = wait.all();
    return s ? Errno{} : s.error();
}

} // namespace

KTEST(disk, refuses_what_is_not_whole_blocks_of_it) {
    late_driver driver;
    disk d(driver, facts(4096));
    const paddr_t page(0x100000);
    const disk_segment good[] = {{page, 4096}, {page, 4096}, {page, 4096}};
    const disk_segment half{page, 2048}, odd{page + 512, 4096}, none{page, 0};
    constexpr auto read = disk_operation::read;
    EXPECT_EQ(error_of(d, {.operation = read, .sector = 0, .segments = {good, 2}}), Errno{});
    EXPECT_EQ(error_of(d, {.operation = read, .sector = 56, .segments = {good, 1}}), Errno{});
    EXPECT_EQ(error_of(d, {.operation = read, .sector = 56, .segments = {good, 2}}), Errno::inval);
    EXPECT_EQ(error_of(d, {.operation = read, .sector = 64, .segments = {good, 1}}), Errno::inval);
    EXPECT_EQ(error_of(d, {.operation = read, .sector = ~7ull, .segments = {good, 1}}),
              Errno::inval);
    EXPECT_EQ(error_of(d, {.operation = read, .sector = 4, .segments = {good, 1}}), Errno::inval);
    EXPECT_EQ(error_of(d, {.operation = read, .segments = {good, 3}}), Errno::inval);
    EXPECT_EQ(error_of(d, {.operation = read}), Errno::inval);
    for (const disk_segment& bad : {half, odd, none})
        EXPECT_EQ(error_of(d, {.operation = read, .segments = {&bad, 1}}), Errno::inval);
    EXPECT_EQ(error_of(d, {.operation = disk_operation::flush}), Errno{});
}

KTEST(disk, one_that_cannot_be_written_and_one_that_keeps_nothing_back) {
    late_driver driver;
    driver.at_once = 3; // it would never answer
    disk::facts is = facts(512);
    is.read_only = true;
    is.write_back = false;
    disk d(driver, is);
    const disk_segment s{paddr_t(0x100000), 512};
    EXPECT_EQ(error_of(d, {.operation = disk_operation::write, .segments = {&s, 1}}), Errno::rofs);
    EXPECT_EQ(error_of(d, {.operation = disk_operation::flush}), Errno{});
    EXPECT_EQ(driver.count, 0u);
}

KTEST(disk, several_requests_are_waited_for_together) {
    late_driver driver;
    driver.at_once = 3;
    driver.bad_sector = 8;
    disk whole(driver, facts(512));
    disk::facts is = facts(512);
    is.first = 32;
    is.sectors = 32;
    disk part(whole, is);
    EXPECT(&part.whole == &whole);
    const disk_segment s{paddr_t(0x100000), 512};
    disk_request r[3];
    for (uint64_t i = 0; i < 3; i++)
        r[i] = {.operation = disk_operation::read, .sector = 8 * i, .segments = {&s, 1}};
    disk_wait wait;
    wait.submit(whole, r[0]);
    wait.submit(part, r[1]);
    EXPECT_EQ(driver.kept[1]->of->is.first, 32);
    wait.submit(whole, r[2]);
    status all = wait.all();
    EXPECT(!all && all.error() == Errno::io);
    EXPECT(r[0].result.has_value() && !r[1].result.has_value() && r[2].result.has_value());
    EXPECT(wait.all().has_value());
}
