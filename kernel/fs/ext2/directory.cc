#include "kernel/fs/ext2/directory.h"

#include "kernel/files/vnode.h"
#include "lib/long_work.h"
#include "lib/string.h"

using namespace ext2_format;
using namespace linux_abi;

namespace {

std::string_view name_in(directory_entry& e) { return {e.name(), e.name_length}; }

uint8_t type_of(uint32_t mode) {
    switch (mode & s_ifmt) {
    case s_ifreg: return type_regular;
    case s_ifdir: return type_directory;
    case s_ifchr: return type_character;
    case s_ifblk: return type_block;
    case s_ififo: return type_fifo;
    case s_ifsock: return type_socket;
    case s_iflnk: return type_symlink;
    default: return type_unknown;
    }
}

// DT_*, which programs see.
uint8_t shown_type(const directory_entry& e) {
    static constexpr uint32_t modes[] = {0,       s_ifreg, s_ifdir,  s_ifchr,
                                         s_ifblk, s_ififo, s_ifsock, s_iflnk};
    return e.type < std::size(modes) ? dirent_type(modes[e.type]) : 0;
}

bool sound(const directory_entry& e, uint32_t offset, uint32_t block_size) {
    return e.length % 4 == 0 && e.length >= entry_size(e.inode ? e.name_length : 0) &&
           e.length <= block_size - offset && (e.inode == 0 || e.name_length > 0);
}

uint32_t used(const directory_entry& e) { return e.inode ? entry_size(e.name_length) : 0; }

} // namespace

template <class Visit> status ext2_directory::for_each(uint64_t first, uint64_t end, Visit visit) {
    const uint32_t block_size = volume_.block_size();
    for (uint64_t i = first; i < std::min(end, size_ / block_size); i++) {
        const uint32_t block = TRY(map_.find(i));
        if (block == 0)
            return volume_.damaged("a directory has a hole", i);
        const buffer b = TRY(volume_.get(block));
        for (uint32_t offset = 0; offset < block_size;) {
            auto& e = *b.as<directory_entry>(offset);
            if (block_size - offset < sizeof(e) || !sound(e, offset, block_size))
                return volume_.damaged("a directory's block is wrong", block);
            if (!visit(place{block, offset, e.inode}, e, i))
                return {};
            offset += e.length;
        }
        TRY(long_work::go_on());
    }
    return {};
}

expected<ext2_directory::place> ext2_directory::find(std::string_view name, room* for_name) {
    const uint32_t wanted = entry_size(name.size());
    const uint32_t first = last_;
    place found{};
    auto look = [&](const place& at, directory_entry& e, uint64_t block) {
        if (for_name && !for_name->block && e.length - used(e) >= wanted)
            *for_name = {at.block, at.offset};
        if (e.inode == 0 || e.name_length != name.size() ||
            e.name()[e.name_length - 1] != name.back() || name_in(e) != name)
            return true;
        found = at;
        last_ = uint32_t(block);
        return false;
    };
    TRY(for_each(first, UINT64_MAX, look));
    if (found.block == 0)
        TRY(for_each(0, first, look));
    if (found.block == 0)
        return fail(Errno::noent);
    return found;
}

status ext2_directory::name_of(uint32_t inode, char* out) {
    bool found = false;
    TRY(for_each([&](const place&, directory_entry& e, uint64_t) {
        if (e.inode != inode || name_in(e) == "." || name_in(e) == "..")
            return true;
        memcpy(out, e.name(), e.name_length);
        out[e.name_length] = '\0';
        found = true;
        return false;
    }));
    return found ? status{} : fail(Errno::noent);
}

expected<bool> ext2_directory::empty() {
    bool other = false;
    TRY(for_each([&](const place&, directory_entry& e, uint64_t) {
        other = e.inode && name_in(e) != "." && name_in(e) != "..";
        return !other;
    }));
    return !other;
}

// Entries may have come and gone since the position was told: what lies before it in its block is
// gone through again.
status ext2_directory::list(uint64_t& position, dir_sink& sink) {
    const uint32_t block_size = volume_.block_size();
    auto show = [&](const place& at, directory_entry& e, uint64_t i) {
        const uint64_t here = i * block_size + at.offset;
        if (here < position)
            return true;
        const uint64_t next = here + e.length;
        if (e.inode && !sink.add(name_in(e), e.inode, shown_type(e), next))
            return false;
        position = next;
        return true;
    };
    return for_each(position / block_size, UINT64_MAX, show);
}

// ---- Changes ---------------------------------------------------------------------------------

void ext2_directory::put(directory_entry& e, std::string_view name, uint32_t inode, uint32_t mode) {
    e.inode = inode;
    e.name_length = uint8_t(name.size());
    e.type = volume_.has_file_types() ? type_of(mode) : uint8_t{type_unknown};
    memcpy(e.name(), name.data(), name.size());
}

expected<buffer> ext2_directory::append_block() {
    const uint32_t block_size = volume_.block_size();
    buffer b;
    {
        lock_guard guard(map_.lock);
        bool fresh;
        const uint32_t block = TRY(map_.make(size_ / block_size, fresh));
        b = TRY(volume_.get_new(block));
    }
    b.as<directory_entry>()->length = uint16_t(block_size);
    size_ += block_size;
    return b;
}

status ext2_directory::add(std::string_view name, room there, uint32_t inode, uint32_t mode) {
    const buffer b = there.block ? TRY(volume_.change(there.block)) : TRY(append_block());
    auto* e = b.as<directory_entry>(there.offset);
    if (const uint32_t own = used(*e)) {
        // Who writes to the disk itself may have changed it since it was looked at.
        if (there.offset + own + entry_size(name.size()) > volume_.block_size())
            return volume_.damaged("a directory's block is wrong", there.block);
        auto* behind = b.as<directory_entry>(there.offset + own);
        behind->length = uint16_t(e->length - own);
        put(*behind, name, inode, mode);
        e->length = uint16_t(own);
    } else {
        put(*e, name, inode, mode);
    }
    return {};
}

// The entry before it is looked for anew: another name may have been put between them.
status ext2_directory::remove(const place& at) {
    const buffer b = TRY(volume_.change(at.block));
    auto* e = b.as<directory_entry>(at.offset);
    for (uint32_t offset = 0; offset < at.offset;) {
        auto* before = b.as<directory_entry>(offset);
        if (!sound(*before, offset, volume_.block_size()))
            return volume_.damaged("a directory's block is wrong", at.block);
        offset += before->length;
        if (offset == at.offset)
            before->length = uint16_t(before->length + e->length);
    }
    e->inode = 0;
    return {};
}

status ext2_directory::point(const place& at, uint32_t inode, uint32_t mode) {
    const buffer b = TRY(volume_.change(at.block));
    auto* e = b.as<directory_entry>(at.offset);
    e->inode = inode;
    e->type = volume_.has_file_types() ? type_of(mode) : uint8_t{type_unknown};
    return {};
}

status ext2_directory::begin(uint32_t self, uint32_t parent) {
    const buffer b = TRY(append_block());
    auto* dot = b.as<directory_entry>();
    const uint32_t own = entry_size(1);
    auto* dot_dot = b.as<directory_entry>(own);
    dot_dot->length = uint16_t(dot->length - own);
    dot->length = uint16_t(own);
    put(*dot, ".", self, s_ifdir);
    put(*dot_dot, "..", parent, s_ifdir);
    return {};
}
