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
    auto push = [&](const void* data, size_t size) -> expected<vaddr_t> {
        top -= size;
        TRY(vm.write_memory(top, data, size, true));
        return top;
    };
    static constexpr char platform[] = "x86_64";
    std::byte random[16];
    random_fill(random);

    vaddr_t path = TRY(push(c.path, strlen(c.path) + 1));
    vaddr_t platform_at = TRY(push(platform, sizeof platform));
    vaddr_t random_at = TRY(push(random, sizeof random));
    vm.image.env_end = top;
    top -= c.environment.bytes();
    vm.image.env_start = vm.image.arg_end = top;
    top -= c.arguments.bytes();
    vm.image.arg_start = top;

    const auxv told = auxv_of(c, path, platform_at, random_at);
    const uint64_t argc = c.arguments.count(), envc = c.environment.count();
    const uint64_t words = 1 + (argc + 1) + (envc + 1);
    const vaddr_t sp((top.value() - sizeof told - words * 8) & ~uint64_t{15});
    const vaddr_t argv = sp + 8, envp = argv + (argc + 1) * 8, aux = envp + (envc + 1) * 8;
    const uint64_t null = 0;
    TRY(vm.write_memory(sp, &argc, sizeof argc, true));
    TRY(c.arguments.store(vm, vm.image.arg_start, argv));
    TRY(vm.write_memory(argv + argc * 8, &null, sizeof null, true));
    TRY(c.environment.store(vm, vm.image.env_start, envp));
    TRY(vm.write_memory(envp + envc * 8, &null, sizeof null, true));
    TRY(vm.write_memory(aux, &told, sizeof told, true));
    vm.image.stack_start = sp;
    return sp;
}
