#include "kernel/fs/devpts.h"

#include "kernel/files/file.h"
#include "kernel/files/permission.h"
#include "kernel/files/vnode_file.h"
#include "kernel/process/process.h"
#include "kernel/tty/pty.h"
#include "lib/format.h"
#include "vm/phys/pool.h"

#include <algorithm>

using namespace linux_abi;

namespace {

constexpr uint32_t tty_group = 5;
constexpr uint64_t root_inode = 1, first_inode = 3; // of number 0

class pts_system final : public file_system {
public:
    pts_system() : file_system("devpts") {}
    void destroy() override {}
    ref_ptr<vnode> root() override;
    uint64_t magic() const override { return 0x1cd1; }
    bool busy(unsigned) override { return true; }
};
pts_system the_one;

// Of a terminal, which it keeps: who has it open as a path means this terminal, and no later one of
// the same number.
class pts_node final : public vnode {
public:
    pts_node(ref_ptr<pty> of, const new_node& is)
        : vnode(the_one, first_inode + of->number(), is), pty_(std::move(of)) {}
    void last_reference_gone() override;
    expected<ref_ptr<file>> open(uint32_t flags) override { return pty_->open_slave(*this, flags); }
    ref_ptr<vnode> parent() override { return the_one.root(); }
    expected<ref_ptr<vnode>> name_in_parent(char* out) override {
        if (pty_->node().get() != this)
            return fail(Errno::noent);
        format_to(out, name_max + 1, "%u", pty_->number());
        return the_one.root();
    }

private:
    const ref_ptr<pty> pty_;
};
constinit pool<pts_node> pts_nodes{"pts_node"};

void pts_node::last_reference_gone() { pts_nodes.destroy(this); }

class pts_root final : public vnode {
public:
    pts_root() : vnode(the_one, root_inode, {s_ifdir | 0755, 0, 0}) {}
    void last_reference_gone() override {} // it is there for ever
    expected<ref_ptr<vnode>> lookup(std::string_view name) override;
    expected<ref_ptr<vnode>> create_nameless(const new_node&) override {
        return fail(Errno::acces);
    }
    status read_directory(uint64_t& position, dir_sink& sink) override;
    expected<ref_ptr<file>> open(uint32_t flags) override { return directory_open(*this, flags); }
};

// -1: it is not one that is written as a number is.
int number_of(std::string_view name) {
    if (name.empty() || name.size() > 4 || (name[0] == '0' && name.size() > 1))
        return -1;
    int n = 0;
    for (char c : name) {
        if (c < '0' || c > '9')
            return -1;
        n = n * 10 + (c - '0');
    }
    return n;
}

expected<ref_ptr<vnode>> pts_root::lookup(std::string_view name) {
    const int n = number_of(name);
    if (n >= 0)
        if (const ref_ptr<pty> p = pty::find(unsigned(n)))
            if (ref_ptr<vnode> node = p->node())
                return node;
    return fail(Errno::noent);
}

// Positions: 0 and 1 "." and "..", then 2 + n for the number n.
status pts_root::read_directory(uint64_t& position, dir_sink& sink) {
    for (; position < 2; position++)
        if (!sink.add(position == 0 ? "." : "..", root_inode, dirent_type(s_ifdir), position + 1))
            return {};
    for (int n; (n = pty::next(unsigned(std::min<uint64_t>(position - 2, pty::most)))) >= 0;) {
        char name[12];
        format_to(name, sizeof name, "%d", n);
        const uint64_t next = 2 + uint64_t(n) + 1;
        if (!sink.add(name, first_inode + uint64_t(n), dirent_type(s_ifchr), next))
            return {};
        position = next;
    }
    return {};
}

pts_root the_root;

ref_ptr<vnode> pts_system::root() { return ref_ptr<vnode>(&the_root); }

} // namespace

file_system& devpts() { return the_one; }

expected<ref_ptr<file>> devpts_open_master(vnode& ptmx, uint32_t flags) {
    ref_ptr<pty> fresh = TRY(pty::create());
    const credentials who = current_credentials();
    auto node = ref_ptr<vnode>::adopt(
        pts_nodes.create(fresh, new_node{s_ifchr | 0620, who.fsuid, tty_group, fresh->device()}));
    if (!node)
        return fail(Errno::nomem);
    return fresh->open_master(ptmx, std::move(node), flags);
}
