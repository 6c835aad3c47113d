// Character devices that are not terminals: null zero full random urandom kmsg; and the table of
// all.
#include "kernel/fs/device.h"

#include "kernel/base/printk.h"
#include "kernel/base/random.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/pipe.h"
#include "kernel/files/vnode_file.h"
#include "kernel/fs/devpts.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/tty/tty.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// What they share: a position that never moves.
class device_file : public file {
public:
    using file::file;
    expected<int64_t> seek(int64_t, int) override { return 0; }
    bool has_places() const override { return true; }
    expected<int64_t> read_at(uio& io, uint64_t) override { return read(io); }
    expected<int64_t> write_at(uio& io, uint64_t) override { return write(io); }

protected:
    static expected<int64_t> swallow(uio& io) {
        io.skip(io.remaining());
        return int64_t(io.moved());
    }
};

class null_file final : public device_file {
public:
    using device_file::device_file;
    void closed() override;
    expected<int64_t> read(uio&) override { return 0; }
    expected<int64_t> write(uio& io) override { return swallow(io); }
};

class zero_file final : public device_file {
public:
    zero_file(vnode& node, uint32_t flags, bool full) : device_file(node, flags), full_(full) {}
    void closed() override;
    expected<int64_t> read(uio& io) override { return io.result(io.move_zeros(io.remaining())); }
    expected<int64_t> write(uio& io) override {
        if (full_)
            return fail(Errno::nospc);
        return swallow(io);
    }
    expected<ref_ptr<uvm_object>> mmap_object() override {
        if (full_)
            return fail(Errno::nodev);
        return ref_ptr<uvm_object>();
    }

private:
    const bool full_; // /dev/full: nothing can be written
};

class random_file final : public device_file {
public:
    using device_file::device_file;
    bool pollable() const override { return true; }
    void closed() override;
    expected<int64_t> read(uio& io) override {
        std::byte bytes[256];
        status copied;
        while (io.remaining() && copied) {
            size_t n = std::min<uint64_t>(io.remaining(), sizeof(bytes));
            random_fill({bytes, n});
            copied = io.move(bytes, n);
        }
        return io.result(copied);
    }
    // What is written goes into the seed.
    expected<int64_t> write(uio& io) override {
        std::byte bytes[256];
        status copied;
        while (io.remaining() && copied) {
            size_t n = std::min<uint64_t>(io.remaining(), sizeof(bytes));
            copied = io.move(bytes, n);
            if (copied)
                random_mix(bytes, n);
        }
        return io.result(copied);
    }
};

// The kernel's log: a read gives one line, a write logs one.
class kmsg_file final : public device_file {
public:
    kmsg_file(vnode& node, uint32_t flags) : device_file(node, flags), position_(printk_begin()) {}
    void closed() override;
    expected<int64_t> read(uio& io) override;
    expected<int64_t> write(uio& io) override;
    expected<int64_t> seek(int64_t offset, int whence) override;
    bool has_places() const override { return false; }

private:
    static constexpr size_t longest_line = 512;
    sleep_lock lock_{lock_rank::file_position, "kmsg"};
    uint64_t position_ GUARDED_BY(lock_);
};

constinit pool<null_file> null_files{"null_file"};
constinit pool<zero_file> zero_files{"zero_file"};
constinit pool<random_file> random_files{"random_file"};
constinit pool<kmsg_file> kmsg_files{"kmsg_file"};

void null_file::closed() { null_files.destroy(this); }
void zero_file::closed() { zero_files.destroy(this); }
void random_file::closed() { random_files.destroy(this); }
void kmsg_file::closed() { kmsg_files.destroy(this); }

// A record as Linux writes it: "priority,sequence,microseconds,-;text\n". The sequence number here
// is the line's place in the log.
expected<int64_t> kmsg_file::read(uio& io) {
    char line[longest_line], record[longest_line + 64];
    lock_guard guard(lock_);
    uint64_t after = position_;
    size_t n = printk_read(after, {line, sizeof(line) - 1});
    if (n == 0)
        return fail(Errno::again);
    uint64_t start = after - n;
    if (auto* end = static_cast<char*>(memchr(line, '\n', n)))
        n = size_t(end - line);
    line[n] = '\0';
    // The log's own time stamp, "[    1.234567] ", becomes the record's.
    uint64_t microseconds = 0;
    const char* text = line;
    if (line[0] == '[') {
        const char* p = line + 1;
        for (; *p && *p != ']'; p++)
            if (*p >= '0' && *p <= '9')
                microseconds = microseconds * 10 + uint64_t(*p - '0');
        if (*p)
            text = p[1] == ' ' ? p + 2 : p + 1;
    }
    int length = format_to(record, sizeof(record), "6,%llu,%llu,-;%s\n", (unsigned long long)start,
                           (unsigned long long)microseconds, text);
    if (uint64_t(length) > io.remaining())
        return fail(Errno::inval);
    TRY(io.move(record, uint64_t(length)));
    position_ = start + n + 1;
    return length;
}

