#include "kernel/process/security.h"

#include "lib/long_work.h"
#include "lib/serial.h"
#include "vm/vmspace.h"

#include <algorithm>

namespace {

constinit pool<security_context> contexts{"security_context"};
constinit pool<group_list> group_lists{"group_list"};

} // namespace

expected<ref_ptr<const group_list>> group_list::create(kmem_array<uint32_t> groups) {
    // By heap, which takes no stack and can be left anywhere.
    for (uint32_t* end = groups.begin(); end != groups.end(); TRY(long_work::go_on()))
        std::push_heap(groups.begin(), ++end);
    for (uint32_t* end = groups.end(); end != groups.begin(); TRY(long_work::go_on()))
        std::pop_heap(groups.begin(), end--);
    auto list = ref_ptr<const group_list>::adopt(group_lists.create(std::move(groups)));
    if (!list)
        return fail(Errno::nomem);
    return list;
}

void group_list::last_reference_gone() { group_lists.destroy(this); }

bool group_list::has(uint32_t gid) const {
    return std::binary_search(groups_.begin(), groups_.end(), gid);
}

security_context::security_context(const credentials& who, bool may_be_looked_at, uint64_t which,
                                   lock_rank end)
    : end_takes(end), cred(who), dumpable(may_be_looked_at), program(which) {}

expected<ref_ptr<security_context>> security_context::create(const credentials& who, bool dumpable,
                                                             uint64_t program) {
    auto bare =
        ref_ptr<security_context>::adopt(contexts.create(who, false, program, lock_rank::pool));
    if (!bare)
        return fail(Errno::nomem);
    auto made = ref_ptr<security_context>::adopt(
        contexts.create(who, dumpable, program, vmspace::end_takes));
    if (!made)
        return fail(Errno::nomem);
    made->without_memory = std::move(bare);
    return made;
}

ref_ptr<const security_context> security_context::of_the_kernel() {
    // Holds its own first reference.
    static security_context root({}, false, new_program(), lock_rank::pool);
    return ref_ptr<const security_context>(&root);
}

uint64_t security_context::new_program() { return vm_serial().value(); }

void security_context::last_reference_gone() { contexts.destroy(this); }

// ---- The rules -------------------------------------------------------------------------------

// All three ids of a program, for it may have taken up any of them.
static bool all_are(const credentials& c, uint32_t uid, uint32_t gid) {
    return c.uid == uid && c.euid == uid && c.suid == uid && c.gid == gid && c.egid == gid &&
           c.sgid == gid;
}

bool credentials_may_access(const credentials& self, const security_context& its,
                            access_mode mode) {
    if (self.superuser())
        return true;
    const bool real = mode == access_mode::realcreds;
    return its.dumpable && !its.cred.superuser() &&
           all_are(its.cred, real ? self.uid : self.fsuid, real ? self.gid : self.fsgid);
}

bool credentials_may_signal(const credentials& self, const credentials& target) {
    return self.superuser() || self.euid == target.suid || self.euid == target.uid ||
           self.uid == target.suid || self.uid == target.uid;
}

bool credentials_may_limit(const credentials& self, const credentials& target) {
    return self.superuser() || all_are(target, self.uid, self.gid);
}

bool credentials_may_schedule(const credentials& self, const credentials& target) {
    return self.superuser() || self.euid == target.euid || self.euid == target.uid;
}
