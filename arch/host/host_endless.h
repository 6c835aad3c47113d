// A thread whose body never returns: the page daemon's.
#pragma once

#include <functional>
#include <future>
#include <thread>

struct host_thread;

// What wait_queue throws, to the body, in a thread that is to end.
struct host_thread_ended {};

class host_endless {
public:
    // It ends where it sleeps on `ends_in`, when this ends.
    host_endless(const char* ends_in, std::function<void()> body);
    ~host_endless();
    host_endless(const host_endless&) = delete;

private:
    const char* const ends_in_;
    std::promise<host_thread*> begun_;
    std::thread thread_;
    host_thread* self_;
};
