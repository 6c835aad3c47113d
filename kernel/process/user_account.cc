#include "kernel/process/user_account.h"

#include "lib/list.h"
#include "lib/lock.h"
#include "vm/phys/pool.h"

#include <iterator>

struct user_account {
    explicit user_account(uint32_t user) : uid(user) {}
    list_node in_bucket;
    const uint32_t uid;
    uint64_t charged = 0; // of all resources together: the account ends with the last of it
    uint64_t units[unsigned(user_resource::count)] = {};
};

namespace {

constinit pool<user_account> accounts{"user_account"};

spin_lock table_lock{lock_rank::accounts, "user accounts"};
list<user_account, &user_account::in_bucket> table[64] GUARDED_BY(table_lock);

auto& bucket_of(uint32_t uid) REQUIRES(table_lock) { return table[uid % std::size(table)]; }

user_account* find(uint32_t uid) REQUIRES(table_lock) {
    for (user_account& a : bucket_of(uid))
        if (a.uid == uid)
            return &a;
    return nullptr;
}

bool fits(const user_account& a, user_resource what, uint64_t more, uint64_t limit) {
    const uint64_t has = a.units[unsigned(what)];
    return has <= limit && more <= limit - has;
}

// Modulo 2^64: also for less.
void add(user_account& a, user_resource what, uint64_t n) REQUIRES(table_lock) {
    a.units[unsigned(what)] += n;
    a.charged += n;
}

} // namespace

expected<user_charge> user_charge::take(uint32_t uid, user_resource what, uint64_t n,
                                        uint64_t limit, Errno over) {
    user_charge charge;
    user_account* fresh = nullptr;
    {
        lock_guard guard(table_lock);
        user_account* a = find(uid);
        if (!a) {
            a = fresh = accounts.create(uid);
            if (!a)
                return fail(Errno::nomem);
        }
        if (fits(*a, what, n, limit)) {
            if (fresh)
                bucket_of(uid).push_back(*std::exchange(fresh, nullptr));
            add(*a, what, n);
            charge.account_ = a;
            charge.units_ = n;
            charge.what_ = what;
        }
    }
    accounts.destroy(fresh);
    if (!charge.account_)
        return fail(over);
    return charge;
}

bool user_charge::resize(uint64_t n, uint64_t limit) {
    lock_guard guard(table_lock);
    if (n > units_ && !fits(*account_, what_, n - units_, limit))
        return false;
    add(*account_, what_, n - units_);
    units_ = n;
    return true;
}

void user_charge::join(user_charge other) {
    if (!account_) {
        *this = std::move(other);
        return;
    }
    lock_guard guard(table_lock);
    if (other.account_ != account_) // he has changed meanwhile
        add(*account_, what_, other.units_);
    else
        other.account_ = nullptr;
    units_ += other.units_;
}

user_charge::~user_charge() {
    if (!account_)
        return;
    {
        lock_guard guard(table_lock);
        add(*account_, what_, -units_);
        if (account_->charged)
            return;
        bucket_of(account_->uid).remove(*account_);
    }
    accounts.destroy(account_);
}