expected<int64_t> kmsg_file::write(uio& io) {
    char line[longest_line];
    uint64_t size = io.remaining();
    if (size >= sizeof(line))
        return fail(Errno::inval);
    TRY(io.move(line, size));
    line[size && line[size - 1] == '\n' ? size - 1 : size] = '\0';
    // "<priority>" may come first.
    const char* text = line;
    if (text[0] == '<')
        if (const char* end = strchr(text, '>'))
            text = end + 1;
    printk("%s", text);
    return int64_t(size);
}

expected<int64_t> kmsg_file::seek(int64_t offset, int whence) {
    lock_guard guard(lock_);
    if (offset != 0)
        return fail(Errno::spipe);
    if (whence == seek_set)
        position_ = printk_begin();
    else if (whence == seek_end)
        position_ = printk_end();
    else
        return fail(Errno::inval);
    return 0;
}

template <class F, class... Args>
expected<ref_ptr<file>> make(pool<F>& from, vnode& node, Args... args) {
    auto f = ref_ptr<file>::adopt(from.create(node, args...));
    if (!f)
        return fail(Errno::nomem);
    return f;
}

// Linux's numbers.
enum : uint32_t { memory_major = 1, serial_major = 4, console_major = 5 };
enum : uint32_t {
    null_minor = 3,
    zero_minor = 5,
    full_minor = 7,
    random_minor = 8,
    urandom_minor = 9,
    kmsg_minor = 11,
};
constexpr uint32_t first_serial_minor = 64;

struct device_entry {
    const char* name;
    uint32_t major, minor, permissions;
};
constexpr device_entry devices[] = {
    {"null", memory_major, null_minor, 0666},
    {"zero", memory_major, zero_minor, 0666},
    {"full", memory_major, full_minor, 0666},
    {"random", memory_major, random_minor, 0666},
    {"urandom", memory_major, urandom_minor, 0666},
    {"kmsg", memory_major, kmsg_minor, 0644},
    {"tty", console_major, 0, 0666},
    {"console", console_major, 1, 0600},
    {"ptmx", console_major, 2, 0666},
    {"ttyS0", serial_major, first_serial_minor, 0620},
    {"ttyS1", serial_major, first_serial_minor + 1, 0620},
};

struct link_entry {
    const char *name, *target;
};
constexpr link_entry links[] = {
    {"fd", "/proc/self/fd"},
    {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"},
};

constexpr uint32_t tty_group = 5, disk_group = 6;

} // namespace

expected<ref_ptr<file>> character_device_open(vnode& node, uint32_t flags) {
    uint32_t major = device_major(node.device()), minor = device_minor(node.device());
    switch (major) {
    case memory_major:
        switch (minor) {
        case null_minor: return make(null_files, node, flags);
        case zero_minor: return make(zero_files, node, flags, false);
        case full_minor: return make(zero_files, node, flags, true);
        case random_minor:
        case urandom_minor: return make(random_files, node, flags);
        case kmsg_minor: return make(kmsg_files, node, flags);
        default: break;
        }
        break;
    case console_major:
        if (minor == 0)
            return tty_open_controlling(node, flags);
        if (minor == 1)
            return tty_open(node, 0, flags | o_noctty); // which never becomes one by being opened
        if (minor == 2)
            return devpts_open_master(node, flags);
        break;
    case serial_major:
        if (minor >= first_serial_minor && minor < first_serial_minor + tty_line_count)
            return tty_open(node, minor - first_serial_minor, flags);
        break;
    default: break;
    }
    return fail(Errno::nxio);
}

expected<ref_ptr<file>> special_file_open(vnode& node, ref_ptr<pipe_channel>& fifo,
                                          uint32_t flags) {
    switch (node.type()) {
    case s_ifdir: return directory_open(node, flags);
    case s_ififo: {
        ref_ptr<pipe_channel> channel;
        {
            lock_guard guard(node.lock());
            if (!fifo)
                fifo = TRY(pipe_channel::create());
            channel = fifo;
        }
        return pipe_open(node, std::move(channel), flags);
    }
    case s_ifchr: return character_device_open(node, flags);
    case s_ifblk: return block_device_open(node, flags);
    default: return fail(Errno::nxio); // sockets: nobody listens
    }
}

static status populate(tmpfs& fs) {
    ref_ptr<vnode> root = fs.root();
    for (const device_entry& d : devices) {
        uint32_t gid = d.major == memory_major ? 0 : tty_group;
        TRY(root->create(d.name, {s_ifchr | d.permissions, 0, gid, make_device(d.major, d.minor)}));
    }
    for (disk* d = disk_next(nullptr); d; d = disk_next(d))
        TRY(root->create(d->is.name, {s_ifblk | 0660, 0, disk_group, d->is.number}));
    for (const link_entry& l : links)
        TRY(root->create(l.name, {s_iflnk | 0777, 0, 0, 0, l.target}));
    TRY(root->create("pts", {s_ifdir | 0755, 0, 0}));
    TRY(root->create("shm", {s_ifdir | s_isvtx | 0777, 0, 0}));
    return {};
}

expected<tmpfs*> devtmpfs_create(ref_ptr<page_quota> shared) {
    tmpfs* fs = TRY(tmpfs::create("devtmpfs", {s_ifdir | 0755, 0, 0}, tmpfs_limits::usual(),
                                  std::move(shared)));
    if (status s = populate(*fs); !s) {
        fs->destroy();
        return fail(s.error());
    }
    return fs;
}
