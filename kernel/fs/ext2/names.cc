// Names of ext2: look-up, create, link, remove. Renaming is in rename.cc.
//
// What a power cut may leave is e2fsck's to mend, and it can: an inode says how many names it has
// before it gets one more, and loses the name before it says that it has one less.
#include "kernel/files/mount.h"
#include "kernel/files/permission.h"
#include "kernel/fs/ext2/ext2.h"

using namespace ext2_format;
using namespace linux_abi;

expected<ext2_node*> ext2_node::own(vnode& node) {
    if (&node.fs() != static_cast<file_system*>(&fs()))
        return fail(Errno::xdev);
    return static_cast<ext2_node*>(&node); // NOLINT: all nodes of this file system are such
}

status ext2_node::may_change() const {
    return flags_ & (flag_immutable | flag_append) ? fail(Errno::perm) : status{};
}

expected<ref_ptr<vnode>> ext2_node::lookup(std::string_view name) {
    if (!is_directory())
        return fail(Errno::notdir);
    fs().evict();
    read_guard guard(fs().names_);
    const auto at = TRY(entries().find(name));
    ref_ptr<ext2_node> found = TRY(fs().node(at.inode));
    found->found_in_ = number();
    return found;
}

status ext2_node::read_directory(uint64_t& position, dir_sink& sink) {
    if (!is_directory())
        return fail(Errno::notdir);
    touch_accessed();
    read_guard guard(fs().names_);
    return removed() ? fail(Errno::noent) : entries().list(position, sink);
}

// A directory of the disk that says nothing of use is its own.
ref_ptr<vnode> ext2_node::parent() {
    read_guard guard(fs().names_);
    if (former_parent_)
        return former_parent_;
    const auto at = entries().find("..");
    auto up = at ? fs().node(at->inode) : fail(at.error());
    return up && (*up)->is_directory() ? ref_ptr<vnode>(*up) : ref_ptr<vnode>(this);
}

expected<ref_ptr<vnode>> ext2_node::name_in_parent(char* out) {
    read_guard guard(fs().names_);
    if (removed() || number() == root_inode)
        return fail(Errno::noent);
    const uint32_t where = is_directory() ? TRY(entries().find("..")).inode : found_in_.load();
    ref_ptr<ext2_node> up = TRY(fs().node(where));
    if (!up->is_directory())
        return fail(Errno::noent);
    TRY(up->entries().name_of(number(), out));
    return up;
}

status ext2_node::mount_here(mount_point& m) {
    lock_guard guard(fs().names_);
    return removed() ? fail(Errno::noent) : vnode::mount_here(m);
}

expected<bool> ext2_node::within(const ext2_node& ancestor) {
    ref_ptr<ext2_node> at(this);
    for (uint32_t steps = 0; at.get() != &ancestor; steps++) {
        if (at->number() == root_inode)
            return false;
        const auto up = at->entries().find("..");
        auto next = up ? fs().node(up->inode) : fail(up.error());
        if (!next && (next.error() == Errno::nomem || next.error() == Errno::intr))
            return fail(next.error());
        // Of a damaged disk nobody knows: what is within itself is not moved.
        if (!next || !(*next)->is_directory() || steps > most_links * 32)
            return true;
        at = std::move(*next);
    }
    return true;
}

// ---- Making ----------------------------------------------------------------------------------

expected<ref_ptr<ext2_node>> ext2::new_node_in(ext2_node& directory, const new_node& is) {
    const bool is_directory = (is.mode & s_ifmt) == s_ifdir;
    const uint32_t number = TRY(volume_.allocate_inode(directory.number(), is_directory));
    auto made = ext2_node::make(*this, number, is);
    if (!made) {
        (void)volume_.free_inode(number, is_directory);
        return fail(made.error());
    }
    lock_guard guard(nodes_lock_);
    insert(**made);
    return made;
}

expected<ref_ptr<vnode>> ext2_node::create_nameless(const new_node& is) {
    if (!is_directory())
        return fail(Errno::notdir);
    write_claim claim = TRY(write_claim::on(fs()));
    fs().evict();
    buffer_cache::make_room();
    auto made = fs().new_node_in(*this, is);
    if (!made && made.error() == Errno::nospc) {
        fs().reap();
        made = fs().new_node_in(*this, is);
    }
    ref_ptr<ext2_node> node = TRY(made);
    if (node->is_directory()) {
        lock_guard guard(fs().names_);
        TRY(node->entries().begin(node->number(), number()));
    }
    return node;
}

