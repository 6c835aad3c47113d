// System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2).
//
// A segment is an anonymous object of the VM that also has an id, a key and permissions. Attaching
// is mapping: fork, exec, exit and munmap need no word here, and the number of attachments is the
// number of map entries.
//
//      shmget               the table holds a reference          references: 1
//      shmat                so does each map entry               references: 1 + entries
//      shmctl(IPC_RMID)     the table's is dropped; the segment loses its key, and can
//                           still be found by its id while it is attached
//      the last detach      the object ends, and leaves the table
//
// The table's lock guards the table and every field of the segments that can change. A segment
// is found by a pointer that owns nothing; the reference that it gives is dropped without the
// lock, which the segment's end takes.
#include "kernel/memory/sysv_shm.h"

#include "kernel/abi/memory.h"
#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "kernel/sched/wall_clock.h"
#include "lib/format.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

using namespace linux_abi;

namespace {

constexpr uint32_t permission_bits = 0777;
constexpr int32_t ids_per_turn = 32768; // an id is turn * 32768 + place in the table

struct linux_ipc_perm {
    int32_t key;
    uint32_t uid, gid, cuid, cgid, mode;
    uint16_t seq, pad;
    uint64_t unused[2];
};
struct linux_shmid_ds {
    linux_ipc_perm perm;
    uint64_t size;
    int64_t atime, dtime, ctime;
    int32_t cpid, lpid;
    uint64_t attached, unused[2];
};
static_assert(sizeof(linux_shmid_ds) == 112);
struct linux_shminfo {
    uint64_t max, min, segments, per_process, all, unused[4];
};
struct linux_shm_info {
    int32_t used;
    uint64_t total, resident, swapped, swap_attempts, swap_successes;
};

constinit spin_lock table_lock{lock_rank::sysv_shm, "shm table"};

int64_t seconds_now() { return int64_t(wall_clock() / nanos_per_second); }

class shm_segment final : public uvm_aobj {
public:
    shm_segment(uint64_t bytes, bool charged, int32_t k, const credentials& maker, uint32_t bits)
        : uvm_aobj(bytes, "", charged ? charging::size : charging::pages), key(k), uid(maker.euid),
          gid(maker.egid), creator_uid(maker.euid), creator_gid(maker.egid),
          mode(bits & permission_bits), creator(current_process().pid), change_time(seconds_now()) {
    }
    void last_reference_gone() override;
    void detached() override {
        lock_guard guard(table_lock);
        detach_time = seconds_now();
        last = current_process().pid;
    }
    bool may(const credentials& who, uint32_t wanted) const REQUIRES(table_lock);
    bool owned_by(const credentials& who) const REQUIRES(table_lock) {
        return who.superuser() || who.euid == uid || who.euid == creator_uid;
    }
    shm_facts facts() const REQUIRES(table_lock);

