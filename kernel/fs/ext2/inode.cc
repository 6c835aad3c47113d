// A file's inode: from the disk and to it.
#include "kernel/files/file_lock.h"
#include "kernel/files/pipe.h"
#include "kernel/fs/ext2/ext2.h"
#include "lib/string.h"

using namespace ext2_format;
using namespace linux_abi;

static constinit pool<ext2_node> ext2_nodes{"ext2_node"};

namespace {

constexpr uint64_t nanos = 1'000'000'000;

// The disk's clock counts seconds, in 32 bits with a sign.
uint32_t disk_time(uint64_t time) { return uint32_t(std::min<uint64_t>(time / nanos, INT32_MAX)); }
uint64_t from_disk_time(uint32_t seconds) { return int32_t(seconds) < 0 ? 0 : seconds * nanos; }

// A device's number: in 16 bits if it fits, as old kernels had it, else as programs see it.
void put_device(disk_inode& to, uint64_t device) {
    const uint32_t major = device_major(device), minor = device_minor(device);
    const bool small = major < 256 && minor < 256;
    to.block[0] = small ? major << 8 | minor : 0;
    to.block[1] = small ? 0 : uint32_t(device);
}

new_node description_of(const disk_inode& is) {
    new_node node{is.mode, is.uid_low | uint32_t{is.uid_high} << 16,
                  is.gid_low | uint32_t{is.gid_high} << 16};
    const uint32_t type = is.mode & s_ifmt;
    if (type == s_ifchr || type == s_ifblk)
        node.device =
            is.block[0] ? make_device(is.block[0] >> 8 & 0xff, is.block[0] & 0xff) : is.block[1];
    return node;
}

bool has_blocks(uint32_t type) { return type == s_ifreg || type == s_ifdir || type == s_iflnk; }

} // namespace

ext2_node::ext2_node(ext2& fs, uint32_t number, const new_node& is)
    : vnode(fs, number, is), ext2_(fs), map_(fs.volume(), number) {}

ext2_node::~ext2_node() {
    ASSERT(!among_orphans_.linked());
    if (memory_)
        memory_->retire();
}

void ext2_node::destroy() { ext2_nodes.destroy(this); }

// ---- From the disk ---------------------------------------------------------------------------

status ext2_node::check(const disk_inode& is, bool orphan) {
    if (is.links == 0 && !orphan) {
        (void)fs().volume().damaged("a name leads to a deleted inode", number());
        return fail(Errno::io); // as on Linux
    }
    const uint64_t size = is.size_low | uint64_t{is.size_high} << 32;
    const uint32_t block_size = fs().volume().block_size();
    switch (type()) {
    case s_ifreg:
        if (size > map_.most_blocks() * block_size)
            break;
        return {};
    case s_ifdir:
        if (is.size_low == 0 || is.size_low % block_size || is.size_low / sector_size > is.sectors)
            break;
        return {};
    case s_iflnk:
        if (is.size_low == 0 || is.size_low >= block_size || is.size_low >= path_max)
            break;
        return {};
    case s_ifchr:
    case s_ifblk:
    case s_ififo:
    case s_ifsock: return {};
    default: break;
    }
    return fs().volume().damaged("an inode's type or size is impossible", number());
}

// Nobody else knows the node yet.
void ext2_node::take(const disk_inode& is) {
    assume_held(fs().names_lock());
    links_ = is.links;
    generation_ = is.generation;
    flags_ = is.flags;
    attributes_block_ = is.attributes_block;
    if (has_blocks(type()))
        map_.load(is);
    if (!is_regular())
        size_ = is.size_low;
    lock_guard guard(attribute_lock_);
    atime_ = from_disk_time(is.atime);
    mtime_ = from_disk_time(is.mtime);
    ctime_ = from_disk_time(is.ctime);
}

expected<ref_ptr<ext2_node>> ext2_node::load(ext2& fs, uint32_t number, bool orphan) {
    const auto at = TRY(fs.volume().find_inode(number));
    disk_inode is;
    memcpy(&is, TRY(fs.volume().get_inode(at)).data() + at.offset, sizeof(is));
    auto node = ref_ptr<ext2_node>::adopt(ext2_nodes.create(fs, number, description_of(is)));
    if (!node)
        return fail(Errno::nomem);
    TRY(node->check(is, orphan));
    node->take(is);
    if (node->is_regular())
        TRY(node->make_memory(is.size_low | uint64_t{is.size_high} << 32));
    return node;
}

status ext2_node::make_memory(uint64_t size) {
    memory_ = TRY(uvm_vnode::create(*this, size));
    memory_->set_identity("", fs().device(), inode());
    return {};
}

// ---- A new one -------------------------------------------------------------------------------

expected<ref_ptr<ext2_node>> ext2_node::make(ext2& fs, uint32_t number, const new_node& is) {
    auto node = ref_ptr<ext2_node>::adopt(ext2_nodes.create(fs, number, is));
    if (!node)
        return fail(Errno::nomem);
    node->generation_ = fs.volume().new_generation();
    if (node->is_regular())
        TRY(node->make_memory(0));
    const auto at = TRY(fs.volume().find_inode(number));
    memset(TRY(fs.volume().change_inode(at)).data() + at.offset, 0, fs.volume().inode_size());
    if (!node->is_symlink())
        return node;
    if (const status put = node->put_target(is.target); !put) {
        lock_guard guard(node->map_.lock);
        (void)node->map_.cut(0);
        return fail(put.error());
    }
    return node;
}

