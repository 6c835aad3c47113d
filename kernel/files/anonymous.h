// Files that no directory has: pipes, event counters and their kin, memory files.
//
// Each has a node all the same, of a file system that is mounted nowhere: pipefs, anon_inodefs, and
// a tmpfs for memory files. So a descriptor, a look-up of its /proc/PID/fd/N and what O_PATH holds
// of it mean one inode, with a number and a device that no other file has.
#pragma once

#include "kernel/files/vnode.h"

// A file system of nodes without names.
class nameless_file_system final : public file_system {
public:
    nameless_file_system(const char* type, uint64_t magic) : file_system(type), magic_(magic) {}
    void destroy() override;
    ref_ptr<vnode> root() override { return {}; }
    uint64_t magic() const override { return magic_; }
    bool busy(unsigned) override { return true; }
    uint64_t new_inode() { return next_inode_.fetch_add(1); }

private:
    const uint64_t magic_;
    std::atomic<uint64_t> next_inode_{1};
};

// What a file is of that is nothing but its description. All of one kind share a node, and all
// kinds an inode number, as on Linux: nothing that stat(2) tells differs.
enum class anonymous_kind : uint8_t { afork, epoll, eventfd, pidfd, signalfd, timerfd };
vnode& anonymous_node(anonymous_kind kind);
// Makes them. Once, before the first process; panics without memory.
void anonymous_init();