    int32_t id = -1; // set before it is in the table
    int32_t key GUARDED_BY(table_lock);
    uint32_t uid GUARDED_BY(table_lock), gid GUARDED_BY(table_lock);
    const uint32_t creator_uid, creator_gid;
    uint32_t mode GUARDED_BY(table_lock);
    const int32_t creator;
    int32_t last GUARDED_BY(table_lock) = 0;
    int64_t attach_time GUARDED_BY(table_lock) = 0, detach_time GUARDED_BY(table_lock) = 0,
                        change_time GUARDED_BY(table_lock);
};

constinit pool<shm_segment> segments{"shm_segment"};

struct place {
    shm_segment* segment = nullptr; // who is found here, until its end
    ref_ptr<shm_segment> kept;      // until IPC_RMID
};
constinit place table[shm_table_size] GUARDED_BY(table_lock) = {};
int32_t turn GUARDED_BY(table_lock) = 0;
uint64_t total_pages GUARDED_BY(table_lock) = 0;
unsigned used GUARDED_BY(table_lock) = 0;

// Of a segment, Linux's default; of all, see shm_init().
constinit std::atomic<uint64_t> limits[] = {UINT64_MAX - (1 << 24), 0, shm_table_size};

void shm_segment::last_reference_gone() {
    {
        lock_guard guard(table_lock);
        if (id >= 0 && table[id % ids_per_turn].segment == this) {
            table[id % ids_per_turn].segment = nullptr;
            total_pages -= pages_of(size());
            used--;
        }
    }
    segments.destroy(this);
}

// The permission bits `wanted`, given for one class of users (06: to read and write).
bool shm_segment::may(const credentials& who, uint32_t wanted) const {
    if (who.superuser())
        return true;
    auto in_group = [&](uint32_t group) { return who.egid == group || who.has_group(group); };
    uint32_t granted = mode;
    if (who.euid == uid || who.euid == creator_uid)
        granted >>= 6;
    else if (in_group(gid) || in_group(creator_gid))
        granted >>= 3;
    return !(wanted & ~granted & 7);
}

shm_facts shm_segment::facts() const {
    return {.key = key,
            .id = id,
            .mode = mode,
            .size = size(),
            .attached = map_entries(),
            .resident_pages = 0,
            .creator = creator,
            .last = last,
            .uid = uid,
            .gid = gid,
            .creator_uid = creator_uid,
            .creator_gid = creator_gid,
            .attach_time = attach_time,
            .detach_time = detach_time,
            .change_time = change_time};
}

// The segment at that place, if it is not ending.
ref_ptr<shm_segment> segment_at(unsigned index) REQUIRES(table_lock) {
    return ref_ptr<shm_segment>::unless_ending(index < shm_table_size ? table[index].segment
                                                                      : nullptr);
}

// EINVAL.
expected<ref_ptr<shm_segment>> find_segment(int32_t id) {
    ref_ptr<shm_segment> s; // let go of without the lock if it is another one's place by now
    if (id >= 0) {
        lock_guard guard(table_lock);
        s = segment_at(unsigned(id % ids_per_turn));
    }
    if (!s || s->id != id)
        return fail(Errno::inval);
    return s;
}

ref_ptr<shm_segment> find_key(int32_t key) {
    ref_ptr<shm_segment> s;
    lock_guard guard(table_lock);
    for (unsigned i = 0; i < shm_table_size && !s; i++)
        if (table[i].segment && table[i].segment->key == key)
            s = segment_at(i);
    return s;
}

// Puts a new segment into the table, which keeps it. ENOSPC; EEXIST when
// the key has come into use meanwhile.
expected<int32_t> publish(ref_ptr<shm_segment> s) {
    lock_guard guard(table_lock);
    unsigned place = shm_table_size;
    for (unsigned i = shm_table_size; i-- > 0;) {
        if (!table[i].segment)
            place = i;
        else if (s->key != ipc_private && table[i].segment->key == s->key)
            return fail(Errno::exist);
    }
    const uint64_t pages = pages_of(s->size());
    const uint64_t all = shm_get_limit(shm_limit::all);
    if (used >= shm_get_limit(shm_limit::count) || place == shm_table_size || pages > all ||
        total_pages > all - pages)
        return fail(Errno::nospc);
    char name[32];
    format_to(name, sizeof name, "/SYSV%08x (deleted)", unsigned(s->key));
    s->id = turn * ids_per_turn + int32_t(place);
    turn = (turn + 1) % (INT32_MAX / ids_per_turn);
    s->set_identity(name, 1, uint64_t(s->id)); // a device of its own, as Linux's inner tmpfs
    total_pages += pages;
    used++;
    const int32_t id = s->id;
    table[place] = {.segment = s.get(), .kept = std::move(s)};
    return id;
}

expected<int32_t> make_segment(int32_t key, uint64_t size, uint32_t flags) {
    if (size == 0 || size > shm_get_limit(shm_limit::max))
        return fail(Errno::inval);
    if (size > uint64_t{INT64_MAX} - page_size)
        return fail(Errno::nomem);
    const bool charged =
        !(flags & shm_noreserve) || uvm_commit::get_mode() == uvm_commit::mode::strict;
    commit_reservation promise;
    if (charged)
        TRY(promise.take(pages_of(size)));
    auto s = ref_ptr<shm_segment>::adopt(
        segments.create(size, charged, key, current_credentials(), flags));
    if (!s)
        return fail(Errno::nomem);
    promise.keep();
    return publish(std::move(s));
}

expected<int32_t> get_segment(int32_t key, uint64_t size, uint32_t flags) {
    for (;;) {
        if (ref_ptr<shm_segment> s = find_key(key)) {
            if ((flags & ipc_creat) && (flags & ipc_excl))
                return fail(Errno::exist);
            if (size > s->size())
                return fail(Errno::inval);
            const credentials self = current_credentials();
            lock_guard guard(table_lock);
            const uint32_t wanted = (flags >> 6 | flags >> 3 | flags) & 7;
            if (!s->may(self, wanted))
                return fail(Errno::acces);
            return s->id;
        }
        if (!(flags & ipc_creat))
            return fail(Errno::noent);
        expected<int32_t> made = make_segment(key, size, flags);
        if (made || made.error() != Errno::exist)
            return made;
    }
}

bool is_segment(uvm_object& object) {
    lock_guard guard(table_lock);
    for (const place& p : table)
        if (p.segment == &object)
            return true;
    return false;
}

} // namespace

