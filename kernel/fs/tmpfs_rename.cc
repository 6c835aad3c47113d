// rename(2) in tmpfs: every rule of renameat2(2), under the one lock of the file system's names.
#include "kernel/fs/tmpfs.h"

#include "kernel/files/permission.h"

using namespace linux_abi;

// One rename, between two names that may be in one directory or in two.
struct rename_operation {
    tmpfs_node& from;
    std::string_view from_name;
    tmpfs_node& to;
    std::string_view to_name;

    tmpfs_entry* source = nullptr;
    tmpfs_entry* target = nullptr;     // null: the new name is free
    tmpfs_entry* fresh = nullptr;      // made before the lock; names what moves to `to`
    tmpfs_entry* fresh_back = nullptr; // exchange: names what moves to `from`
    ref_ptr<tmpfs_node> replaced{};
    bool same_file = false;

    ~rename_operation() {
        tmpfs_entry::destroy(fresh);
        tmpfs_entry::destroy(fresh_back);
    }

    // A directory that moves gets another "..": that is writing to it.
    status may_get_another_parent(tmpfs_node& moved) const {
        return moved.is_directory() && &from != &to ? check_access(moved, may_write) : status();
    }

    // Finds both names and applies the rules that every rename has.
    status look_up(uint32_t flags) {
        source = from.entries_.find(from_name);
        if (!source)
            return fail(Errno::noent);
        if (to.removed())
            return fail(Errno::noent);
        target = to.entries_.find(to_name);
        if (target && (flags & rename_noreplace))
            return fail(Errno::exist);
        if (!target && (flags & rename_exchange))
            return fail(Errno::noent);
        tmpfs_node& moved = *source->node;
        TRY(check_sticky(from, moved));
        TRY(may_get_another_parent(moved));
        if (moved.mounted_here.load())
            return fail(Errno::busy);
        // A directory cannot be put below itself, nor replace one that it is in.
        if (moved.is_directory() && to.within(moved))
            return fail(Errno::inval);
        return {};
    }

    status replace() {
        tmpfs_node& moved = *source->node;
        if (target) {
            tmpfs_node& victim = *target->node;
            if (&victim == &moved) {
                same_file = true; // two names of one file: nothing happens (POSIX)
                return {};
            }
            if (from.within(victim))
                return fail(Errno::notempty);
            TRY(to.may_remove(victim, moved.is_directory()));
            replaced = to.drop_name(*target);
            if (replaced->is_directory())
                replaced->former_parent_ = ref_ptr<tmpfs_node>(&to);
        }
        ref_ptr<tmpfs_node> node = from.detach(*source);
        to.attach(*std::exchange(fresh, nullptr), std::move(node));
        return {};
    }

    status exchange() {
        tmpfs_node& moved = *source->node;
        tmpfs_node& other = *target->node;
        if (&moved == &other) {
            same_file = true;
            return {};
        }
        TRY(check_sticky(to, other));
        TRY(may_get_another_parent(other));
        if (other.mounted_here.load())
            return fail(Errno::busy);
        if (other.is_directory() && from.within(other))
            return fail(Errno::inval);
        ref_ptr<tmpfs_node> node = from.detach(*source);
        ref_ptr<tmpfs_node> back = to.detach(*target);
        to.attach(*std::exchange(fresh, nullptr), std::move(node));
        from.attach(*std::exchange(fresh_back, nullptr), std::move(back));
        return {};
    }
};

status tmpfs_node::rename(std::string_view name, vnode& to, std::string_view to_name,
                          uint32_t flags) {
    tmpfs_node& destination = *TRY(own(to));
    write_claim claim = TRY(write_claim::on(fs()));
    if (!is_directory() || !destination.is_directory())
        return fail(Errno::notdir);
    rename_operation operation{*this, name, destination, to_name};
    bool exchanging = flags & rename_exchange;
    operation.fresh = tmpfs_entry::create(to_name);
    operation.fresh_back = exchanging ? tmpfs_entry::create(name) : nullptr;
    if (!operation.fresh || (exchanging && !operation.fresh_back))
        return fail(Errno::nomem);

    ref_ptr<tmpfs_node> moved;
    {
        lock_guard guard(fs().names_);
        TRY(operation.look_up(flags));
        moved = operation.source->node;
        TRY(exchanging ? operation.exchange() : operation.replace());
    }
    if (operation.same_file)
        return {};
    tmpfs_entry::destroy(operation.source);
    tmpfs_entry::destroy(operation.target);
    moved->touch_changed();
    if (operation.replaced)
        operation.replaced->touch_changed();
    touch_modified();
    if (&destination != this)
        destination.touch_modified();
    return {};
}
