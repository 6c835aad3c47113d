// An ext2 that is mounted: which of its nodes are in memory, and when what goes to the disk.
#include "kernel/fs/ext2/ext2.h"

#include "kernel/base/printk.h"
#include "kernel/files/permission.h"
#include "lib/long_work.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pdaemon.h"

using namespace ext2_format;
using namespace linux_abi;

static constinit pool<ext2> ext2_systems{"ext2"};

expected<ext2*> ext2::mount(disk& d, bool read_only) {
    if (!d.claim())
        return fail(Errno::busy);
    ext2* fs = ext2_systems.create();
    const status opened = fs ? fs->open(d, read_only) : fail(Errno::nomem);
    if (opened)
        return fs;
    if (fs)
        fs->let_all_go();
    ext2_systems.destroy(fs);
    d.release();
    return fail(opened.error());
}

status ext2::open(disk& d, bool read_only) {
    TRY(volume_.open(d, read_only));
    root_ = TRY(node(root_inode));
    if (!root_->is_directory())
        return volume_.damaged("the root is no directory", root_inode);
    return read_only ? status{} : become_writable();
}

// Also if the caller is to die: what others have written does not go with him.
void ext2::destroy() {
    disk& d = volume_.device();
    if (!read_only()) {
        status s = end_writing(true);
        while (!s && s.error() == Errno::nomem && uvm_pdaemon::wait_for_memory())
            s = end_writing(true);
        if (!s)
            printk("ext2: %s: not everything could be written: %s", d.is.name,
                   errno_name(s.error()));
    }
    let_all_go();
    ext2_systems.destroy(this);
    d.release();
}

// What could not be freed. It is on the disk's list of orphans: the next mount frees it.
void ext2::let_dead_go() {
    for (;;) {
        ext2_node* node;
        {
            lock_guard guard(nodes_lock_);
            node = dead_.pop_front();
            if (!node)
                return;
            if (node->in_bucket_.linked())
                remove(*node);
        }
        {
            lock_guard guard(orphans_lock_);
            if (node->among_orphans_.linked())
                orphans_.remove(*node);
        }
        const ref_ptr<ext2_node> parent = std::move(node->former_parent_);
        node->destroy();
    }
}

// Nobody else refers to any node, and nothing is to be written any more.
void ext2::let_all_go() {
    root_.reset();
    for (;;) {
        let_dead_go();
        ref_ptr<ext2_node> node;
        {
            lock_guard guard(nodes_lock_);
            ext2_node* oldest = by_age_.front();
            if (!oldest)
                return;
            ASSERT(oldest->kept_);
            remove(*oldest);
            node = std::move(oldest->kept_);
        }
    }
}

// ---- Nodes in memory -------------------------------------------------------------------------

ref_ptr<ext2_node> ext2::find(uint32_t number) {
    for (ext2_node& n : nodes_[number % buckets]) {
        if (n.number() != number)
            continue;
        by_age_.remove(n);
        by_age_.push_back(n);
        return ref_ptr<ext2_node>::unless_ending(&n);
    }
    return {};
}

void ext2::insert(ext2_node& node) {
    bucket_of(node).push_front(node);
    by_age_.push_back(node);
    count_++;
}

void ext2::remove(ext2_node& node) {
    bucket_of(node).remove(node);
    by_age_.remove(node);
    count_--;
}

expected<ref_ptr<ext2_node>> ext2::node(uint32_t number) {
    {
        lock_guard guard(nodes_lock_);
        if (auto found = find(number))
            return found;
    }
    ref_ptr<ext2_node> loaded = TRY(ext2_node::load(*this, number));
    ref_ptr<ext2_node> found; // by another one, who was faster
    {
        lock_guard guard(nodes_lock_);
        found = find(number);
        if (!found) {
            insert(*loaded);
            loaded->kept_ = loaded;
        }
    }
    return found ? found : loaded;
}

void ext2::keep(ext2_node& node) {
    lock_guard guard(nodes_lock_);
    node.kept_ = ref_ptr(&node);
}

ref_ptr<ext2_node> ext2::let_go(ext2_node& node) {
    lock_guard guard(nodes_lock_);
    return std::move(node.kept_);
}

// What is in memory has no name any more; what is not was let go of, or could not be made.
void ext2_node::last_reference_gone() {
    {
        lock_guard guard(fs().nodes_lock_);
        if (in_bucket_.linked()) {
            fs().dead_.push_back(*this);
            return;
        }
    }
    destroy();
}

ref_ptr<ext2_node> ext2::oldest_unused() {
    constexpr unsigned tries = 16;
    const uint64_t most = std::max<uint64_t>(64, vm_page_total() / 32);
    lock_guard guard(nodes_lock_);
    if (count_ <= most)
        return {};
    for (unsigned i = 0; i < tries; i++) {
        ext2_node& oldest = *by_age_.front();
        by_age_.remove(oldest);
        by_age_.push_back(oldest);
        if (oldest.kept_ && oldest.references() == 1)
            return ref_ptr<ext2_node>(&oldest);
    }
    return {};
}

// The long work first; then, with the names locked, nobody finds it any more, and what has come meanwhile
// is little.
void ext2::evict_one(const ref_ptr<ext2_node>& node) {
    if (!node->write_back())
        return;
    ref_ptr<ext2_node> kept;
    lock_guard names(names_);
    {
        lock_guard guard(nodes_lock_);
        if (!node->kept_ || node->references() != 2)
            return; // somebody has it, and may write to it during the write below
    }
    if (!node->write_back())
        return;
    lock_guard guard(nodes_lock_);
    if (!node->kept_ || node->references() != 2)
        return;
    remove(*node);
    kept = std::move(node->kept_);
}