sysresult sys_shmget(int32_t key, uint64_t size, sys_hex flags) {
    if (flags & shm_hugetlb)
        return fail(Errno::inval);
    if (key == ipc_private)
        return TRY(make_segment(key, size, flags));
    return TRY(get_segment(key, size, flags));
}

sysresult sys_shmat(int32_t id, sys_address address, sys_hex flags) {
    if (id < 0)
        return fail(Errno::inval);
    map_request request;
    request.address = address.address();
    if (address && !request.address.page_aligned()) {
        if (!(flags & shm_rnd))
            return fail(Errno::inval);
        request.address = request.address.page_down();
    }
    request.fixed = request.address != vaddr_t{};
    request.no_replace = request.fixed && !(flags & shm_remap);
    if (!request.fixed && (flags & shm_remap))
        return fail(Errno::inval);

    uint32_t wanted = flags & shm_rdonly ? 4 : 6;
    request.prot = flags & shm_rdonly ? vm_prot::read : vm_prot::rw;
    request.max_prot = flags & shm_rdonly ? vm_prot::rx : vm_prot::all;
    if (flags & shm_exec) {
        wanted |= 1;
        request.prot = request.prot | vm_prot::execute;
    }
    const credentials self = current_credentials();
    ref_ptr<shm_segment> s = TRY(find_segment(id));
    {
        lock_guard guard(table_lock);
        if (!s->may(self, wanted))
            return fail(Errno::acces);
    }
    request.shared = true;
    request.size = s->size();
    request.object = s;
    auto at = current_vmspace().map(request);
    if (!at)
        return fail(at.error() == Errno::exist ? Errno::inval : at.error());
    lock_guard guard(table_lock);
    s->attach_time = seconds_now();
    s->last = current_process().pid;
    return int64_t(at->value());
}

sysresult sys_shmdt(sys_address address) {
    if (!address.address().page_aligned())
        return fail(Errno::inval);
    TRY(current_vmspace().unmap_object(address.address(), is_segment));
    return 0;
}

// ---- shmctl ----------------------------------------------------------------------------------

