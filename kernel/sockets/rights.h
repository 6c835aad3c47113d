// Files on their way from one process to another (SCM_RIGHTS).
//
// A socket may travel through itself, or two through each other, so that each is kept by a message
// that nobody can receive any more. collect() finds those: sockets all of whose references are in
// messages, that no socket which somebody has leads to.
#pragma once

#include "kernel/sockets/socket.h"

class flying_sockets {
public:
    // A packet enters a queue; or one that is on no list of carriers any more leaves it, or all do.
    static void take_off(packet& p, socket& to) REQUIRES(sockets_lock);
    static void land(packet& p) REQUIRES(sockets_lock);
    static void land(carrier_list& those) REQUIRES(sockets_lock);
    // Bytes that would come free with `s`: its queue, its backlog, and what travels in those.
    static uint64_t held_by(socket& s) REQUIRES(sockets_lock);
    // Ends packets that have landed: one after the other, however many sockets end with them and
    // have packets in their turn.
    static void drop(packet_list& those);
    static void collect();

private:
    static void count_inner() REQUIRES(sockets_lock);
    static void mark_reached() REQUIRES(sockets_lock);
    template <class Each> static void each_inside(socket& s, Each each) REQUIRES(sockets_lock);
};
