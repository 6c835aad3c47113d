#include "kernel/drivers/disks.h"

#include "arch/memory.h"
#include "kernel/base/printk.h"
#include "kernel/drivers/partition_table.h"
#include "kernel/files/vnode.h"
#include "lib/format.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

namespace {

// Linux's numbers for virtio disks: it gives out this major first, and 16 minors to each disk.
constexpr uint32_t virtio_major = 254, minors_each = partition_table::most + 1;
constexpr unsigned most_disks = 26; // vda to vdz

constinit pool<disk> disks{"disk"};
list<disk, &disk::of_all> all_disks;
unsigned disk_count;

// Reads blocks through a page of its own.
class table_reader final : public block_reader {
public:
    table_reader(disk& of, vm_page& page) : of_(of), page_(page) {}
    expected<const uint8_t*> read(uint64_t block, unsigned count) override {
        const disk_segment segment{page_.physical(), count * of_.is.block_size};
        disk_request r{.operation = disk_operation::read,
                       .sector = block * (of_.is.block_size / sector_size),
                       .segments = {&segment, 1}};
        disk_wait wait;
        wait.submit(of_, r);
        TRY(wait.all());
        return static_cast<const uint8_t*>(page_.data());
    }

private:
    disk& of_;
    vm_page& page_;
};

status add_partitions(disk& whole) {
    owned_page page(vm_page_alloc(page_owner::kernel));
    if (!page)
        return fail(Errno::nomem);
    table_reader reader(whole, *page.get());
    const uint32_t per_block = whole.is.block_size / sector_size;
    const partition_table table =
        TRY(read_partitions(reader, whole.is.sectors / per_block, whole.is.block_size));
    if (table.refused)
        printk("%s: %u entries of the partition table overlap others or lie beyond the end",
               whole.is.name, table.refused);
    for (unsigned i = 0; i < table.count; i++) {
        const partition_table::entry& e = table.entries[i];
        disk::facts is = whole.is;
        format_to(is.name, sizeof is.name, "%s%u", whole.is.name, e.number);
        is.number += e.number;
        is.first = e.first * per_block;
        is.sectors = e.blocks * per_block;
        is.partition = e.number;
        disk* part = disks.create(whole, is);
        if (!part)
            return fail(Errno::nomem);
        all_disks.push_back(*part);
    }
    return {};
}

} // namespace

expected<disk*> disks_add(disk_driver& driver, disk::facts is) {
    if (disk_count == most_disks)
        return fail(Errno::nospc);
    format_to(is.name, sizeof is.name, "vd%c", 'a' + int(disk_count));
    is.number = make_device(virtio_major, disk_count * minors_each);
    disk* whole = disks.create(driver, is);
    if (!whole)
        return fail(Errno::nomem);
    disk_count++;
    all_disks.push_back(*whole);
    if (status s = add_partitions(*whole); !s)
        printk("%s: its partition table cannot be read: %s", is.name, errno_name(s.error()));
    return whole;
}

disk* disk_next(disk* after) { return after ? all_disks.next(*after) : all_disks.front(); }

disk* disk_of(uint64_t number) {
    for (disk& d : all_disks)
        if (d.is.number == number)
            return &d;
    return nullptr;
}

status disks_flush() {
    status result;
    for (disk& d : all_disks) {
        if (d.is.partition)
            continue;
        disk_request r{.operation = disk_operation::flush};
        disk_wait wait;
        wait.submit(d, r);
        if (status s = wait.all(); !s && result)
            result = s;
    }
    return result;
}
