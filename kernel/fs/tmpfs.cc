// tmpfs: nodes and their names. Reading and writing is in tmpfs_file.cc, renaming in
// tmpfs_rename.cc.
#include "kernel/fs/tmpfs.h"

#include "kernel/files/file.h"
#include "kernel/files/mount.h"
#include "kernel/files/permission.h"
#include "kernel/files/pipe.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"

#include <algorithm>

using namespace linux_abi;

static constinit pool<tmpfs_node> tmpfs_nodes{"tmpfs_node"};
static constinit pool<tmpfs> tmpfs_systems{"tmpfs"};

// A symbolic link that is longer counts as a page, as it has one on Linux.
static constexpr size_t short_link = 128;

// ---- Nodes -----------------------------------------------------------------------------------

tmpfs_node::tmpfs_node(tmpfs& fs, uint64_t inode, const new_node& is)
    : vnode(fs, inode, is), tmpfs_(fs) {}

tmpfs_node::~tmpfs_node() {
    ASSERT(names_.empty());
    if (target_) {
        kmem_free(target_, target_length_ + 1);
        if (target_length_ >= short_link)
            fs().quota_->give_back(1);
    }
}

void tmpfs_forget(tmpfs& fs, tmpfs_node& node) {
    lock_guard guard(fs.nodes_lock_);
    fs.nodes_.remove(node);
    fs.files_--;
}

// A chain of removed directories holds one another by former_parent_; it ends in a loop here,
// because it may be longer than the stack is deep.
void tmpfs_node::last_reference_gone() {
    tmpfs_node* node = this;
    while (node) {
        ref_ptr<tmpfs_node> parent = std::move(node->former_parent_);
        tmpfs_forget(node->fs(), *node);
        tmpfs_nodes.destroy(node);
        node = parent.reset_and_keep();
    }
}

vattr tmpfs_node::attributes() {
    vattr a = vnode::attributes();
    a.links = links_; // a single load: as true as the answer of any stat(2)
    if (memory_) {
        a.size = memory_->size();
        a.blocks = memory_->resident_pages() * (page_size / 512);
    } else if (is_symlink()) {
        a.size = target_length_;
        a.blocks = target_length_ < short_link ? 0 : page_size / 512;
    } else if (is_directory()) {
        a.size = (entries_.count() + 2) * 20; // as Linux's tmpfs counts
    }
    return a;
}

ref_ptr<uvm_pages> tmpfs_node::memory() { return memory_; }

expected<size_t> tmpfs_node::read_link(char* out, size_t size) {
    if (!is_symlink())
        return fail(Errno::inval);
    size_t n = std::min(size, target_length_);
    memcpy(out, target_, n);
    return n;
}

// ---- Names -----------------------------------------------------------------------------------

void tmpfs_node::attach(tmpfs_entry& entry, ref_ptr<tmpfs_node> node) {
    entry.directory = this;
    if (node->is_directory()) {
        node->links_ += 2; // "." and the name; what its own directories add stays
        links_++;
    } else {
        node->links_++;
    }
    node->names_.push_back(entry);
    entry.node = std::move(node);
    entries_.insert(entry);
}

ref_ptr<tmpfs_node> tmpfs_node::detach(tmpfs_entry& entry) {
    entries_.remove(entry);
    entry.node->names_.remove(entry);
    if (entry.node->is_directory()) {
        entry.node->links_ -= 2;
        links_--;
    } else {
        entry.node->links_--;
    }
    return entry.node.take();
}

ref_ptr<tmpfs_node> tmpfs_node::drop_name(tmpfs_entry& entry) {
    ref_ptr<tmpfs_node> node = detach(entry);
    if (!node->removed() && !node->is_directory())
        fs().forget_file();
    return node;
}

tmpfs_node* tmpfs_node::parent_node() const {
    return names_.empty() ? nullptr : names_.front()->directory;
}

bool tmpfs_node::within(const tmpfs_node& ancestor) const {
    for (const tmpfs_node* at = this; at; at = at->parent_node())
        if (at == &ancestor)
            return true;
    return false;
}

