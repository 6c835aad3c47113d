// rename(2) in ext2: every rule of renameat2(2), under the one lock of the file system's names.
//
// The new name is there before the old one goes: what a power cut leaves has one of them, or both, and
// then one link more than it says, which e2fsck mends.
#include "kernel/files/permission.h"
#include "kernel/fs/ext2/ext2.h"

using namespace ext2_format;
using namespace linux_abi;

// One rename, between two names that may be in one directory or in two. All blocks that change are held
// before the first of them does, so that it is done as a whole or not at all.
struct ext2_rename {
    ext2_node& from;
    std::string_view from_name;
    ext2_node& to;
    std::string_view to_name;

    ext2_directory::place source{}, target{};
    ext2_directory::room room{};
    ref_ptr<ext2_node> moved{}, other{}; // what the names are of; the second may be free
    bool same_file = false;

    // A directory that moves gets another "..": that is writing to it.
    status may_get_another_parent(ext2_node& node) const {
        return node.is_directory() && &from != &to ? check_access(node, may_write) : status();
    }

    // Finds both names and applies the rules that every rename has.
    status look_up(uint32_t flags) {
        source = TRY(from.entries().find(from_name));
        moved = TRY(from.fs().node(source.inode));
        if (to.removed())
            return fail(Errno::noent);
        const auto there = to.entries().find(to_name, &room);
        if (!there && there.error() != Errno::noent)
            return fail(there.error());
        if (there && (flags & rename_noreplace))
            return fail(Errno::exist);
        if (!there && (flags & rename_exchange))
            return fail(Errno::noent);
        if (there) {
            target = *there;
            other = TRY(from.fs().node(target.inode));
        }
        TRY(check_sticky(from, *moved));
        TRY(moved->may_change());
        TRY(may_get_another_parent(*moved));
        if (moved->mounted_here.load())
            return fail(Errno::busy);
        // A directory cannot be put below itself, nor replace one that it is in.
        if (moved->is_directory() && TRY(to.within(*moved)))
            return fail(Errno::inval);
        return {};
    }

    // "..", of a directory that gets another parent.
    struct dot_dot {
        ext2_directory::place at{};
        buffer held{};
    };
    expected<dot_dot> dot_dot_of(ext2_node& node) {
        if (!node.is_directory() || &from == &to)
            return dot_dot{};
        const auto at = TRY(node.entries().find(".."));
        return dot_dot{at, TRY(hold(at))};
    }
    expected<buffer> hold(const ext2_directory::place& at) {
        return from.fs().volume().change(at.block);
    }

    // "..", and who counts it.
    static status change_parent(ext2_node& node, const dot_dot& up, ext2_node& before,
                                ext2_node& after) {
        if (!up.held)
            return {};
        TRY(node.entries().point(up.at, after.number(), s_ifdir));
        after.links_++;
        if (before.links_ > 2)
            before.links_--;
        return {};
    }

    static status make_safe(ext2_node& node) {
        TRY(node.store());
        return node.fs().volume().sync();
    }

    status may_replace() {
        if (TRY(from.within(*other)))
            return fail(Errno::notempty);
        return to.may_remove(*other, moved->is_directory());
    }

    status replace() {
        if (other && moved.get() == other.get()) {
            same_file = true; // two names of one file: nothing happens (POSIX)
            return {};
        }
        if (other)
            TRY(may_replace());
        else if (moved->is_directory() && &from != &to && to.links_ >= most_links)
            return fail(Errno::mlink);
        const uint32_t mode = moved->attributes().mode;
        const buffer old = TRY(hold(source));
        const dot_dot up = TRY(dot_dot_of(*moved));
        // In one block a name comes and the other goes at once. Else the new one is safe before the old one
        // goes, or the file that had it; and the inode before that.
        const bool in_one_block = !other && room.block == source.block;
        if (!in_one_block)
            TRY(make_safe(*moved));
        if (other)
            TRY(to.entries().point(target, moved->number(), mode));
        else
            TRY(to.entries().add(to_name, room, moved->number(), mode));
        if (!in_one_block)
            (void)make_safe(to); // if it cannot be, that is told as the error of a write is
        TRY(from.entries().remove(source));
        if (other)
            other->lose_name(to);
        return change_parent(*moved, up, from, to);
    }

    status exchange() {
        if (moved.get() == other.get()) {
            same_file = true;
            return {};
        }
        TRY(check_sticky(to, *other));
        TRY(other->may_change());
        TRY(may_get_another_parent(*other));
        if (other->mounted_here.load())
            return fail(Errno::busy);
        if (other->is_directory() && TRY(from.within(*other)))
            return fail(Errno::inval);
        const bool more_in_from = other->is_directory() && !moved->is_directory();
        const bool more_in_to = moved->is_directory() && !other->is_directory();
        if (&from != &to && ((more_in_from && from.links_ >= most_links) ||
                             (more_in_to && to.links_ >= most_links)))
            return fail(Errno::mlink);
        const buffer old = TRY(hold(source));
        const dot_dot up = TRY(dot_dot_of(*moved)), others_up = TRY(dot_dot_of(*other));
        TRY(to.entries().point(target, moved->number(), moved->attributes().mode));
        TRY(from.entries().point(source, other->number(), other->attributes().mode));
        TRY(change_parent(*moved, up, from, to));
        return change_parent(*other, others_up, to, from);
    }
};

status ext2_node::rename(std::string_view name, vnode& to, std::string_view to_name,
                         uint32_t flags) {
    ext2_node& destination = *TRY(own(to));
    write_claim claim = TRY(write_claim::on(fs()));
    if (!is_directory() || !destination.is_directory())
        return fail(Errno::notdir);
    buffer_cache::make_room();
    ext2_rename operation{*this, name, destination, to_name};
    {
        lock_guard guard(fs().names_);
        TRY(operation.look_up(flags));
        TRY(flags & rename_exchange ? operation.exchange() : operation.replace());
        flags_ &= ~uint32_t{flag_index};
        destination.flags_ &= ~uint32_t{flag_index};
        operation.moved->found_in_ = destination.number();
        if (operation.other && !operation.other->removed())
            operation.other->found_in_ = number();
    }
    if (operation.same_file)
        return {};
    operation.moved->touch_changed();
    if (operation.other)
        operation.other->touch_changed();
    touch_modified();
    if (&destination != this)
        destination.touch_modified();
    operation.other.reset();
    fs().reap();
    return {};
}
