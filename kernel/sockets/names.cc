#include "kernel/sockets/names.h"

#include "kernel/base/random.h"
#include "kernel/files/lookup.h"
#include "kernel/files/permission.h"
#include "kernel/process/process.h"
#include "kernel/sockets/socket.h"
#include "lib/format.h"
#include "lib/long_work.h"

using namespace linux_abi;

namespace {

constexpr unsigned buckets = 64;
constexpr uint16_t first_free_port = 32768, last_free_port = 60999, first_users_port = 1024;

unsigned bucket_of(const socket_address& name, const vnode* place) {
    if (place)
        return unsigned(reinterpret_cast<uintptr_t>(place) / sizeof(vnode)) % buckets;
    if (name.family() != af_unix)
        return name.port() % buckets;
    unsigned hash = 0;
    for (uint32_t i = 2; i < name.size; i++)
        hash = hash * 31 + name.bytes[i];
    return hash % buckets;
}

constexpr uint32_t bit(int32_t option) { return 1u << option; }

bool by_version_4(const socket_address& a) { return a.family() == af_inet || a.mapped(); }

// Whether what is sent to `to` is for who has `name`. `only`: IPV6_V6ONLY.
bool is_for(const socket_address& name, bool only, const socket_address& to) {
    if (name.port() != to.port())
        return false;
    if (name.any())
        return by_version_4(to) ? name.family() == af_inet || !only : name.family() == af_inet6;
    return name.seen_by(af_inet6) == to.seen_by(af_inet6);
}

list<socket, &socket::in_table> table[buckets] GUARDED_BY(sockets_lock);

} // namespace

// Whether `other`, of AF_INET or AF_INET6, would get some of what `s` gets by `name`.
bool socket_names::meets(const socket& other, const socket& s, const socket_address& name) {
    return other.type == s.type &&
           (is_for(other.name_, other.only_6(), name) || is_for(name, s.only_6(), other.name_));
}

// Those who could both bind, by SO_REUSEADDR, cannot both listen.
bool socket_names::listened_at(const socket& s) {
    if (s.family == af_unix)
        return false;
    for (socket& other : table[bucket_of(s.name_, nullptr)])
        if (&other != &s && other.family != af_unix && other.stage_ == socket::stage::listening &&
            meets(other, s, s.name_) &&
            !(other.switches_.load() & s.switches_.load() & bit(so_reuseport)))
            return true;
    return false;
}

// Datagrams: one that is connected hears its peer alone.
bool socket_names::hears(const socket& s, const socket_address& source) {
    if (s.type != sock_dgram)
        return s.stage_ == socket::stage::listening;
    return s.stage_ != socket::stage::connected ||
           s.peer_name_.seen_by(af_inet6) == source.seen_by(af_inet6);
}

// Who has a name like this, of the same kind; null: nobody.
socket* socket_names::holder(const socket& s, const socket_address& name, const vnode* place) {
    for (socket& other : table[bucket_of(name, place)]) {
        if ((other.family == af_unix) != (s.family == af_unix))
            continue;
        if (s.family == af_unix) {
            if (place ? other.place_.get() == place
                      : !other.place_ && other.type == s.type && other.name_ == name)
                return &other;
        } else if (meets(other, s, name)) {
            const uint32_t both = other.switches_.load() & s.switches_.load();
            const bool listens = other.stage_ == socket::stage::listening;
            if (!(both & bit(so_reuseport)) && (!(both & bit(so_reuseaddr)) || listens))
                return &other;
        }
    }
    return nullptr;
}

// EADDRINUSE; EINVAL if it has a name.
status socket_names::enter(socket& s, const socket_address& name, ref_ptr<vnode> place) {
    lock_guard guard(sockets_lock);
    if (s.name_.size > 2 && (s.family == af_unix || s.name_.port()))
        return fail(Errno::inval);
    if (holder(s, name, place.get()))
        return fail(Errno::addrinuse);
    s.name_ = name;
    s.place_ = std::move(place);
    table[bucket_of(name, s.place_.get())].push_back(s);
    return {};
}

status socket_names::bind_path(socket& s, const socket_address& address) {
    path_walk walk(TRY(start_directory(at_fdcwd, address.path_text())), address.path_text());
    TRY(walk.to_last());
    if (walk.dot_name())
        return fail(Errno::addrinuse);
    auto present = walk.directory().lookup(walk.name());
    if (present)
        return fail(Errno::addrinuse);
    if (present.error() != Errno::noent)
        return fail(present.error());
    TRY(check_create(walk.directory()));
    auto node =
        TRY(walk.directory().create_nameless(node_for_caller(walk.directory(), s_ifsock | 0777)));
    TRY(enter(s, address, node));
    status entered = walk.directory().enter(walk.name(), *node);
    if (entered)
        return {};
    forget(s);
    return fail(entered.error() == Errno::exist ? Errno::addrinuse : entered.error());
}