expected<ref_ptr<vnode>> tmpfs_node::lookup(std::string_view name) {
    if (!is_directory())
        return fail(Errno::notdir);
    read_guard guard(fs().names_);
    tmpfs_entry* entry = entries_.find(name);
    if (!entry)
        return fail(Errno::noent);
    return ref_ptr<tmpfs_node>(entry->node);
}

expected<tmpfs_node*> tmpfs_node::own(vnode& node) {
    tmpfs_node* of_tmpfs = node.as_tmpfs();
    if (!of_tmpfs || &of_tmpfs->fs() != &fs())
        return fail(Errno::xdev);
    return of_tmpfs;
}

expected<ref_ptr<vnode>> tmpfs_node::create_nameless(const new_node& is) {
    if (!is_directory())
        return fail(Errno::notdir);
    return TRY(fs().create_node(is));
}

status tmpfs_node::enter(std::string_view name, vnode& nameless) {
    ref_ptr<tmpfs_node> node(TRY(own(nameless)));
    write_claim claim = TRY(write_claim::on(fs()));
    tmpfs_entry* entry = tmpfs_entry::create(name);
    if (!entry)
        return fail(Errno::nomem);
    Errno error{};
    {
        lock_guard guard(fs().names_);
        if (removed())
            error = Errno::noent;
        else if (entries_.find(name))
            error = Errno::exist;
        else
            attach(*entry, std::move(node));
    }
    if (error != Errno{}) {
        tmpfs_entry::destroy(entry);
        return fail(error);
    }
    touch_modified();
    return {};
}

status tmpfs_node::link(std::string_view name, vnode& target) {
    if (!is_directory())
        return fail(Errno::notdir);
    tmpfs_node& node = *TRY(own(target));
    write_claim claim = TRY(write_claim::on(fs()));
    if (node.is_directory())
        return fail(Errno::perm);
    TRY(fs().count_file());
    tmpfs_entry* entry = tmpfs_entry::create(name);
    if (!entry) {
        fs().forget_file();
        return fail(Errno::nomem);
    }
    Errno error{};
    {
        lock_guard guard(fs().names_);
        if (removed() || node.removed())
            error = Errno::noent;
        else if (entries_.find(name))
            error = Errno::exist;
        else
            attach(*entry, ref_ptr<tmpfs_node>(&node));
    }
    if (error != Errno{}) {
        fs().forget_file();
        tmpfs_entry::destroy(entry);
        return fail(error);
    }
    node.touch_changed();
    touch_modified();
    return {};
}

// Whether `victim`, an entry of this directory, may lose its name (or be replaced by a rename).
status tmpfs_node::may_remove(tmpfs_node& victim, bool directory) {
    TRY(check_sticky(*this, victim));
    if (directory && !victim.is_directory())
        return fail(Errno::notdir);
    if (!directory && victim.is_directory())
        return fail(Errno::isdir);
    if (victim.mounted_here.load())
        return fail(Errno::busy);
    if (victim.entries_.count())
        return fail(Errno::notempty);
    return {};
}

status tmpfs_node::remove(std::string_view name, bool directory) {
    if (!is_directory())
        return fail(Errno::notdir);
    write_claim claim = TRY(write_claim::on(fs()));
    tmpfs_entry* entry;
    ref_ptr<tmpfs_node> victim; // its end may free pages: after the lock
    {
        lock_guard guard(fs().names_);
        entry = entries_.find(name);
        if (!entry)
            return fail(Errno::noent);
        TRY(may_remove(*entry->node, directory));
        victim = drop_name(*entry);
        if (directory)
            victim->former_parent_ = ref_ptr<tmpfs_node>(this);
    }
    tmpfs_entry::destroy(entry);
    victim->touch_changed();
    touch_modified();
    return {};
}

status tmpfs_node::mount_here(mount_point& m) {
    lock_guard guard(fs().names_);
    if (removed())
        return fail(Errno::noent);
    return vnode::mount_here(m);
}

