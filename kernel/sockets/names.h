// Which socket has which name: files, abstract names, ports.
#pragma once

#include "kernel/sockets/address.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"

class socket;
class vnode;
extern spin_lock sockets_lock; // kernel/sockets/socket.h

// Who has which name.
class socket_names {
public:
    // Gives `s` a name, which is checked; EINVAL if it has one. EADDRINUSE EADDRNOTAVAIL EACCES, and
    // what making a file may be.
    static status bind(socket& s, const socket_address& address);
    // A port, or for AF_UNIX an abstract name, that nobody has. EADDRINUSE.
    static status bind_somewhere(socket& s);
    static void forget(socket& s);
    // Whether another one listens where `s`, of AF_INET or AF_INET6, is to.
    static bool listened_at(const socket& s) REQUIRES(sockets_lock);
    // The socket of this name for one of this type to talk to. ECONNREFUSED EPROTOTYPE ENETUNREACH
    // EACCES, and what finding a file may be. May sleep.
    static expected<ref_ptr<socket>> find(const socket_address& address, const socket& by);

private:
    static socket* holder(const socket& s, const socket_address& name, const vnode* place)
        REQUIRES(sockets_lock);
    static bool meets(const socket& a, const socket& b, const socket_address& name)
        REQUIRES(sockets_lock);
    static bool hears(const socket& s, const socket_address& source) REQUIRES(sockets_lock);
    static status enter(socket& s, const socket_address& name, ref_ptr<vnode> place);
    static status bind_path(socket& s, const socket_address& address);
    static status bind_somewhere(socket& s, socket_address name);
    static expected<ref_ptr<socket>> find_local(const socket_address& address, const socket& by);
};
