// See arch/host/host_turns.h. Nobody but who runs touches anything here; the mutex is for the moment
// at which that becomes another.
#include "host_turns.h"

#include "lib/assert.h"

#include "host_thread.h"

#include <algorithm>
#include <cstring>
#include <string>

host_turns::host_turns(uint64_t seed, std::function<bool()> device)
    : random_(uint32_t(seed)), device_(std::move(device)) {
    takers_.push_back(std::make_unique<host_turn_taker>(*this));
    running_ = takers_.front().get();
    running_->runnable = true;
    ASSERT(!host_thread::self().turn);
    host_thread::self().turn = running_;
}

host_turns::~host_turns() {
    host_turn_taker& me = *takers_.front();
    settle();
    for (const auto& taker : takers_) {
        if (taker.get() == &me)
            continue;
        if (taker->asleep && !(taker->ends_in && std::strcmp(taker->asleep, taker->ends_in) == 0))
            everybody_sleeps();
        {
            held guard(lock_);
            taker->ended = taker->runnable = true;
            give_to(guard, me, *taker);
        }
        taker->thread.join();
    }
    host_thread::self().turn = nullptr;
}

bool host_turns::may_run(const host_turn_taker& taker) const {
    return taker.runnable && !(settling_ && &taker == takers_.front().get());
}

// One of those that may run; null: there is none.
host_turn_taker* host_turns::draw() {
    const auto may = [&](const auto& taker) { return may_run(*taker); };
    const auto count = std::count_if(takers_.begin(), takers_.end(), may);
    if (count == 0)
        return nullptr;
    auto left = count == 1 ? 0 : std::ptrdiff_t(random_() % uint64_t(count));
    for (const auto& taker : takers_)
        if (may_run(*taker) && left-- == 0)
            return taker.get();
    return nullptr;
}

void host_turns::everybody_sleeps() const {
    std::string who;
    for (const auto& taker : takers_)
        if (taker->asleep)
            who += std::string(who.empty() ? "" : ", ") + taker->asleep;
    panic("host: everybody sleeps, and nothing is under way that would wake one: %s", who.c_str());
}

void host_turns::give_to(held& guard, host_turn_taker& me, host_turn_taker& next) {
    running_ = &next;
    if (&next != &me)
        next.chosen.notify_one();
    me.chosen.wait(guard, [&] { return running_ == &me; });
}

// Somebody's turn, perhaps that of who passes it. When it is his again he goes on.
void host_turns::pass(held& guard, host_turn_taker& me) {
    for (;;) {
        host_turn_taker* next = draw();
        if (!next || random_() % 4 == 0) {
            guard.unlock();
            const bool answered = device_();
            guard.lock();
            if (!next && !answered) {
                if (settling_ && takers_.front()->runnable)
                    return give_to(guard, me, *takers_.front());
                everybody_sleeps();
            }
        }
        if (next)
            return give_to(guard, me, *next);
    }
}

void host_turns::yield() {
    host_thread& self = host_thread::self();
    if (self.cpu_locks.count != 0 || self.interrupt_depth != 0)
        return;
    if (takers_.size() == 1 || random_() % 4 != 0)
        return;
    held guard(lock_);
    pass(guard, *self.turn);
}

bool host_turns::sleep(host_turn_taker& me, const char* why) {
    held guard(lock_);
    me.asleep = why;
    me.runnable = false;
    pass(guard, me);
    me.asleep = nullptr;
    return me.ended;
}

void host_turns::wake(host_turn_taker& sleeper) { sleeper.runnable = true; }

bool host_turns::quiet() const {
    return std::none_of(takers_.begin() + 1, takers_.end(),
                        [](const auto& taker) { return taker->runnable; });
}

void host_turns::settle() {
    host_turn_taker& me = *takers_.front();
    ASSERT(host_thread::self().turn == &me);
    held guard(lock_);
    settling_ = true;
    for (bool more = true; more;) {
        if (draw()) {
            pass(guard, me);
            continue;
        }
        guard.unlock();
        more = device_();
        guard.lock();
    }
    settling_ = false;
}

// ---- The other threads -----------------------------------------------------------------------

void host_turns::start(std::function<void()> body, const char* ends_in) {
    held guard(lock_);
    host_turn_taker* worker = nullptr;
    for (const auto& taker : takers_)
        if (taker != takers_.front() && !taker->body)
            worker = taker.get();
    if (!worker) {
        worker = takers_.emplace_back(std::make_unique<host_turn_taker>(*this)).get();
        worker->thread = std::thread([this, worker] { run_bodies(*worker); });
    }
    worker->body = std::move(body);
    worker->ends_in = ends_in;
    worker->runnable = true;
    give_to(guard, *host_thread::self().turn, *worker);
}

void host_turns::run_bodies(host_turn_taker& me) {
    host_thread& self = host_thread::self();
    self.turn = &me;
    held guard(lock_);
    me.chosen.wait(guard, [&] { return running_ == &me; });
    for (;;) {
        if (me.body) {
            guard.unlock();
            try {
                me.body();
            } catch (const host_thread_ended&) { // NOLINT: that is all
            }
            guard.lock();
            me.body = nullptr;
        }
        if (me.ended)
            break;
        me.runnable = false;
        pass(guard, me);
    }
    self.turn = nullptr;
    running_ = takers_.front().get();
    running_->chosen.notify_one();
}
