#include "kernel/lifecycle/elf.h"

#include "arch/memory.h"
#include "kernel/abi/elf.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "lib/string.h"
#include "vm/uvm_aobj.h"
#include "vm/vmspace.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// All of [offset, offset+size), or ENOEXEC when the file ends before.
status read_exactly(const exec_file& file, uint64_t offset, void* to, size_t size) {
    if (TRY(const_cast<exec_file&>(file).read(offset, to, size)) != size)
        return fail(Errno::noexec);
    return {};
}

vm_prot protection(uint32_t flags) {
    vm_prot p = vm_prot::none;
    if (flags & pf_r)
        p = p | vm_prot::read;
    if (flags & pf_w)
        p = p | vm_prot::write;
    if (flags & pf_x)
        p = p | vm_prot::execute;
    return p;
}

} // namespace

expected<elf_image> elf_image::read(exec_file file, const void* head, size_t head_size) {
    elf_header h;
    if (head_size < sizeof h)
        return fail(Errno::noexec);
    memcpy(&h, head, sizeof h);
    constexpr uint8_t wanted[] = {0x7f, 'E', 'L', 'F', 2 /* 64 bit */, 1 /* little endian */, 1};
    if (memcmp(h.ident, wanted, sizeof wanted) != 0 || h.machine != em_x86_64 ||
        (h.type != et_exec && h.type != et_dyn))
        return fail(Errno::noexec);
    // Linux, too, refuses tables beyond 64 KiB.
    size_t table = size_t{h.program_count} * sizeof(elf_segment);
    if (h.program_entry_size != sizeof(elf_segment) || h.program_count == 0 || table > 65536)
        return fail(Errno::noexec);

    elf_image image(std::move(file), h);
    image.segments_ = kmem_array<elf_segment>(h.program_count);
    if (!image.segments_)
        return fail(Errno::nomem);
    TRY(read_exactly(image.file_, h.program_offset, image.segments_.data(), table));
    TRY(image.check_segments());
    return image;
}

// Everything that map() relies on.
status elf_image::check_segments() {
    for (const elf_segment& s : segments_) {
        if (s.type == pt_interp && !interpreter_) {
            if (s.file_size < 2 || s.file_size > path_max)
                return fail(Errno::noexec);
            interpreter_ = kmem_array<char>(s.file_size);
            if (!interpreter_)
                return fail(Errno::nomem);
            TRY(read_exactly(file_, s.offset, interpreter_.data(), s.file_size));
            if (interpreter_[s.file_size - 1] != '\0')
                return fail(Errno::noexec);
        } else if (s.type == pt_gnu_stack) {
            executable_stack_ = s.flags & pf_x;
        } else if (s.type == pt_load) {
            const uint64_t start = s.virtual_address, end = start + s.memory_size;
            if (s.file_size > s.memory_size || end < start || end > user_max.value())
                return fail(Errno::noexec);
            if ((s.offset ^ start) & page_mask) // a page of the file has to be a page of memory
                return fail(Errno::noexec);
            if (s.offset + s.file_size < s.offset ||
                (s.file_size && s.offset + s.file_size > file_.size()))
                return fail(Errno::noexec);
            if (header_.type == et_exec && s.memory_size != 0 && start < mmap_min_addr.value())
                return fail(Errno::noexec);
            low_ = std::min(low_, page_round_down(start));
            high_ = std::max(high_, end);
            const uint64_t pages = (page_round_up(end) - page_round_down(start)) >> page_shift;
            pages_ += pages;
            data_pages_ += s.flags & pf_w ? pages : 0;
        }
    }
    if (low_ >= high_)
        return fail(Errno::noexec);
    return {};
}

expected<elf_image::placement> elf_image::map(vmspace& vm, uint64_t bias) const {
    placement p{};
    p.entry = vaddr_t(header_.entry + bias);
    p.code_start = p.data_start = vaddr_t(UINT64_MAX);
    for (const elf_segment& s : segments_) {
        if (s.type != pt_load)
            continue;
        TRY(map_segment(vm, s, bias));
        const uint64_t start = s.virtual_address + bias;
        // The table is in the segment that maps its place in the file.
        if (s.offset <= header_.program_offset && header_.program_offset < s.offset + s.file_size)
            p.headers = vaddr_t(header_.program_offset - s.offset + start);
        if (s.flags & pf_x) {
            p.code_start = std::min(p.code_start, vaddr_t(start));
            p.code_end = std::max(p.code_end, vaddr_t(start + s.file_size));
        } else {
            p.data_start = std::min(p.data_start, vaddr_t(start));
            p.data_end = std::max(p.data_end, vaddr_t(start + s.file_size));
        }
        p.end = std::max(p.end, vaddr_t(start + s.memory_size));
    }
    if (p.code_end == vaddr_t())
        p.code_start = vaddr_t();
    if (p.data_end == vaddr_t())
        p.data_start = vaddr_t();
    return p;
}

//      start        file_end                      end
//      |  file data  | zeros |  anonymous zeros    |
//   ---+----------+----------+----------+----------+---   pages
//                 ^ the last page of the file: what follows in it belongs to something else
status elf_image::map_segment(vmspace& vm, const elf_segment& s, uint64_t bias) const {
    const vm_prot prot = protection(s.flags);
    const uint64_t start = s.virtual_address + bias;
    const uint64_t file_end = start + s.file_size, end = start + s.memory_size;
    const uint64_t first_page = page_round_down(start), anonymous = page_round_up(file_end);
    if (s.file_size != 0) {
        map_request request;
        request.address = vaddr_t(first_page);
        request.size = file_end - first_page;
        request.prot = prot;
        request.fixed = true;
        request.object = file_.object();
        request.handle = file_.handle();
        request.offset = page_round_down(s.offset);
        TRY(vm.map(request));
        if (end > file_end && (s.flags & pf_w) && file_end % page_size != 0) {
            static constexpr char zeros[page_size] = {};
            TRY(vm.write_memory(vaddr_t(file_end), zeros, anonymous - file_end, true));
        }
    }
    const uint64_t zero_start = s.file_size != 0 ? anonymous : first_page;
    if (page_round_up(end) > zero_start) {
        map_request request;
        request.address = vaddr_t(zero_start);
        request.size = page_round_up(end) - zero_start;
        request.prot = prot;
        request.fixed = true;
        TRY(vm.map(request));
    }
    return {};
}
