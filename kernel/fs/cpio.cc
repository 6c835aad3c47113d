// The "newc" format (cpio(5)): for each file a header of 110 characters, the name with its NUL, and
// the contents, each padded to 4 bytes; at the end an entry named TRAILER!!!. Of files with several
// names, the contents come with one of them and the inode number says which belong together.
#include "kernel/fs/cpio.h"

#include "kernel/files/lookup.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_pages.h"

#include <algorithm>

using namespace linux_abi;

namespace {

constexpr std::string_view magic = "070701";
constexpr std::string_view trailer = "TRAILER!!!";
constexpr size_t header_size = 110;

constexpr size_t padded(size_t n) { return (n + 3) & ~size_t{3}; }

struct header {
    uint32_t inode, mode, uid, gid, links, mtime, size, device_major, device_minor, rdev_major,
        rdev_minor, name_size, check;
};

// A name of a file that has others, from this archive.
struct linked_file {
    linked_file* next;
    uint32_t inode, device_major, device_minor;
    ref_ptr<vnode> node;
};

bool parse_hex(const char* digits, uint32_t& out) {
    out = 0;
    for (int i = 0; i < 8; i++) {
        char c = digits[i];
        uint32_t value = c >= '0' && c <= '9'   ? uint32_t(c - '0')
                         : c >= 'a' && c <= 'f' ? uint32_t(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? uint32_t(c - 'A' + 10)
                                                : 16;
        if (value == 16)
            return false;
        out = out << 4 | value;
    }
    return true;
}

bool parse_header(std::string_view text, header& h) {
    if (text.size() < header_size || text.substr(0, magic.size()) != magic)
        return false;
    uint32_t* fields[] = {&h.inode,        &h.mode,       &h.uid,        &h.gid,
                          &h.links,        &h.mtime,      &h.size,       &h.device_major,
                          &h.device_minor, &h.rdev_major, &h.rdev_minor, &h.name_size,
                          &h.check};
    const char* at = text.data() + magic.size();
    for (uint32_t* field : fields) {
        if (!parse_hex(at, *field))
            return false;
        at += 8;
    }
    return true;
}

class unpacker {
public:
    unpacker(std::string_view archive, ref_ptr<vnode> root, cpio_memory* memory)
        : rest_(archive), root_(std::move(root)), memory_(memory) {}
    ~unpacker() { forget_links(); }

    expected<cpio_statistics> run() {
        while (skip_zeros()) {
            header h;
            if (!parse_header(rest_, h) || h.name_size == 0) {
                done_.damaged = true;
                break;
            }
            size_t data_at = padded(header_size + size_t(h.name_size));
            size_t entry_size = data_at + padded(h.size);
            if (data_at + h.size > rest_.size()) {
                done_.damaged = true;
                break;
            }
            std::string_view name = rest_.substr(header_size, h.name_size - 1);
            std::string_view data = rest_.substr(data_at, h.size);
            rest_.remove_prefix(std::min(entry_size, rest_.size()));
            if (name == trailer)
                forget_links(); // another archive has inode numbers of its own
            else
                TRY(entry(h, name, data));
            read_until(rest_.data());
        }
        return done_;
    }

private:
    bool skip_zeros() {
        size_t n = 0;
        while (n < rest_.size() && rest_[n] == '\0')
            n++;
        rest_.remove_prefix(n);
        return !rest_.empty();
    }

    // Anything but want of memory spoils only this entry.
    status survive(status s) {
        if (!s && s.error() == Errno::nomem)
            return s;
        done_.damaged = done_.damaged || !s;
        return {};
    }

    status entry(const header& h, std::string_view name, std::string_view data) {
        while (!name.empty() && name.front() == '/')
            name.remove_prefix(1);
        if (name.empty() || name == "." || name.size() >= path_max)
            return {};
        done_.entries++;
        done_.bytes += data.size();
        return survive(make(h, name, data));
    }

    status make(const header& h, std::string_view name, std::string_view data) {
        kmem_array<char> path(name.size() + 1);
        if (!path)
            return fail(Errno::nomem);
        memcpy(path.data(), name.data(), name.size());
        TRY(make_parents(path.data()));
        path_walk walk(root_, path.data());
        TRY(walk.to_last());
        if (walk.dot_name())
            return fail(Errno::inval);
        vnode& directory = walk.directory();
        ref_ptr<vnode> node = TRY(walk.last(false));
        linked_file* linked = h.links > 1 ? find_link(h) : nullptr;
        if (node && linked && node == linked->node) {
            // The same name of the same file again: new contents only.
        } else if (node && node->is_directory() && (h.mode & s_ifmt) == s_ifdir) {
            // Already there: the new owner and mode count.
        } else {
            if (node)
                TRY(directory.remove(walk.name(), node->is_directory()));
            if (linked) {
                TRY(directory.link(walk.name(), *linked->node));
                node = linked->node;
            } else {
                new_node is{h.mode, h.uid, h.gid, make_device(h.rdev_major, h.rdev_minor)};
                if ((h.mode & s_ifmt) == s_iflnk)
                    is.target = data;
                node = TRY(directory.create(walk.name(), is));
                if (h.links > 1 && !node->is_directory())
                    TRY(remember_link(h, node));
            }
        }
        if (node->is_regular() && !data.empty())
            TRY(fill(*node, data));
        uint64_t time = uint64_t(h.mtime) * nanos_per_second;
        return node->change_attributes([&](const vattr&) -> expected<vattr_change> {
            return vattr_change{
                .mode = h.mode, .uid = h.uid, .gid = h.gid, .atime = time, .mtime = time};
        });
    }

    // Archives need not list the directories on the way.
    status make_parents(char* path) {
        for (char* slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
            *slash = '\0';
            path_walk walk(root_, path);
            status s = [&]() -> status {
                TRY(walk.to_last());
                if (!TRY(walk.last(true)) && !walk.dot_name())
                    TRY(walk.directory().create(walk.name(), {s_ifdir | 0755, 0, 0}));
                return {};
            }();
            *slash = '/';
            TRY(std::move(s));
        }
        return {};
    }

    status fill(vnode& node, std::string_view data) {
        ref_ptr<uvm_pages> memory = node.memory();
        TRY(memory->resize(data.size()));
        for (size_t at = 0; at < data.size(); at += page_size) {
            held_page page = TRY(memory->hold(at >> page_shift, uvm_pages::purpose::write));
            const size_t size = std::min(page_size, data.size() - at);
            memcpy(page.data(), data.data() + at, size);
            read_until(data.data() + at + size);
        }
        return {};
    }

    void read_until(const char* end) {
        if (memory_)
            memory_->read_until(end);
    }

    linked_file* find_link(const header& h) {
        for (linked_file* l = links_; l; l = l->next)
            if (l->inode == h.inode && l->device_major == h.device_major &&
                l->device_minor == h.device_minor)
                return l;
        return nullptr;
    }
    status remember_link(const header& h, ref_ptr<vnode> node);
    void forget_links();

    std::string_view rest_;
    const ref_ptr<vnode> root_;
    cpio_memory* const memory_;
    linked_file* links_ = nullptr;
    cpio_statistics done_;
};

constinit pool<linked_file> linked_files{"cpio_link"};

status unpacker::remember_link(const header& h, ref_ptr<vnode> node) {
    auto* l = linked_files.create(links_, h.inode, h.device_major, h.device_minor, std::move(node));
    if (!l)
        return fail(Errno::nomem);
    links_ = l;
    return {};
}

void unpacker::forget_links() {
    while (linked_file* l = links_) {
        links_ = l->next;
        linked_files.destroy(l);
    }
}

} // namespace

bool cpio_recognised(std::string_view archive) {
    size_t n = 0;
    while (n < archive.size() && archive[n] == '\0')
        n++;
    return archive.substr(n, magic.size()) == magic;
}

expected<cpio_statistics> cpio_unpack(std::string_view archive, ref_ptr<vnode> root,
                                      cpio_memory* memory) {
    unpacker u(archive, std::move(root), memory);
    return u.run();
}
