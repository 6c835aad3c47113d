// The super block and the group descriptors: what is on the disk is checked here before anything
// goes by it.
#include "kernel/base/printk.h"
#include "kernel/files/vnode.h"
#include "kernel/fs/ext2/volume.h"
#include "lib/long_work.h"
#include "lib/string.h"

using namespace ext2_format;

namespace {

constexpr uint32_t known_incompatible = incompat_filetype;
constexpr uint32_t known_read_only = ro_compat_sparse_super | ro_compat_large_file;

bool power_of(uint32_t number, uint32_t base) {
    while (number % base == 0)
        number /= base;
    return number == 1;
}

uint32_t seconds_now() { return uint32_t(file_time_now() / 1'000'000'000); }

} // namespace

std::unexpected<Errno> ext2_volume::damaged(const char* what, uint64_t number) {
    if (!damage_told_.exchange(true))
        printk("ext2: %s: %s (%llu); run e2fsck", disk_->is.name, what,
               static_cast<unsigned long long>(number));
    return fail(Errno::uclean);
}

status ext2_volume::open(disk& d, bool read_only) {
    disk_ = &d;
    cache_ = TRY(buffer_cache::of(d));
    cache_->opened();
    super_ = *TRY(cache_->get(super_offset / sizeof(super_), sizeof(super_))).as<super_block>();
    if (super_.magic != magic)
        return fail(Errno::inval);
    TRY(check_super());
    TRY(check_features(read_only));
    return read_descriptors();
}

status ext2_volume::check_super() {
    auto wrong = [&](const char* what) {
        printk("ext2: %s: %s: not mounted", disk_->is.name, what);
        return fail(Errno::inval);
    };
    if (super_.log_block_size > 2)
        return wrong("blocks larger than 4 KiB");
    block_size_ = 1024u << super_.log_block_size;
    if (block_size_ < disk_->is.block_size)
        return wrong("blocks smaller than the disk's");
    const bool revision_0 = super_.revision == 0;
    first_inode_ = revision_0 ? first_inode_of_revision_0 : super_.first_inode;
    inode_size_ = revision_0 ? sizeof(disk_inode) : super_.inode_size;
    if (super_.revision > 1 || inode_size_ < sizeof(disk_inode) || inode_size_ > block_size_ ||
        !power_of(inode_size_, 2) || first_inode_ < first_inode_of_revision_0)
        return wrong("unknown revision, or sizes of inodes");
    const uint64_t bits = uint64_t{block_size_} * 8;
    if (super_.first_data_block != (block_size_ == 1024) || super_.blocks_per_group == 0 ||
        super_.blocks_per_group > bits || super_.blocks_per_group % 8 ||
        super_.inodes_per_group == 0 || super_.inodes_per_group > bits ||
        super_.inodes_per_group % 8)
        return wrong("groups of an impossible size");
    if (super_.blocks_count <= super_.first_data_block ||
        uint64_t{super_.blocks_count} * block_size_ > disk_->is.sectors * sector_size)
        return wrong("more blocks than the disk has");
    const uint64_t blocks = super_.blocks_count - super_.first_data_block;
    groups_ = uint32_t((blocks + super_.blocks_per_group - 1) / super_.blocks_per_group);
    if (uint64_t{groups_} * super_.inodes_per_group != super_.inodes_count ||
        super_.inodes_count < first_inode_)
        return wrong("groups and inodes do not agree");
    if (super_.free_blocks > super_.blocks_count || super_.reserved_blocks > super_.blocks_count ||
        super_.free_inodes > super_.inodes_count)
        return wrong("more is free than there is");
    return {};
}

status ext2_volume::check_features(bool read_only) {
    if (super_.revision == 0)
        super_.compatible = super_.incompatible = super_.read_only_compatible = 0;
    if (super_.incompatible & ~known_incompatible) {
        printk("ext2: %s: %s (incompatible features %x): not mounted", disk_->is.name,
               super_.incompatible & incompat_recover ? "its journal wants to be replayed"
                                                      : "it has what is not known here",
               super_.incompatible & ~known_incompatible);
        return fail(Errno::inval);
    }
    if (read_only)
        return {};
    if (super_.read_only_compatible & ~known_read_only) {
        printk("ext2: %s: only to be mounted read-only (features %x)", disk_->is.name,
               super_.read_only_compatible & ~known_read_only);
        return fail(Errno::rofs);
    }
    if (super_.state & state_errors) {
        printk("ext2: %s: it has errors: run e2fsck, or mount it read-only", disk_->is.name);
        return fail(Errno::rofs);
    }
    if (!(super_.state & state_clean))
        printk("ext2: %s: not unmounted cleanly: run e2fsck", disk_->is.name);
    return disk_->is.read_only ? fail(Errno::rofs) : status{};
}

status ext2_volume::read_descriptors() {
    descriptors_ = kmem_array<group_descriptor>(groups_);
    if (!descriptors_)
        return fail(Errno::nomem);
    const uint32_t in_block = block_size_ / sizeof(group_descriptor);
    for (uint32_t group = 0; group < groups_; group++) {
        TRY(long_work::go_on());
        const uint64_t block = super_.first_data_block + 1 + group / in_block;
        if (block >= super_.blocks_count)
            return fail(Errno::inval);
        const buffer b = TRY(get_any(block));
        descriptors_[group] = b.as<group_descriptor>()[group % in_block];
        TRY(check_descriptor(group));
    }
    return {};
}

status ext2_volume::check_descriptor(uint32_t group) {
    const group_descriptor& d = descriptors_[group];
    const uint64_t start = group_start(group), end = start + blocks_in(group);
    auto inside = [&](uint32_t block, uint64_t n) { return block >= start && block + n <= end; };
    if (inside(d.block_bitmap, 1) && inside(d.inode_bitmap, 1) &&
        inside(d.inode_table, inode_table_blocks()) && d.free_blocks <= blocks_in(group) &&
        d.free_inodes <= super_.inodes_per_group && d.directories <= super_.inodes_per_group)
        return {};
    printk("ext2: %s: the descriptor of group %u is wrong: not mounted", disk_->is.name, group);
    return fail(Errno::inval);
}

uint32_t ext2_volume::blocks_in(uint32_t group) const {
    return group + 1 < groups_ ? super_.blocks_per_group : super_.blocks_count - group_start(group);
}

uint32_t ext2_volume::inode_table_blocks() const {
    return uint32_t((uint64_t{super_.inodes_per_group} * inode_size_ + block_size_ - 1) /
                    block_size_);
}

// Copies are in each group, or in the groups 0, 1 and the powers of 3, 5 and 7.
bool ext2_volume::has_super(uint32_t group) const {
    return !(super_.read_only_compatible & ro_compat_sparse_super) || group <= 1 ||
           power_of(group, 3) || power_of(group, 5) || power_of(group, 7);
}

// ---- Changes ---------------------------------------------------------------------------------

status ext2_volume::begin_changes() {
    TRY(check_features(false));
    {
        lock_guard guard(lock_);
        state_at_mount_ = super_.state;
        super_.state &= uint16_t(~state_clean);
        super_.mount_time = seconds_now();
        super_.mount_count++;
        changed_ = true;
    }
    return sync();
}

status ext2_volume::end_changes() {
    TRY(sync());
    {
        lock_guard guard(lock_);
        if (!damage_told_ && (state_at_mount_ & state_clean))
            super_.state |= state_clean;
        changed_ = true;
    }
    const status written = sync();
    if (!written) {
        lock_guard guard(lock_);
        super_.state &= uint16_t(~state_clean);
        changed_ = true;
    }
    return written;
}

status ext2_volume::store() {
    lock_guard guard(lock_);
    const bool tells_damage = damage_told_ && !(super_.state & state_errors);
    return changed_ || tells_damage ? store_locked() : status{};
}

status ext2_volume::store_locked() {
    if (damage_told_)
        super_.state |= state_errors;
    super_.write_time = seconds_now();
    {
        const buffer b = TRY(change_any(super_offset / block_size_));
        memcpy(b.data() + super_offset % block_size_, &super_, sizeof(super_));
    }
    const uint32_t in_block = block_size_ / sizeof(group_descriptor);
    for (uint32_t group = 0; group < groups_; group += in_block) {
        long_work::pause();
        const uint32_t n = std::min(in_block, groups_ - group);
        const size_t size = n * sizeof(group_descriptor);
        const uint32_t block = super_.first_data_block + 1 + group / in_block;
        if (memcmp(TRY(get_any(block)).data(), &descriptors_[group], size) != 0)
            memcpy(TRY(change_any(block)).data(), &descriptors_[group], size);
    }
    changed_ = false;
    return {};
}

status ext2_volume::sync() {
    uint64_t waiting;
    {
        lock_guard guard(lock_);
        waiting = waiting_end_;
    }
    TRY(store());
    TRY(cache_->sync());
    TRY(buffer_cache::flush(*disk_));
    return free_safe(waiting);
}

void ext2_volume::note_large_file() {
    lock_guard guard(lock_);
    if (super_.revision > 0)
        super_.read_only_compatible |= ro_compat_large_file;
    changed_ = true;
}

ext2_volume::counts ext2_volume::count() {
    lock_guard guard(lock_);
    // What mke2fs has taken for itself does not count as there, as on Linux.
    uint64_t overhead = super_.first_data_block;
    const uint32_t in_block = block_size_ / sizeof(group_descriptor);
    for (uint32_t group = 0; group < groups_; group++) {
        overhead += 2 + inode_table_blocks() +
                    (has_super(group) ? 1 + (groups_ + in_block - 1) / in_block : 0);
        long_work::pause();
    }
    return {super_.blocks_count - overhead, super_.free_blocks + waiting_end_ - waiting_first_,
            super_.reserved_blocks, super_.inodes_count, super_.free_inodes};
}

uint32_t ext2_volume::first_orphan() {
    lock_guard guard(lock_);
    return super_.last_orphan;
}

void ext2_volume::set_first_orphan(uint32_t inode) {
    lock_guard guard(lock_);
    super_.last_orphan = inode;
    changed_ = true;
}
