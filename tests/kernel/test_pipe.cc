// Pipes: bytes come out as they went in, whatever the sizes, and the ends know of each other.
#include "kernel/files/pipe.h"
#include "kernel/files/poll.h"
#include "kernel/process/thread.h"
#include "kernel/sched/kernel_thread.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <string_view>

using namespace linux_abi;

namespace {

int64_t put(file& f, const void* bytes, uint64_t size) {
    uio io(uio::direction::write, const_cast<void*>(bytes), size);
    auto n = f.write(io);
    return n ? *n : -int64_t(n.error());
}

int64_t get(file& f, void* bytes, uint64_t size) {
    uio io(uio::direction::read, bytes, size);
    auto n = f.read(io);
    return n ? *n : -int64_t(n.error());
}

constexpr int64_t minus(Errno e) { return -int64_t(e); }

// The byte at a place of the stream that the tests send.
uint8_t byte_at(uint64_t position) { return uint8_t(position * 7 + (position >> 8)); }

} // namespace

KTEST(pipe, keeps_order_over_the_edge_of_its_ring) {
    auto ends = pipe_make(o_nonblock);
    kmem_array<uint8_t> buffer(pipe_channel::default_capacity);
    REQUIRE(ends.has_value() && buffer);
    uint64_t written = 0, read = 0;
    for (unsigned round = 0; round < 300; round++) {
        uint64_t n = 1 + ktest_random(9000);
        for (uint64_t i = 0; i < n; i++)
            buffer[i] = byte_at(written + i);
        int64_t put_now = put(*ends->write, buffer.data(), n);
        if (put_now >= 0)
            written += uint64_t(put_now);
        else
            EXPECT_EQ(put_now, minus(Errno::again));
        int64_t got = get(*ends->read, buffer.data(), 1 + ktest_random(9000));
        for (int64_t i = 0; i < got; i++)
            if (buffer[uint64_t(i)] != byte_at(read + uint64_t(i))) {
                ktest_fail(__FILE__, __LINE__, "byte %lu is wrong",
                           (unsigned long)(read + uint64_t(i)));
                return;
            }
        if (got > 0)
            read += uint64_t(got);
    }
    EXPECT(written > pipe_channel::default_capacity);
}

KTEST(pipe, a_small_write_is_whole_or_not_at_all) {
    auto ends = pipe_make(o_nonblock);
    kmem_array<uint8_t> buffer(pipe_channel::default_capacity);
    REQUIRE(ends.has_value() && buffer);
    EXPECT_EQ(put(*ends->write, buffer.data(), buffer.size() - 10), int64_t(buffer.size() - 10));
    EXPECT_EQ(put(*ends->write, buffer.data(), 11), minus(Errno::again));
    EXPECT_EQ(put(*ends->write, buffer.data(), 10), 10);
    EXPECT_EQ(ends->write->poll(nullptr) & pollout, 0u);
    EXPECT_EQ(get(*ends->read, buffer.data(), 4095), 4095);
    EXPECT_EQ(ends->write->poll(nullptr) & pollout, 0u);
    EXPECT_EQ(get(*ends->read, buffer.data(), 1), 1);
    EXPECT_EQ(ends->write->poll(nullptr) & pollout, uint32_t(pollout));
    // A large one takes what room there is.
    EXPECT_EQ(put(*ends->write, buffer.data(), 10000), 4096);
}

KTEST(pipe, changes_its_size_with_what_is_in_it) {
    auto ends = pipe_make(o_nonblock);
    kmem_array<uint8_t> buffer(pipe_channel::default_capacity);
    REQUIRE(ends.has_value() && buffer);
    // Full, with both ends in one page.
    EXPECT_EQ(put(*ends->write, buffer.data(), 100), 100);
    EXPECT_EQ(get(*ends->read, buffer.data(), 100), 100);
    for (uint64_t i = 0; i < buffer.size(); i++)
        buffer[i] = byte_at(i);
    EXPECT_EQ(put(*ends->write, buffer.data(), buffer.size()), int64_t(buffer.size()));
    EXPECT_EQ(ends->write->set_pipe_size(page_size).has_value(), false);
    EXPECT_EQ(ends->write->set_pipe_size(100000).value_or(-1), 131072);
    EXPECT_EQ(ends->read->pipe_size().value_or(-1), 131072);
    EXPECT_EQ(put(*ends->write, buffer.data(), 1), 1);
    EXPECT_EQ(get(*ends->read, buffer.data(), 61400), 61400);
    EXPECT_EQ(ends->write->set_pipe_size(8192).value_or(-1), 8192);
    memset(buffer.data(), 0, buffer.size());
    int64_t rest = int64_t(buffer.size()) - 61400 + 1;
    EXPECT_EQ(get(*ends->read, buffer.data(), buffer.size()), rest);
    for (int64_t i = 0; i < rest - 1; i++)
        if (buffer[uint64_t(i)] != byte_at(61400 + uint64_t(i))) {
            ktest_fail(__FILE__, __LINE__, "byte %ld is wrong", long(i));
            return;
        }
    EXPECT_EQ(buffer[uint64_t(rest - 1)], byte_at(0));
}