namespace {

// The highest place that is in use: what the two INFO calls return.
int32_t highest_place() {
    lock_guard guard(table_lock);
    for (unsigned i = shm_table_size; i-- > 0;)
        if (table[i].segment)
            return int32_t(i);
    return 0;
}

sysresult give_limits(user_ptr<void> out) {
    linux_shminfo info{.max = shm_get_limit(shm_limit::max),
                       .min = 1,
                       .segments = shm_get_limit(shm_limit::count),
                       .per_process = shm_get_limit(shm_limit::count),
                       .all = shm_get_limit(shm_limit::all),
                       .unused = {}};
    TRY(copy_out(out.address(), &info, sizeof info));
    return highest_place();
}

sysresult give_totals(user_ptr<void> out) {
    linux_shm_info info{};
    shm_facts f;
    for (unsigned i = 0; shm_describe(i, f); i++) {
        info.used++;
        info.total += pages_of(f.size);
        info.resident += f.resident_pages;
    }
    TRY(copy_out(out.address(), &info, sizeof info));
    return highest_place();
}

sysresult give_status(int32_t id, int32_t command, user_ptr<void> out) {
    ref_ptr<shm_segment> s;
    if (command == ipc_stat) {
        s = TRY(find_segment(id));
    } else {
        lock_guard guard(table_lock);
        s = segment_at(unsigned(id));
    }
    if (!s)
        return fail(Errno::inval);
    const credentials self = current_credentials();
    linux_shmid_ds ds{};
    {
        lock_guard guard(table_lock);
        if (command != shm_stat_any && !s->may(self, 4))
            return fail(Errno::acces);
        const shm_facts f = s->facts();
        ds.perm = {.key = f.key,
                   .uid = f.uid,
                   .gid = f.gid,
                   .cuid = f.creator_uid,
                   .cgid = f.creator_gid,
                   .mode = f.mode,
                   .seq = uint16_t(f.id / ids_per_turn),
                   .pad = 0,
                   .unused = {}};
        ds.size = f.size;
        ds.atime = f.attach_time;
        ds.dtime = f.detach_time;
        ds.ctime = f.change_time;
        ds.cpid = f.creator;
        ds.lpid = f.last;
        ds.attached = f.attached;
    }
    TRY(copy_out(out.address(), &ds, sizeof ds));
    return command == ipc_stat ? 0 : s->id;
}

sysresult change_owner(int32_t id, user_ptr<void> in) {
    linux_shmid_ds ds;
    TRY(copy_in(&ds, in.address(), sizeof ds));
    if (ds.perm.uid == UINT32_MAX || ds.perm.gid == UINT32_MAX) // which are nobody
        return fail(Errno::inval);
    const credentials self = current_credentials();
    ref_ptr<shm_segment> s = TRY(find_segment(id));
    lock_guard guard(table_lock);
    if (!s->owned_by(self))
        return fail(Errno::perm);
    s->uid = ds.perm.uid;
    s->gid = ds.perm.gid;
    s->mode = (s->mode & ~permission_bits) | (ds.perm.mode & permission_bits);
    s->change_time = seconds_now();
    return 0;
}

sysresult remove(int32_t id) {
    const credentials self = current_credentials();
    ref_ptr<shm_segment> s = TRY(find_segment(id));
    ref_ptr<shm_segment> kept; // let go of without the lock
    lock_guard guard(table_lock);
    if (!s->owned_by(self))
        return fail(Errno::perm);
    s->mode |= shm_dest;
    s->key = ipc_private; // a new segment may have the key
    kept = std::move(table[id % ids_per_turn].kept);
    return 0;
}

// Nothing is ever swapped: only the mark changes.
sysresult set_locked(int32_t id, bool locked) {
    const credentials self = current_credentials();
    const bool allowed = self.superuser() || !locked || process_limit(rlimit_memlock) != 0;
    ref_ptr<shm_segment> s = TRY(find_segment(id));
    lock_guard guard(table_lock);
    if (!s->owned_by(self) || !allowed)
        return fail(Errno::perm);
    s->mode = locked ? s->mode | shm_locked : s->mode & ~shm_locked;
    return 0;
}

} // namespace

sysresult sys_shmctl(int32_t id, int32_t command, user_ptr<void> buffer) {
    if (id < 0 || command < 0)
        return fail(Errno::inval);
    switch (command) {
    case ipc_info: return give_limits(buffer);
    case shm_info: return give_totals(buffer);
    case ipc_stat:
    case shm_stat:
    case shm_stat_any: return give_status(id, command, buffer);
    case ipc_set: return change_owner(id, buffer);
    case ipc_rmid: return remove(id);
    case shm_lock: return set_locked(id, true);
    case shm_unlock: return set_locked(id, false);
    default: return fail(Errno::inval);
    }
}

// ---- For /proc -------------------------------------------------------------------------------

bool shm_describe(unsigned& index, shm_facts& out) {
    ref_ptr<shm_segment> s;
    {
        lock_guard guard(table_lock);
        while (index < shm_table_size && !(s = segment_at(index)))
            index++;
        if (!s)
            return false;
        out = s->facts();
    }
    out.resident_pages = s->resident_pages();
    return true;
}

void shm_init() { shm_set_limit(shm_limit::all, vm_page_total() / 2); }

uint64_t shm_get_limit(shm_limit which) {
    return limits[unsigned(which)].load(std::memory_order_relaxed);
}

void shm_set_limit(shm_limit which, uint64_t value) {
    limits[unsigned(which)].store(value, std::memory_order_relaxed);
}
