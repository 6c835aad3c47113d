// amap_lock: the lock of a family of amaps, those that were copied from one another, and of the
// anons in their slots.
//
// A copy of an amap begins with the anons of the one that it is made of (share_anons), so that an
// anon may be in slots of many amaps, in the maps of many processes, and each of them may take its
// page from all the others. Who holds an anon's lock is alone with the anon, its page and what is
// mapped of the page, whichever amap he came by: a copy takes over the lock of its original. In
// NetBSD, too, am_lock and an_lock are one counted lock, which amap_copy() hands on.
//
//     vm_amap ---.                  .--- vm_amap       a reference each
//        |        '---> amap_lock <'        |
//        |                  ^               |
//        '----> vm_anon ----'               |          no reference
//                  ^                        |
//                  '------------------------'          in a slot of both
//
// Counted, for the first amap of a family may go before the last. An anon has no reference: it ends
// with the last slot that it is in, and while it is in one there is an amap. Who finds an anon from
// its page, and so holds no amap, takes a reference before he wants the lock, while something else
// (the lock of a page queue) keeps the anon from ending.
#pragma once

#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

class CAPABILITY("amap_lock") amap_lock final : public sleep_lock, public ref_counted<amap_lock> {
public:
    static constexpr auto end_takes = lock_rank::pool;
    // The lock of a new family. ENOMEM. Does not sleep.
    static expected<ref_ptr<amap_lock>> create();
    void last_reference_gone();

    amap_lock() : sleep_lock(lock_rank::vm_amap, "vm_amap") {}
};