KTEST(pipe, the_ends_notice_each_other) {
    auto ends = pipe_make(o_nonblock);
    REQUIRE(ends.has_value());
    char c = 'x';
    EXPECT_EQ(get(*ends->read, &c, 1), minus(Errno::again));
    EXPECT_EQ(put(*ends->write, &c, 1), 1);
    EXPECT_EQ(ends->read->poll(nullptr), uint32_t(pollin | pollrdnorm));
    ends->write.reset();
    EXPECT_EQ(ends->read->poll(nullptr), uint32_t(pollin | pollrdnorm | pollhup));
    EXPECT_EQ(get(*ends->read, &c, 1), 1);
    EXPECT_EQ(get(*ends->read, &c, 1), 0); // the end
    EXPECT_EQ(ends->read->poll(nullptr), uint32_t(pollhup));
}

namespace {

struct transfer {
    file* end;
    uint64_t size;
    std::atomic<uint64_t> wrong{0};
};

void send_all(void* context) {
    auto& t = *static_cast<transfer*>(context);
    uint8_t bytes[700];
    for (uint64_t at = 0; at < t.size;) {
        uint64_t n = std::min<uint64_t>(t.size - at, 1 + (at * 31) % sizeof(bytes));
        for (uint64_t i = 0; i < n; i++)
            bytes[i] = byte_at(at + i);
        if (put(*t.end, bytes, n) != int64_t(n)) {
            t.wrong.fetch_add(1);
            return;
        }
        at += n;
    }
}

} // namespace

// A blocking writer and a blocking reader on whatever processors there are.
KTEST(pipe, carries_bytes_between_threads) {
    auto ends = pipe_make(0);
    REQUIRE(ends.has_value());
    REQUIRE(ends->write->set_pipe_size(page_size).has_value()); // so that both have to wait
    transfer t{ends->write.get(), 1 << 20};
    auto sender = kernel_thread_start("pipe writer", send_all, &t);
    REQUIRE(sender.has_value());
    uint8_t bytes[900];
    uint64_t at = 0, wrong = 0;
    while (at < t.size) {
        int64_t n = get(*ends->read, bytes, 1 + (at * 13) % sizeof(bytes));
        if (n <= 0)
            break;
        for (int64_t i = 0; i < n; i++)
            wrong += bytes[i] != byte_at(at + uint64_t(i));
        at += uint64_t(n);
    }
    kernel_thread_join(**sender);
    EXPECT_EQ(at, t.size);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(t.wrong.load(), 0u);
}

// A poller sleeps until its pipe has something, and is on no list afterwards.
KTEST(pipe, wakes_a_poller) {
    auto ends = pipe_make(0);
    REQUIRE(ends.has_value());
    transfer t{ends->write.get(), 1};
    {
        poll_sleeper p;
        EXPECT_EQ(ends->read->poll(&p), 0u);
        auto sender = kernel_thread_start("pipe writer", send_all, &t);
        REQUIRE(sender.has_value());
        EXPECT(p.wait(forever).has_value());
        EXPECT_EQ(ends->read->poll(nullptr), uint32_t(pollin | pollrdnorm));
        kernel_thread_join(**sender);
    }
    char c;
    EXPECT_EQ(get(*ends->read, &c, 1), 1); // notifies a queue that nobody waits on any more
}

// However often it asks, and whoever else asks in between: a change tells each poller once.
KTEST(pipe, has_each_poller_once) {
    auto ends = pipe_make(0);
    REQUIRE(ends.has_value());
    auto entries = [] {
        for (pool_base* p = pool_base::first(); p; p = p->next())
            if (std::string_view(p->name()) == "poll_entry")
                return p->live();
        return uint64_t{0};
    };
    const uint64_t before = entries();
    {
        poll_sleeper first, second;
        for (int i = 0; i < 100; i++) {
            EXPECT_EQ(ends->read->poll(&first), 0u);
            EXPECT_EQ(ends->read->poll(&second), 0u);
        }
        EXPECT_EQ(entries(), before + 2);
        EXPECT_EQ(put(*ends->write, "x", 1), 1);
        EXPECT(first.wait(forever).has_value());
        EXPECT(second.wait(forever).has_value());
    }
    EXPECT_EQ(entries(), before);
}
