// Host threads that take turns, so that a run of several threads is the same each time.
//
// Of those that take part one runs, until it sleeps, or comes to a point at which another processor
// might be quicker: long_work, yield(). Which one is next is drawn. Between turns devices answer,
// as an interrupt does. When everybody sleeps and no device has anything to say, a wake-up is lost
// or locks are wanted in a circle: that is a panic at once, and not after a time-out.
//
// Threads that do not take part run as the host lets them; they and those that do share no locks.
#pragma once

#include "host_endless.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

struct host_thread;
class host_turns;

// A thread that takes part.
struct host_turn_taker {
    host_turns& all;
    std::condition_variable chosen;
    std::function<void()> body{}; // what it does, if anything; not the maker's
    const char* ends_in = nullptr;
    const char* asleep = nullptr; // on what
    bool runnable = false, ended = false;
    std::thread thread{};
};

class host_turns {
public:
    // The calling thread takes part from now on. device() lets some device do something; false:
    // none has anything to do.
    host_turns(uint64_t seed, std::function<bool()> device);
    // Lets the others come to their ends. One that sleeps where nothing wakes it is a panic.
    ~host_turns();
    host_turns(const host_turns&) = delete;

    // What is drawn from now on.
    void seed(uint64_t seed) { random_.seed(uint32_t(seed)); }
    // One more thread does `body`. It has the next turn. A body that never returns ends, with the
    // turns, where it sleeps on `ends_in`.
    void start(std::function<void()> body, const char* ends_in = nullptr);
    // Perhaps others run, or a device answers.
    void yield();
    // The others run until each of them sleeps for good, and no device has anything to do.
    void settle();
    // Whether nobody else has anything to do, but for what a device may wake.
    bool quiet() const;

    // For wait_queue: the calling thread, which takes part, sleeps until wake() is called for it.
    // Throws nothing; whether its end has come.
    bool sleep(host_turn_taker& me, const char* why);
    void wake(host_turn_taker& sleeper);

private:
    using held = std::unique_lock<std::mutex>;
    void pass(held& guard, host_turn_taker& me);
    void give_to(held& guard, host_turn_taker& me, host_turn_taker& next);
    bool may_run(const host_turn_taker& taker) const;
    host_turn_taker* draw();
    void run_bodies(host_turn_taker& me);
    [[noreturn]] void everybody_sleeps() const;

    std::mutex lock_;
    std::vector<std::unique_ptr<host_turn_taker>> takers_; // the maker is the first
    host_turn_taker* running_ = nullptr;
    std::minstd_rand random_;
    const std::function<bool()> device_;
    bool settling_ = false;
};
