#include "kernel/sockets/rights.h"

#include "lib/long_work.h"

namespace {

// Of those that travel, each once.
list<socket, &socket::among_flying> flying GUARDED_BY(sockets_lock);
packet_list doomed GUARDED_BY(sockets_lock);
bool dropping GUARDED_BY(sockets_lock) = false;

constinit pool<packet> packets{"packet"};

} // namespace

rights::~rights() {
    for (ref_ptr<file>& f : files)
        f.reset();
}

packet* packet::create(uint32_t size) {
    packet* p = packets.create();
    if (p && size) {
        p->data = static_cast<char*>(kmem_alloc(size));
        if (!p->data) {
            packets.destroy(p);
            return nullptr;
        }
    }
    if (p)
        p->size = size;
    return p;
}

void packet::destroy() {
    if (data)
        kmem_free(data, size);
    packets.destroy(this);
}

void flying_sockets::take_off(packet& p, socket& to) {
    if (p.with.files)
        to.carriers_.push_back(p);
    for (const ref_ptr<file>& f : p.with.files)
        if (socket* s = f->as_socket()) {
            if (s->in_flight_++ == 0)
                flying.push_back(*s);
        }
}

void flying_sockets::land(packet& p) {
    for (const ref_ptr<file>& f : p.with.files) {
        socket* const s = f->as_socket();
        if (s && --s->in_flight_ == 0)
            flying.remove(*s);
    }
}

void flying_sockets::land(carrier_list& those) {
    while (packet* p = those.pop_front())
        land(*p);
}

void flying_sockets::drop(packet_list& those) {
    lock_guard guard(sockets_lock);
    doomed.splice_back(those);
    if (dropping)
        return;
    dropping = true;
    while (packet* p = doomed.pop_front()) {
        guard.unlock();
        p->destroy();
        long_work::pause();
        guard.lock();
    }
    dropping = false;
}

// Calls each(socket) for each that travels in a packet of `s`, or of one that waits in its backlog.
template <class Each> void flying_sockets::each_inside(socket& s, Each each) {
    auto of_queue = [&](socket& holder) {
        sockets_lock.assert_held();
        for (packet& p : holder.carriers_)
            for (const ref_ptr<file>& f : p.with.files)
                if (socket* inside = f->as_socket())
                    each(*inside);
    };
    of_queue(s);
    for (socket& waiting : s.backlog_)
        of_queue(waiting);
}

// Only messages have it.
static bool candidate(const socket& s, uint32_t in_flight) { return s.references() == in_flight; }

void flying_sockets::count_inner() {
    for (socket& s : flying) {
        s.inner_ = 0;
        s.reached_ = false;
    }
    for (socket& s : flying)
        if (candidate(s, s.in_flight_))
            each_inside(s, [](socket& inside) {
                sockets_lock.assert_held();
                inside.inner_++;
            });
}

// Those that somebody has, or that travel in what somebody has; and so on from there.
void flying_sockets::mark_reached() {
    list<socket, &socket::among_flying> found, rest;
    auto reach = [&](socket& s) {
        sockets_lock.assert_held();
        if (s.reached_)
            return;
        s.reached_ = true;
        rest.remove(s);
        found.push_back(s);
    };
    rest.splice_back(flying);
    for (socket *s = rest.front(), *next; s; s = next) {
        next = rest.next(*s);
        if (!candidate(*s, s->in_flight_) || s->inner_ < s->in_flight_)
            reach(*s);
    }
    while (socket* s = found.pop_front()) {
        flying.push_back(*s);
        each_inside(*s, reach);
    }
    flying.splice_back(rest);
}

// What has descriptors is held by who has those.
uint64_t flying_sockets::held_by(socket& s) {
    static uint64_t visits GUARDED_BY(sockets_lock) = 0;
    const uint64_t number = ++visits;
    list<socket, &socket::among_visited> found;
    uint64_t bytes = 0;
    auto visit = [&](socket& inside) {
        sockets_lock.assert_held();
        if (inside.visit_ == number)
            return;
        inside.visit_ = number;
        found.push_back(inside);
    };
    visit(s);
    while (socket* holder = found.pop_front()) {
        bytes += holder->queued_.load() + (holder == &s ? 0 : sizeof(socket));
        for (socket& waiting : holder->backlog_)
            visit(waiting);
        for (packet& p : holder->carriers_)
            for (const ref_ptr<file>& f : p.with.files) {
                if (f->descriptors() != 0)
                    continue;
                if (socket* inside = f->as_socket())
                    visit(*inside);
                else
                    bytes += f->held();
            }
    }
    return bytes;
}

void flying_sockets::collect() {
    packet_list lost;
    carrier_list landing;
    {
        lock_guard guard(sockets_lock);
        if (flying.empty())
            return;
        count_inner();
        mark_reached();
        for (socket *s = flying.front(), *next; s; s = next) {
            next = flying.next(*s);
            if (s->reached_)
                continue;
            // Its packets land below, when all of those that are lost are known.
            auto lose = [&](socket& holder) {
                sockets_lock.assert_held();
                lost.splice_back(holder.queue_);
                landing.splice_back(holder.carriers_);
            };
            lose(*s);
            for (socket& waiting : s->backlog_)
                lose(waiting);
        }
        land(landing);
    }
    drop(lost);
}
