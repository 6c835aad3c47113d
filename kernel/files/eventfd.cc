// eventfd(2): a counter that is a file.
#include "kernel/abi/files.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/process/thread.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

class event_file final : public file {
public:
    event_file(uint32_t initial, bool semaphore, uint32_t flags)
        : file(anonymous_node(anonymous_kind::eventfd), flags), count_(initial),
          semaphore_(semaphore) {}
    void closed() override;

    expected<int64_t> read(uio& io) override;
    expected<int64_t> write(uio& io) override;
    expected<int64_t> seek(int64_t, int) override { return 0; }
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override;

private:
    static constexpr uint64_t most = UINT64_MAX - 1;

    spin_lock lock_{lock_rank::pipe_state, "eventfd"};
    uint64_t count_ GUARDED_BY(lock_);
    const bool semaphore_;
    wait_queue changed_ GUARDED_BY(lock_);
    poll_queue pollers_;
};

constinit pool<event_file> event_files{"eventfd"};

void event_file::closed() { event_files.destroy(this); }

expected<int64_t> event_file::read(uio& io) {
    if (io.remaining() < sizeof(uint64_t))
        return fail(Errno::inval);
    uint64_t value;
    {
        lock_guard guard(lock_);
        while (count_ == 0) {
            if (nonblocking())
                return fail(Errno::again);
            if (!changed_.wait_interruptible(lock_, "eventfd_read"))
                return fail(Errno::restartsys);
        }
        value = semaphore_ ? 1 : count_;
        count_ -= value;
        changed_.wake_all();
    }
    pollers_.notify(pollout | pollwrnorm);
    return io.result(io.move(&value, sizeof(value)));
}

expected<int64_t> event_file::write(uio& io) {
    uint64_t value;
    if (io.remaining() < sizeof(value))
        return fail(Errno::inval);
    TRY(io.move(&value, sizeof(value)));
    if (value == UINT64_MAX)
        return fail(Errno::inval);
    {
        lock_guard guard(lock_);
        while (most - count_ < value) {
            if (nonblocking())
                return fail(Errno::again);
            if (!changed_.wait_interruptible(lock_, "eventfd_write"))
                return fail(Errno::restartsys);
        }
        count_ += value;
        changed_.wake_all();
    }
    pollers_.notify(pollin | pollrdnorm);
    return int64_t(sizeof(value));
}

uint32_t event_file::poll(poller* p) {
    if (p)
        p->add(pollers_);
    lock_guard guard(lock_);
    return (count_ > 0 ? pollin | pollrdnorm : 0) | (count_ < most ? pollout | pollwrnorm : 0);
}

} // namespace

sysresult sys_eventfd2(uint32_t initial, sys_open_flags flags) {
    uint32_t known = uint32_t(efd_semaphore) | o_nonblock | o_cloexec;
    if (uint32_t(flags.value) & ~known)
        return fail(Errno::inval);
    auto opened = ref_ptr<file>::adopt(event_files.create(
        initial, flags.value & efd_semaphore, o_rdwr | (uint32_t(flags.value) & o_nonblock)));
    if (!opened)
        return fail(Errno::nomem);
    return TRY(current_thread().files->install(std::move(opened), flags.value & o_cloexec));
}

sysresult sys_eventfd(uint32_t initial) { return sys_eventfd2(initial, sys_open_flags{0}); }