void ext2::evict() {
    constexpr unsigned at_once = 4;
    for (unsigned i = 0; i < at_once; i++) {
        if (!walk_.try_lock())
            return;
        if (auto node = oldest_unused())
            evict_one(node);
        else
            i = at_once;
        walk_.unlock();
    }
}

template <class Visit> void ext2::for_each_node(Visit visit) {
    lock_guard walking(walk_);
    const uint32_t turn = ++turn_;
    for (unsigned i = 0; i < buckets; i++) {
        for (;;) {
            ref_ptr<ext2_node> next;
            {
                lock_guard guard(nodes_lock_);
                for (ext2_node& n : nodes_[i])
                    if (!next && std::exchange(n.last_turn_, turn) != turn)
                        next = ref_ptr<ext2_node>::unless_ending(&n);
            }
            if (!next)
                break;
            visit(*next);
            long_work::pause();
        }
    }
}

bool ext2::busy(unsigned root_references) {
    reap();
    lock_guard walking(walk_);
    lock_guard guard(nodes_lock_);
    for (ext2_node& n : by_age_) {
        const uint32_t own = bool(n.kept_) + (&n == root_.get() ? 1 + root_references : 0);
        if (n.references() > own)
            return true;
    }
    return false;
}

// ---- Files without a name ----------------------------------------------------------------------

// The list on the disk begins in the super block; each inode has the next one in its time of deletion.
void ext2::add_orphan(ext2_node& node) {
    lock_guard guard(orphans_lock_);
    if (node.among_orphans_.linked())
        return; // it has had more names than links
    ext2_node* first = orphans_.front();
    node.deletion_ = first ? first->number() : 0;
    orphans_.push_front(node);
    volume_.set_first_orphan(node.number());
}

status ext2::remove_orphan(ext2_node& node) {
    lock_guard guard(orphans_lock_);
    if (!node.among_orphans_.linked())
        return {};
    ext2_node *before = orphans_.prev(node), *after = orphans_.next(node);
    const uint32_t next = after ? after->number() : 0;
    if (before) {
        before->deletion_ = next;
        if (const status stored = before->store(); !stored) {
            before->deletion_ = node.number();
            return stored;
        }
    } else {
        volume_.set_first_orphan(next);
    }
    orphans_.remove(node);
    return {};
}

// What finds no memory is tried again by the next one.
void ext2::reap() {
    for (;;) {
        ext2_node* node;
        {
            lock_guard guard(nodes_lock_);
            node = dead_.pop_front();
            if (!node)
                return;
            if (node->in_bucket_.linked())
                remove(*node);
        }
        const status done = node->erase();
        if (!done && (done.error() == Errno::nomem || done.error() == Errno::intr)) {
            lock_guard guard(nodes_lock_);
            dead_.push_front(*node);
            return;
        }
        if (!done)
            printk("ext2: %s: inode %u could not be freed: %s", volume_.device().is.name,
                   node->number(), errno_name(done.error()));
        const ref_ptr<ext2_node> parent = std::move(node->former_parent_);
        node->destroy();
        long_work::pause();
    }
}

// Of a mount that ended in a power cut. The list is as long as there are inodes, at most.
status ext2::free_left_orphans() {
    uint32_t number = volume_.first_orphan();
    for (uint64_t most = volume_.count().inodes; number && most; most--) {
        TRY(long_work::go_on());
        const auto at = TRY(volume_.find_inode(number));
        const uint32_t next = TRY(volume_.get_inode(at)).as<disk_inode>(at.offset)->dtime;
        const ref_ptr<ext2_node> orphan = TRY(ext2_node::load(*this, number, true));
        if (orphan->attributes().links)
            return fail(Errno::uclean); // it has a name
        TRY(orphan->erase());
        volume_.set_first_orphan(next);
        number = next;
    }
    return {};
}

// ---- The mount ---------------------------------------------------------------------------------

status ext2::become_writable() {
    TRY(volume_.begin_changes());
    const status freed = free_left_orphans();
    if (!freed && (freed.error() == Errno::nomem || freed.error() == Errno::intr)) {
        (void)volume_.end_changes();
        return freed;
    }
    if (!freed) {
        (void)volume_.damaged("the list of orphans is wrong", volume_.first_orphan());
        volume_.set_first_orphan(0);
    }
    return {};
}

status ext2::become_read_only() { return end_writing(false); }

status ext2::end_writing(bool whole) {
    TRY(write_all(whole));
    if (volume_.first_orphan()) // a file without a name is open, and will have to be freed
        return fail(Errno::busy);
    return volume_.end_changes();
}

status ext2::sync() { return read_only() ? status{} : write_all(false); }

status ext2::write_all(bool whole) {
    status done;
    for_each_node([&](ext2_node& n) {
        if (status s = n.write_back(whole); !s && done)
            done = s;
    });
    reap();
    const status written = volume_.sync();
    return done ? written : done;
}

status ext2::sync_metadata() {
    status done;
    if (read_only())
        return done;
    for_each_node([&](ext2_node& n) {
        if (status s = n.store(); !s && done)
            done = s;
    });
    const status written = volume_.sync();
    return done ? written : done;
}

file_system::space ext2::get_space() {
    reap();
    const ext2_volume::counts n = volume_.count();
    return {.blocks = n.blocks,
            .free_blocks = n.free_blocks,
            .files = n.inodes,
            .free_files = n.free_inodes,
            .reserved = std::min(n.reserved_blocks, n.free_blocks),
            .block_size = volume_.block_size()};
}