status tmpfs_node::read_directory(uint64_t& position, dir_sink& sink) {
    if (!is_directory())
        return fail(Errno::notdir);
    touch_accessed();
    read_guard guard(fs().names_);
    if (removed())
        return fail(Errno::noent);
    if (position == 0) {
        if (!sink.add(".", inode(), dirent_type(s_ifdir), 1))
            return {};
        position = 1;
    }
    if (position == 1) {
        tmpfs_node* up = parent_node();
        if (!sink.add("..", (up ? up : this)->inode(), dirent_type(s_ifdir), 2))
            return {};
        position = 2;
    }
    for (tmpfs_entry* e = entries_.first(); e; e = entries_.next(*e)) {
        if (e->cookie < position)
            continue;
        if (!sink.add(e->name(), e->node->inode(), dirent_type(e->node->type()), e->cookie + 1))
            return {};
        position = e->cookie + 1;
    }
    return {};
}

ref_ptr<vnode> tmpfs_node::parent() {
    read_guard guard(fs().names_);
    if (former_parent_)
        return former_parent_;
    tmpfs_node* up = parent_node();
    return ref_ptr<vnode>(up ? up : this);
}

expected<ref_ptr<vnode>> tmpfs_node::name_in_parent(char* out) {
    read_guard guard(fs().names_);
    tmpfs_entry* entry = names_.front();
    if (!entry)
        return fail(Errno::noent);
    memcpy(out, entry->text(), entry->length);
    out[entry->length] = '\0';
    return ref_ptr<vnode>(entry->directory);
}

// ---- The file system -------------------------------------------------------------------------

expected<tmpfs*> tmpfs::create(const char* type, const new_node& root, const tmpfs_limits& limits,
                               ref_ptr<page_quota> shared) {
    if (!shared)
        shared = TRY(page_quota::create(limits.pages));
    tmpfs* fs = tmpfs_systems.create(type, limits, std::move(shared));
    if (!fs)
        return fail(Errno::nomem);
    auto node = fs->create_node(root);
    if (!node) {
        tmpfs_systems.destroy(fs);
        return fail(node.error());
    }
    (*node)->links_ = 2;
    fs->root_ = std::move(*node);
    return fs;
}

ref_ptr<vnode> tmpfs::root() { return root_; }

status tmpfs::count_file() {
    lock_guard guard(nodes_lock_);
    if (files_ >= most_files_)
        return fail(Errno::nospc);
    files_++;
    return {};
}

void tmpfs::forget_file() {
    lock_guard guard(nodes_lock_);
    files_--;
}

tmpfs::space tmpfs::get_space() {
    const page_quota::amounts pages = quota_->look();
    space s;
    if (pages.limit != page_quota::unlimited) {
        s.blocks = pages.limit;
        s.free_blocks = pages.limit - pages.used;
    }
    lock_guard guard(nodes_lock_);
    if (most_files_ != tmpfs_limits::unlimited) {
        s.files = most_files_;
        s.free_files = most_files_ - files_;
    }
    return s;
}

void tmpfs::allow_more(const tmpfs_limits& more) {
    status larger = quota_->set_limit(quota_->look().used + more.pages);
    ASSERT(larger);
    lock_guard guard(nodes_lock_);
    most_files_ = files_ + more.files;
}

// As on Linux: what had no limit gets none later, and what the root is to be is not looked at.
status tmpfs::set_options(char* text) {
    const tmpfs_options options = TRY(tmpfs_options::parse(text));
    const page_quota::amounts pages = quota_->look();
    if (options.pages && *options.pages != pages.limit && pages.limit == page_quota::unlimited)
        return fail(Errno::inval);
    lock_guard guard(nodes_lock_);
    const uint64_t most_files = options.files.value_or(most_files_);
    if (most_files < files_ ||
        (most_files != most_files_ && most_files_ == tmpfs_limits::unlimited))
        return fail(Errno::inval);
    if (options.pages)
        TRY(quota_->set_limit(*options.pages));
    most_files_ = most_files;
    return {};
}