// The inode is in its block before its name is.
status ext2_node::enter(std::string_view name, vnode& nameless) {
    ref_ptr<ext2_node> node(TRY(own(nameless)));
    write_claim claim = TRY(write_claim::on(fs()));
    buffer_cache::make_room();
    {
        lock_guard guard(fs().names_);
        if (removed())
            return fail(Errno::noent);
        const bool directory = node->is_directory();
        if (directory && links_ >= most_links)
            return fail(Errno::mlink);
        ext2_directory::room room;
        const auto there = entries().find(name, &room);
        if (there || there.error() != Errno::noent)
            return fail(there ? Errno::exist : there.error());
        node->links_ = directory ? 2 : 1;
        status entered = node->store();
        if (entered)
            entered = entries().add(name, room, node->number(), node->attributes().mode);
        if (!entered) {
            node->links_ = 0;
            (void)node->store();
            return entered;
        }
        flags_ &= ~uint32_t{flag_index};
        links_ += directory;
        node->found_in_ = number();
        fs().keep(*node);
    }
    touch_modified();
    return {};
}

status ext2_node::link(std::string_view name, vnode& target) {
    if (!is_directory())
        return fail(Errno::notdir);
    ext2_node& node = *TRY(own(target));
    write_claim claim = TRY(write_claim::on(fs()));
    if (node.is_directory())
        return fail(Errno::perm);
    TRY(node.may_change());
    buffer_cache::make_room();
    {
        lock_guard guard(fs().names_);
        if (removed() || node.removed())
            return fail(Errno::noent);
        if (node.links_ >= most_links)
            return fail(Errno::mlink);
        ext2_directory::room room;
        const auto there = entries().find(name, &room);
        if (there || there.error() != Errno::noent)
            return fail(there ? Errno::exist : there.error());
        node.links_++;
        status entered = node.store();
        if (entered)
            entered = entries().add(name, room, node.number(), node.attributes().mode);
        if (!entered) {
            node.links_--;
            (void)node.store();
            return entered;
        }
        flags_ &= ~uint32_t{flag_index};
        node.found_in_ = number();
    }
    node.touch_changed();
    touch_modified();
    return {};
}

// ---- Removing --------------------------------------------------------------------------------

status ext2_node::may_remove(ext2_node& victim, bool directory) {
    TRY(check_sticky(*this, victim));
    TRY(victim.may_change());
    if (directory && !victim.is_directory())
        return fail(Errno::notdir);
    if (!directory && victim.is_directory())
        return fail(Errno::isdir);
    if (victim.mounted_here.load())
        return fail(Errno::busy);
    if (directory && !TRY(victim.entries().empty()))
        return fail(Errno::notempty);
    return {};
}

// If it was the last, ext2 refers to the node no more, and its caller's reference keeps it.
void ext2_node::lose_name(ext2_node& directory) {
    if (is_directory()) {
        links_ = 0;
        if (directory.links_ > 2)
            directory.links_--;
        former_parent_ = ref_ptr<ext2_node>(&directory);
    } else if (links_) {
        links_--;
    }
    if (removed()) {
        fs().let_go(*this).reset_spare();
        fs().add_orphan(*this);
    }
    (void)store();
}

status ext2_node::remove(std::string_view name, bool directory) {
    if (!is_directory())
        return fail(Errno::notdir);
    write_claim claim = TRY(write_claim::on(fs()));
    buffer_cache::make_room();
    ref_ptr<ext2_node> victim;
    {
        lock_guard guard(fs().names_);
        const auto at = TRY(entries().find(name));
        victim = TRY(fs().node(at.inode));
        TRY(may_remove(*victim, directory));
        TRY(entries().remove(at));
        flags_ &= ~uint32_t{flag_index};
        victim->lose_name(*this);
    }
    victim->touch_changed();
    touch_modified();
    victim.reset();
    fs().reap();
    return {};
}
