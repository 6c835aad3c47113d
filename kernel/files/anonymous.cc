// anon_inodefs. pipefs is in pipe.cc, memory files in kernel/fs/memory_file.cc.
#include "kernel/files/anonymous.h"

#include "kernel/base/panic.h"
#include "kernel/files/file.h"
#include "lib/format.h"
#include "vm/phys/pool.h"

#include <iterator>

void nameless_file_system::destroy() { panic("%s is mounted nowhere", type()); }

// ---- Files that are nothing but a description ------------------------------------------------

namespace {

nameless_file_system anon_inodefs{"anon_inodefs", 0x09041934};

class anon_inode final : public vnode {
public:
    anon_inode(uint64_t inode, const char* name)
        : vnode(anon_inodefs, inode, {0600, 0, 0}), name_(name) {}
    void last_reference_gone() override { panic("%s: nobody refers to it", name_); }
    expected<ref_ptr<file>> open(uint32_t) override { return fail(Errno::nxio); }
    void pseudo_path(char* out, size_t size) override {
        format_to(out, size, "anon_inode:[%s]", name_);
    }

private:
    status attributes_changeable() override { return fail(Errno::opnotsupp); } // it is everybody's

    const char* const name_;
};

constexpr const char* kind_names[] = {"afork", "eventpoll", "eventfd",
                                      "pidfd", "signalfd",  "timerfd"};
constinit pool<anon_inode> anon_inodes{"anon_inode"};
anon_inode* nodes[std::size(kind_names)]; // set once

} // namespace

vnode& anonymous_node(anonymous_kind kind) { return *nodes[size_t(kind)]; }

void anonymous_init() {
    const uint64_t inode = anon_inodefs.new_inode();
    for (size_t i = 0; i < std::size(kind_names); i++)
        if (!(nodes[i] = anon_inodes.create(inode, kind_names[i])))
            panic("no memory for %s", anon_inodefs.type());
}