void tmpfs::show_options(char* out, size_t size) {
    const space s = get_space();
    int used = s.blocks ? format_to(out, size, ",size=%lluk",
                                    (unsigned long long)s.blocks * (page_size / 1024))
                        : format_to(out, size, "%s", "");
    if (s.files)
        format_to(out + used, size - size_t(used), ",nr_inodes=%llu", (unsigned long long)s.files);
}

expected<ref_ptr<tmpfs_node>> tmpfs::create_node(const new_node& is) {
    TRY(count_file());
    auto* created = tmpfs_nodes.create(*this, next_inode_.fetch_add(1), is);
    if (!created) {
        forget_file();
        return fail(Errno::nomem);
    }
    auto node = ref_ptr<tmpfs_node>::adopt(created);
    {
        lock_guard guard(nodes_lock_);
        nodes_.push_back(*node);
    }
    if (node->is_regular()) {
        node->memory_ = TRY(uvm_aobj::create(0, "", uvm_aobj::charging::pages, quota_));
    } else if (node->is_symlink()) {
        const bool counts = is.target.size() >= short_link;
        if (counts)
            TRY(quota_->take(1));
        node->target_ = static_cast<char*>(kmem_alloc(is.target.size() + 1));
        if (!node->target_) {
            if (counts)
                quota_->give_back(1);
            return fail(Errno::nomem);
        }
        memcpy(node->target_, is.target.data(), is.target.size());
        node->target_[is.target.size()] = '\0';
        node->target_length_ = is.target.size();
    }
    return node;
}

uint64_t tmpfs::node_count() {
    lock_guard guard(nodes_lock_);
    return nodes_.size();
}

// A node is in use if something but its names refers to it.
bool tmpfs::busy(unsigned root_references) {
    lock_guard names(names_);
    lock_guard guard(nodes_lock_);
    for (tmpfs_node& node : nodes_) {
        uint32_t expected_references =
            &node == root_.get() ? 1 + root_references : uint32_t(node.names_.size());
        if (node.references() > expected_references)
            return true;
    }
    return false;
}

// Two passes, so that no node ends while its own entries still hold others: first every directory
// is emptied, then the entries, and with them the nodes, are let go.
void tmpfs::destroy() {
    list<tmpfs_entry, &tmpfs_entry::among_names> doomed;
    {
        lock_guard names(names_);
        lock_guard guard(nodes_lock_);
        for (tmpfs_node& node : nodes_) {
            while (tmpfs_entry* entry = node.entries_.first()) {
                node.entries_.remove(*entry);
                entry->node->names_.remove(*entry);
                doomed.push_back(*entry);
            }
        }
    }
    while (tmpfs_entry* entry = doomed.pop_front()) {
        entry->node.reset();
        tmpfs_entry::destroy(entry);
    }
    root_.reset();
    {
        lock_guard guard(nodes_lock_);
        ASSERT(nodes_.empty()); // it was not busy
    }
    tmpfs_systems.destroy(this);
}

void tmpfs::check() {
    read_guard names(names_);
    lock_guard guard(nodes_lock_);
    uint64_t files = 0;
    for (tmpfs_node& node : nodes_) {
        node.entries_.check();
        uint32_t subdirectories = 0;
        for (tmpfs_entry* e = node.entries_.first(); e; e = node.entries_.next(*e)) {
            ASSERT(e->directory == &node);
            subdirectories += e->node->is_directory();
        }
        uint32_t names_count = uint32_t(node.names_.size());
        files += std::max(names_count, 1u);
        if (!node.is_directory())
            ASSERT(node.links_ == names_count);
        else if (&node == root_.get() || names_count == 1)
            ASSERT(node.links_ == 2 + subdirectories);
        else
            ASSERT(names_count == 0 && node.links_ == 0 && subdirectories == 0);
    }
    ASSERT(files_ == files);
}