// A short text lies where the numbers of blocks would, a longer one in a block.
status ext2_node::put_target(std::string_view text) {
    size_ = text.size();
    if (text.size() < short_link) {
        disk_inode words{};
        memcpy(words.block, text.data(), text.size());
        map_.load(words);
        return {};
    }
    if (text.size() >= fs().volume().block_size())
        return fail(Errno::nametoolong);
    lock_guard guard(map_.lock);
    bool fresh;
    const uint32_t block = TRY(map_.make(0, fresh));
    memcpy(TRY(fs().volume().get_new(block)).data(), text.data(), text.size());
    return {};
}

expected<size_t> ext2_node::read_link(char* out, size_t size) {
    if (!is_symlink())
        return fail(Errno::inval);
    const size_t n = std::min<size_t>(size, size_);
    if (map_.sectors() - (attributes_block_ ? fs().volume().sectors_per_block() : 0) == 0) {
        disk_inode words;
        map_.store(words);
        memcpy(out, words.block, std::min(n, short_link));
        return std::min(n, short_link);
    }
    const uint32_t block = TRY(map_.find(0));
    if (block == 0)
        return fs().volume().damaged("a symbolic link has no text", number());
    memcpy(out, TRY(fs().volume().get(block)).data(), n);
    return n;
}

// ---- To the disk -----------------------------------------------------------------------------

vattr ext2_node::attributes() {
    vattr a = vnode::attributes();
    for (uint64_t* time : {&a.atime, &a.mtime, &a.ctime})
        *time -= *time % nanos; // as it will be read again
    a.birth = 0;
    a.links = links_; // a single load, as in tmpfs
    a.size = memory_ ? memory_->size() : size_.load();
    a.blocks = map_.sectors();
    return a;
}

void ext2_node::fill(disk_inode& to) {
    const vattr a = attributes();
    to.mode = uint16_t(a.mode);
    to.uid_low = uint16_t(a.uid);
    to.uid_high = uint16_t(a.uid >> 16);
    to.gid_low = uint16_t(a.gid);
    to.gid_high = uint16_t(a.gid >> 16);
    to.size_low = uint32_t(a.size);
    to.size_high = is_regular() ? uint32_t(a.size >> 32) : 0;
    to.atime = disk_time(a.atime);
    to.mtime = disk_time(a.mtime);
    to.ctime = disk_time(a.ctime);
    to.dtime = deletion_;
    to.links = uint16_t(a.links);
    to.flags = flags_;
    to.generation = generation_;
    to.attributes_block = attributes_block_;
    if (has_blocks(type()))
        map_.store(to);
    else
        put_device(to, a.device);
}

status ext2_node::store() {
    ext2_volume& volume = fs().volume();
    const auto at = TRY(volume.find_inode(number()));
    lock_guard guard(map_.lock); // of two, the later one stores
    disk_inode to;
    memcpy(&to, TRY(volume.get_inode(at)).data() + at.offset, sizeof(to));
    const disk_inode before = to;
    fill(to);
    if (is_regular() && to.size_high | to.size_low >> 31)
        volume.note_large_file();
    if (memcmp(&to, &before, sizeof(to)) != 0)
        memcpy(TRY(volume.change_inode(at)).data() + at.offset, &to, sizeof(to));
    return {};
}

status ext2_node::write_back(bool whole) {
    status written;
    if (memory_)
        written = whole ? memory_->flush_whole() : memory_->flush();
    (void)end_cut();
    TRY(store());
    return written;
}

// The block of extended attributes: others may have it, too.
status ext2_node::drop_attributes() {
    struct header {
        uint32_t magic, references;
    };
    constexpr uint32_t attributes_magic = 0xea020000;
    const uint32_t block = attributes_block_;
    if (block == 0)
        return {};
    {
        const buffer b = TRY(fs().volume().change(block));
        auto* h = b.as<header>();
        if (h->magic != attributes_magic || h->references > 1) {
            attributes_block_ = 0;
            if (h->magic != attributes_magic)
                return fs().volume().damaged("a block of attributes is none", block);
            h->references--;
            return {};
        }
    }
    const status freed = fs().volume().free_block(block);
    if (freed || freed.error() == Errno::uclean)
        attributes_block_ = 0;
    return freed;
}

// The size is 0 before the blocks are free, and the inode is last. What fails half-way is on the list of
// orphans still, and may be called again.
status ext2_node::erase() {
    if (memory_)
        memory_->retire();
    memory_.reset();
    size_ = 0;
    if (status s = drop_attributes(); !s && s.error() != Errno::uclean)
        return s;
    if (has_blocks(type()) && map_.sectors()) {
        lock_guard guard(map_.lock);
        if (status s = map_.cut(0, true); !s && s.error() != Errno::uclean)
            return s;
    }
    TRY(store());
    TRY(fs().remove_orphan(*this));
    deletion_ = disk_time(file_time_now());
    TRY(store());
    return fs().volume().free_inode(number(), is_directory());
}