status socket_names::bind(socket& s, const socket_address& address) {
    if (!address.path()) {
        lock_guard guard(sockets_lock);
        if (s.name_.size > 2 && (s.family == af_unix || s.name_.port()))
            return fail(Errno::inval);
    }
    if (s.family == af_unix) {
        if (address.family() != af_unix)
            return fail(Errno::inval);
        if (address.size <= 2)
            return bind_somewhere(s);
        return address.path() ? bind_path(s, address) : enter(s, address, {});
    }
    if (address.family() != s.family)
        return fail(address.family() == af_unspec ? Errno::inval : Errno::afnosupport);
    if (!address.any() && !address.loopback())
        return fail(Errno::addrnotavail);
    if (address.port() == 0)
        return bind_somewhere(s, address);
    if (address.port() < first_users_port && !is_superuser())
        return fail(Errno::acces);
    return enter(s, address, {});
}

status socket_names::bind_somewhere(socket& s, socket_address name) {
    constexpr unsigned ports = last_free_port - first_free_port + 1, tries = 1u << 20;
    const bool local = s.family == af_unix;
    uint32_t begin = 0;
    random_fill({reinterpret_cast<std::byte*>(&begin), sizeof begin});
    for (uint32_t i = 0; i < (local ? tries : ports); i++) {
        if (local) { // five digits behind a NUL, as Linux
            name = socket_address::of_family(af_unix);
            format_to(reinterpret_cast<char*>(name.bytes + 3), 6, "%05x", (begin + i) % tries);
            name.size = 8;
        } else {
            name.set_port(uint16_t(first_free_port + (begin + i) % ports));
        }
        status entered = enter(s, name, {});
        if (entered || entered.error() != Errno::addrinuse)
            return entered;
        TRY(long_work::go_on());
    }
    return fail(Errno::addrinuse);
}

status socket_names::bind_somewhere(socket& s) {
    socket_address any = socket_address::of_family(s.family);
    any.size = s.family == af_inet ? sizeof(linux_sockaddr_in) : sizeof(linux_sockaddr_in6);
    return bind_somewhere(s, any);
}

void socket_names::forget(socket& s) {
    ref_ptr<vnode> place; // dropped without the lock
    lock_guard guard(sockets_lock);
    if (!s.in_table.linked())
        return;
    table[bucket_of(s.name_, s.place_.get())].remove(s);
    std::swap(place, s.place_);
    s.name_ = socket_address::of_family(s.family);
    guard.unlock();
}

expected<ref_ptr<socket>> socket_names::find_local(const socket_address& address,
                                                   const socket& by) {
    ref_ptr<vnode> place;
    if (address.path()) {
        place = TRY(lookup_path(at_fdcwd, address.path_text(), true));
        TRY(check_access(*place, may_write));
        if (place->type() != s_ifsock)
            return fail(Errno::connrefused);
    }
    lock_guard guard(sockets_lock);
    auto found = ref_ptr<socket>::unless_ending(holder(by, address, place.get()));
    if (!found)
        return fail(Errno::connrefused);
    if (found->type == by.type)
        return found;
    guard.unlock();
    return fail(Errno::prototype);
}

expected<ref_ptr<socket>> socket_names::find(const socket_address& address, const socket& by) {
    if (by.family == af_unix) {
        if (address.family() != af_unix || address.size <= 2)
            return fail(Errno::inval);
        return find_local(address, by);
    }
    if (address.family() != by.family && !(by.family == af_inet6 && address.family() == af_inet))
        return fail(Errno::afnosupport);
    socket_address to = address;
    if (to.any())
        to.become_loopback();
    if (!to.loopback())
        return fail(Errno::netunreach);
    lock_guard guard(sockets_lock);
    const socket_address source = by.source();
    socket* best = nullptr;
    int best_fit = -1; // whoever is connected before others, and who has this address before all
    for (socket& other : table[bucket_of(to, nullptr)]) {
        const int fit = 2 * (other.stage_ == socket::stage::connected) + !other.name_.any();
        if (other.family != af_unix && other.type == by.type && fit > best_fit &&
            hears(other, source) && is_for(other.name_, other.only_6(), to)) {
            best = &other;
            best_fit = fit;
        }
    }
    auto found = ref_ptr<socket>::unless_ending(best);
    if (!found)
        return fail(Errno::connrefused);
    return found;
}
