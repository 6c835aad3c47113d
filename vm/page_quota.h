// page_quota: how many pages the files of one file system may have together.
//
// Reference counted: held by the file system and by the object of each file. A page is taken before
// it is made and given back once it is gone.
#pragma once

#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

#include <cstdint>

class page_quota : public ref_counted<page_quota> {
public:
    static constexpr auto end_takes = lock_rank::accounts;
    static constexpr uint64_t unlimited = UINT64_MAX;

    explicit page_quota(uint64_t limit) : limit_(limit) {}
    static expected<ref_ptr<page_quota>> create(uint64_t limit); // ENOMEM
    void last_reference_gone();

    status take(uint64_t pages); // ENOSPC. Does not sleep
    void give_back(uint64_t pages);
    status set_limit(uint64_t limit); // EINVAL: less than is used

    struct amounts {
        uint64_t limit, used;
    };
    amounts look() const;

private:
    mutable spin_lock lock_{lock_rank::accounts, "page quota"}; // nothing is taken under it
    uint64_t limit_ GUARDED_BY(lock_);
    uint64_t used_ GUARDED_BY(lock_) = 0;
};
