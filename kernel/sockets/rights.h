// Files on their way from one process to another (SCM_RIGHTS).
//
// A socket may travel through itself, or two through each other, so that each is kept by a message
// that nobody can receive any more. collect() finds those: sockets all of whose references are in
// messages, that no socket which somebody has leads to.
#pragma once

#include "kernel/sockets/socket.h"

class flying_sockets {
public:
    // A packet with rights enters a queue; or all of a queue, or one, leaves.
    static void take_off(packet& p) REQUIRES(sockets_lock);
    static void land(packet& p) REQUIRES(sockets_lock);
    static void land(packet_list& queue) REQUIRES(sockets_lock);
    // Ends packets that have landed: one after the other, however many sockets end with them and
    // have packets in their turn.
    static void drop(packet_list& those);
    static void collect();

private:
    static void count_inner() REQUIRES(sockets_lock);
    static void mark_reached() REQUIRES(sockets_lock);
    template <class Each> static void each_inside(socket& s, Each each) REQUIRES(sockets_lock);
};
