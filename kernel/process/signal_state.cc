#include "kernel/process/signal_state.h"

#include "lib/assert.h"
#include "vm/phys/pool.h"

#include <bit>
#include <utility>

using namespace linux_abi;

namespace {

constinit pool<pending_signal> infos{"pending_signal"};
constinit pool<sig_handlers> handler_sets{"sig_handlers"};

} // namespace

pending_signal* pending_signal::create() { return infos.create(); }

void pending_signal::drop() {
    ASSERT(!timer); // a timer's is the timer's own
    infos.destroy(this);
}

signal_queue::~signal_queue() {
    while (pending_signal* entry = queued.pop_front()) // timers' are gone before
        entry->drop();
}

template <class... Of> static expected<ref_ptr<sig_handlers>> make_handlers(Of&... of) {
    auto made = ref_ptr<sig_handlers>::adopt(handler_sets.create(of...));
    if (!made)
        return fail(Errno::nomem);
    return made;
}

expected<ref_ptr<sig_handlers>> sig_handlers::create() { return make_handlers(); }

expected<ref_ptr<sig_handlers>> sig_handlers::copy() { return make_handlers(*this); }

sig_handlers::sig_handlers(sig_handlers& of) {
    signal_guard guard(of);
    set_ = of.set_;
    for (sigset left = set_; left; left &= left - 1) {
        const int i = std::countr_zero(left);
        actions_[i] = of.actions_[i];
    }
}

void sig_handlers::reset_for_exec() {
    signal_guard guard(*this);
    for (sigset left = std::exchange(set_, 0); left; left &= left - 1) {
        const int signo = std::countr_zero(left) + 1;
        if (actions_[signo - 1].handler == sig_ign)
            set(signo, {sig_ign, 0, 0, 0});
    }
}

void sig_handlers::last_reference_gone() { handler_sets.destroy(this); }
