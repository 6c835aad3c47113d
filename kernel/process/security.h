// Who a process is, what memory it has, and who may look at it. docs/security.md tells the rules.
//
// Credentials, address space and dumpable of a process are asked together, so they change together:
// they are one security_context, immutable from when it is published. Whoever looks at another
// process takes a reference to its context, asks that, and goes on with the memory that *it* has.
// What the process becomes meanwhile is out of his reach, and nobody waits for anybody.
#pragma once

#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "vm/phys/pool.h"

#include <cstdint>
#include <span>

struct process;
class vmspace;

// Supplementary groups, which setgroups makes and nobody changes: credentials are copied at every
// look, and a list may be long. It belongs to the processes that have it.
class group_list : public ref_counted<group_list> {
public:
    static constexpr auto end_takes = lock_rank::pool;
    static constexpr size_t most = 65536; // NGROUPS_MAX

    // Sorts them, as Linux does. ENOMEM; EINTR when the caller is about to die. May sleep.
    static expected<ref_ptr<const group_list>> create(kmem_array<uint32_t> groups);
    explicit group_list(kmem_array<uint32_t> groups) : groups_(std::move(groups)) {}
    void last_reference_gone();

    bool has(uint32_t gid) const;
    std::span<const uint32_t> groups() const { return {groups_.data(), groups_.size()}; }
    uint64_t footprint() const { return groups_.size() * sizeof(uint32_t); } // bytes

private:
    const kmem_array<uint32_t> groups_;
};

struct credentials {
    uint32_t uid = 0, euid = 0, suid = 0, fsuid = 0;
    uint32_t gid = 0, egid = 0, sgid = 0, fsgid = 0;
    ref_ptr<const group_list> supplementary; // null: none
    bool superuser() const { return euid == 0; }
    bool has_group(uint32_t gid) const { return supplementary && supplementary->has(gid); }
    std::span<const uint32_t> groups() const {
        return supplementary ? supplementary->groups() : std::span<const uint32_t>();
    }
};

// A process has one at a time, which all its threads share. Others hold it as long as they look.
class security_context : public ref_counted<security_context> {
public:
    // With its without_memory; who makes it puts the address space in before he publishes it.
    // ENOMEM. Does not sleep.
    static expected<ref_ptr<security_context>> create(const credentials& who, bool dumpable,
                                                      uint64_t program);
    // The kernel's own, and that of a process in the making: root, without memory.
    static ref_ptr<const security_context> of_the_kernel();
    // For `program`: no other program has had it, in any process.
    static uint64_t new_program();
    void last_reference_gone();

    const lock_rank end_takes; // its memory's, if it is to have any
    credentials cred CONSTANT_ONCE_SHARED;
    // Null: the kernel, a zombie, a process between two programs.
    ref_ptr<vmspace> vm CONSTANT_ONCE_SHARED;
    // PR_SET_DUMPABLE: others of the same user may look.
    bool dumpable CONSTANT_ONCE_SHARED;
    // Which program it runs, so that leave to look at one is not taken for leave to look at the
    // next. fork makes a new one, as exec does; a change of the user does not.
    uint64_t program CONSTANT_ONCE_SHARED;
    // The same without memory: between two programs, and of a zombie. It is made with the context,
    // because nothing may fail where the memory goes. Null in what has never any.
    ref_ptr<const security_context> without_memory CONSTANT_ONCE_SHARED;

    security_context(const credentials& who, bool may_be_looked_at, uint64_t which, lock_rank end);
};

// By which of the caller's ids he is judged: the file system's where he looks through a file of
// /proc, the real ones where he makes a system call. ptrace(2), PTRACE_MODE_*.
enum class access_mode : uint8_t { fscreds, realcreds };

// May one with credentials `self` look into a process of another that has this context? Linux's
// ptrace_may_access: root may; others, if all of its ids are theirs, it is dumpable and not root.
bool credentials_may_access(const credentials& self, const security_context& its, access_mode mode);
// May he send it a signal; set its limits; change how it is scheduled?
bool credentials_may_signal(const credentials& self, const credentials& target);
bool credentials_may_limit(const credentials& self, const credentials& target);
bool credentials_may_schedule(const credentials& self, const credentials& target);
