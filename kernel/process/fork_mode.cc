// The modes of fork and vfork: a process's own and the system's.
#include "kernel/process/fork_mode.h"

#include "vm/vmspace.h"

#include <iterator>

namespace {

constexpr const char* fork_names[] = {"copy", "cow", "cow+pte"};
constexpr const char* vfork_names[] = {"share", "cow", "fork"};

constinit std::atomic<fork_mode> default_fork{fork_mode::cow};
constinit std::atomic<vfork_mode> default_vfork{vfork_mode::share};

template <class Mode, size_t n>
status set_by_name(std::atomic<Mode>& mode, const char* const (&names)[n], std::string_view name) {
    for (size_t i = 0; i < n; i++) {
        if (name == names[i]) {
            mode.store(Mode(i));
            return {};
        }
    }
    return fail(Errno::inval);
}

bool valid(int number, size_t modes) {
    return number == own_fork_modes::unchanged || (number >= 0 && size_t(number) <= modes);
}

} // namespace

fork_mode own_fork_modes::for_fork() const {
    const uint8_t own = fork_.load();
    return own ? fork_mode(own - 1) : default_fork.load();
}

vfork_mode own_fork_modes::for_vfork() const {
    const uint8_t own = vfork_.load();
    return own ? vfork_mode(own - 1) : default_vfork.load();
}

void own_fork_modes::inherit(const own_fork_modes& parent) {
    fork_.store(parent.fork_.load());
    vfork_.store(parent.vfork_.load());
}

expected<int> own_fork_modes::change(int fork_number, int vfork_number) {
    if (!valid(fork_number, std::size(fork_names)) || !valid(vfork_number, std::size(vfork_names)))
        return fail(Errno::inval);
    const int old_fork =
        fork_number == unchanged ? fork_.load() : fork_.exchange(uint8_t(fork_number));
    const int old_vfork =
        vfork_number == unchanged ? vfork_.load() : vfork_.exchange(uint8_t(vfork_number));
    return old_fork | old_vfork << 8;
}

const char* fork_mode_name(fork_mode mode) { return fork_names[size_t(mode)]; }

const char* fork_mode_default_name() { return fork_mode_name(default_fork.load()); }
status fork_mode_set_default(std::string_view name) {
    return set_by_name(default_fork, fork_names, name);
}

const char* vfork_mode_default_name() { return vfork_names[size_t(default_vfork.load())]; }
status vfork_mode_set_default(std::string_view name) {
    return set_by_name(default_vfork, vfork_names, name);
}
