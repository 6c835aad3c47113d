// A disk in the memory of the host process, which answers when a test says so and in any order:
// delays, requests that overtake each other, and errors.
//
// It moves a request's data when it answers, and not before: until then a page that is read has
// rubbish in it. It panics when somebody else is at a page meanwhile, as the rule about busy pages
// (vm/uvm_pager.h) forbids: one that is written changes, one that is read is written to, or either
// has a mapping. Pages of files are not busy while they are written: let_pages_change().
#pragma once

#include "lib/disk.h"
#include "lib/types.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

class sim_disk final : public disk_driver {
public:
    sim_disk(const char* name, uint64_t pages, uint64_t seed = 1);
    ~sim_disk();

    disk device;
    static sim_disk& of(const disk& d);

    // What mkswap writes, by hand: `bad` are pages that it found to be no good.
    void make_swap(const std::vector<uint32_t>& bad = {});

    // From now on what is written may be mapped, and change meanwhile: what it was when the disk answers
    // is what the disk has.
    void let_pages_change() { may_change_ = true; }

    NO_ALLOC void start(disk_request& r) override;
    // Answers some request; false when there is none.
    bool answer_one();
    size_t under_way() const;
    // What is drawn from now on.
    void seed(uint64_t seed);

    // Page n can not be read any more, or not be written, until mend().
    void spoil(disk_operation operation, uint64_t page);
    void mend();
    // The n-th request from now on fails (1: the next), once; 0: none does. How many were still to
    // come.
    uint64_t fail_after(uint64_t n);
    uint64_t failed() const;                       // requests so far
    uint64_t answered(disk_operation which) const; // well or not

    const uint8_t* page(uint64_t n) const { return pages_[n].data(); }

private:
    using contents = std::array<uint8_t, page_size>;
    struct request {
        disk_request* r;
        std::vector<contents> before; // of the pages in memory
    };
    static constexpr uint8_t rubbish = 0xa5;

    bool fails(const disk_request& r);
    void carry_out(const request& q, bool fails);
    void look_at(const disk_request& r, const disk_segment& s, const contents& before,
                 const char* what) const;

    mutable std::mutex lock_;
    std::vector<contents> pages_;
    std::vector<request> waiting_;
    std::set<uint64_t> unreadable_, unwritable_;
    uint64_t fail_in_ = 0, failed_ = 0;
    uint64_t answered_[3] = {};
    bool may_change_ = false;
    std::minstd_rand random_;

    friend class sim_disk_thread;
    std::condition_variable something_; // is under way, or the thread is to end
};

// While one exists, a thread of its own answers the disk's requests.
class sim_disk_thread {
public:
    explicit sim_disk_thread(sim_disk& d);
    ~sim_disk_thread();

private:
    sim_disk& disk_;
    bool ended_ = false; // under the disk's lock
    std::thread thread_;
};
