#include "kernel/lifecycle/exec_stack.h"

#include "arch/machine.h"
#include "kernel/abi/elf.h"
#include "kernel/base/random.h"
#include "kernel/process/process.h"
#include "lib/string.h"
#include "vm/vmspace.h"

#include <array>

using namespace linux_abi;

namespace {

struct auxv_entry {
    uint64_t type, value;
};

using auxv = std::array<auxv_entry, 20>;

// What the program is told of itself and of the machine.
auxv auxv_of(const first_stack& c, vaddr_t path, vaddr_t platform, vaddr_t random) {
    const credentials cred = current_credentials();
    return {{
        {at_hwcap, machine_hwcap()},
        {at_pagesz, page_size},
        {at_clktck, 100},
        {at_phdr, c.main.headers.value()},
        {at_phent, sizeof(elf_segment)},
        {at_phnum, c.image.header_count()},
        {at_base, c.base.value()},
        {at_flags, 0},
        {at_entry, c.main.entry.value()},
        {at_uid, cred.uid},
        {at_euid, cred.euid},
        {at_gid, cred.gid},
        {at_egid, cred.egid},
        {at_secure, c.secure},
        {at_random, random.value()},
        {at_hwcap2, machine_hwcap2()},
        {at_execfn, path.value()},
        {at_platform, platform.value()},
        {at_minsigstksz, machine_minimum_signal_stack()},
        {at_null, 0},
    }};
}

} // namespace

expected<vaddr_t> exec_build_stack(vmspace& vm, vaddr_t top, const first_stack& c) {
    struct {
        std::byte random[16];
        char platform[sizeof "x86_64"] = "x86_64";
    } below_path;
    random_fill(below_path.random);
    const vaddr_t path = top - (strlen(c.path) + 1);
    TRY(vm.write_memory(path, c.path, strlen(c.path) + 1));
    const vaddr_t random = path - sizeof below_path, platform = random + sizeof below_path.random;
    TRY(vm.write_memory(random, &below_path, sizeof below_path));

    vm.image.env_end = random;
    vm.image.env_start = vm.image.arg_end = vm.image.env_end - c.environment.bytes();
    vm.image.arg_start = vm.image.arg_end - c.arguments.bytes();
    const auxv told = auxv_of(c, path, platform, random);
    const uint64_t words = 1 + (c.arguments.count() + 1) + (c.environment.count() + 1);
    const vaddr_t sp((vm.image.arg_start.value() - sizeof told - words * 8) & ~uint64_t{15});
    word_run stack(vm, sp);
    TRY(stack.put(c.arguments.count()));
    TRY(c.arguments.store(vm, vm.image.arg_start, stack));
    TRY(c.environment.store(vm, vm.image.env_start, stack));
    for (const auxv_entry& entry : told) {
        TRY(stack.put(entry.type));
        TRY(stack.put(entry.value));
    }
    TRY(stack.flush());
    vm.image.stack_start = sp;
    return sp;
}
