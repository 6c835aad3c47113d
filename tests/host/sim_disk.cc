#include "tests/host/sim_disk.h"

#include "lib/assert.h"
#include "vm/phys/vm_page.h"

#include <algorithm>
#include <chrono>
#include <cstring>

static std::vector<sim_disk*> all_disks; // by their makers, one thread

static disk::facts facts_of(const char* name, uint64_t pages) {
    disk::facts is{.name = {},
                   .number = 0,
                   .first = 0,
                   .sectors = pages * (page_size / sector_size),
                   .block_size = sector_size,
                   .most_segments = 32,
                   .read_only = false,
                   .write_back = false};
    std::strncpy(is.name, name, sizeof is.name - 1);
    return is;
}

sim_disk::sim_disk(const char* name, uint64_t pages, uint64_t seed)
    : device(*this, facts_of(name, pages)), pages_(pages), random_(uint32_t(seed)) {
    all_disks.push_back(this);
}

sim_disk::~sim_disk() {
    ASSERT(waiting_.empty());
    std::erase(all_disks, this);
}

sim_disk& sim_disk::of(const disk& d) {
    for (sim_disk* each : all_disks)
        if (&each->device == &d)
            return *each;
    panic("sim_disk: a disk that is none of ours");
}

void sim_disk::make_swap(const std::vector<uint32_t>& bad) {
    auto put = [&](size_t at, uint32_t value) {
        std::memcpy(&pages_[0][at], &value, sizeof value);
    };
    put(1024, 1);
    put(1028, uint32_t(pages_.size() - 1));
    put(1032, uint32_t(bad.size()));
    for (size_t i = 0; i < bad.size(); i++)
        put(1536 + 4 * i, bad[i]);
    std::memcpy(&pages_[0][page_size - 10], "SWAPSPACE2", 10);
}

void sim_disk::start(disk_request& r) {
    request q{.r = &r, .before = {}};
    for (const disk_segment& s : r.segments) {
        ASSERT(s.start.page_offset() == 0 && s.size == page_size);
        auto* data = static_cast<uint8_t*>(direct_map(s.start));
        if (r.operation == disk_operation::read)
            std::memset(data, rubbish, page_size);
        std::memcpy(q.before.emplace_back().data(), data, page_size);
        look_at(r, s, q.before.back(), "begins");
    }
    std::lock_guard guard(lock_);
    waiting_.push_back(std::move(q));
    something_.notify_all();
}

void sim_disk::look_at(const disk_request& r, const disk_segment& s, const contents& before,
                       const char* what) const {
    const vm_page* page = vm_page_of(s.start);
    ASSERT(page && page->owner_kind != page_owner::free);
    if (may_change_ && r.operation == disk_operation::write) {
        if (page->wire_count == 0)
            panic("sim_disk: %s with a page that is not held", what);
        return;
    }
    if (page->owner_kind != page_owner::kernel && (!page->busy || page->md.mapped()))
        panic("sim_disk: %s with a page that is not busy, or mapped", what);
    if (std::memcmp(before.data(), direct_map(s.start), page_size) != 0)
        panic("sim_disk: a page has changed while it was the disk's");
}

bool sim_disk::fails(const disk_request& r) {
    bool spoilt = false;
    const uint64_t first = r.sector / (page_size / sector_size);
    const auto& bad = r.operation == disk_operation::read ? unreadable_ : unwritable_;
    for (uint64_t i = 0; i < r.segments.size(); i++)
        spoilt |= bad.contains(first + i);
    if (fail_in_ != 0 && --fail_in_ == 0)
        spoilt = true;
    failed_ += spoilt;
    return spoilt;
}

// One that fails has moved something, but nothing that is of use.
void sim_disk::carry_out(const request& q, bool fails) {
    uint64_t at = q.r->sector / (page_size / sector_size);
    for (size_t i = 0; i < q.r->segments.size(); i++, at++) {
        const disk_segment& s = q.r->segments[i];
        look_at(*q.r, s, q.before[i], "ends");
        if (q.r->operation == disk_operation::read) {
            if (!fails)
                std::memcpy(direct_map(s.start), pages_[at].data(), page_size);
        } else if (fails) {
            pages_[at].fill(rubbish);
        } else {
            std::memcpy(pages_[at].data(), may_change_ ? direct_map(s.start) : q.before[i].data(),
                        page_size);
        }
    }
}

bool sim_disk::answer_one() {
    disk_request* r;
    bool failed;
    {
        std::lock_guard guard(lock_);
        if (waiting_.empty())
            return false;
        const auto which = std::ptrdiff_t(random_() % waiting_.size());
        const request q = std::move(waiting_[size_t(which)]);
        waiting_.erase(waiting_.begin() + which);
        r = q.r;
        failed = fails(*r);
        carry_out(q, failed);
        answered_[size_t(r->operation)]++;
    }
    disk_finish(*r, failed ? status(fail(Errno::io)) : status{});
    return true;
}

size_t sim_disk::under_way() const {
    std::lock_guard guard(lock_);
    return waiting_.size();
}

void sim_disk::seed(uint64_t seed) {
    std::lock_guard guard(lock_);
    random_.seed(uint32_t(seed));
}

void sim_disk::spoil(disk_operation operation, uint64_t page) {
    std::lock_guard guard(lock_);
    (operation == disk_operation::read ? unreadable_ : unwritable_).insert(page);
}

void sim_disk::mend() {
    std::lock_guard guard(lock_);
    unreadable_.clear();
    unwritable_.clear();
}

uint64_t sim_disk::fail_after(uint64_t n) {
    std::lock_guard guard(lock_);
    return std::exchange(fail_in_, n);
}

uint64_t sim_disk::failed() const {
    std::lock_guard guard(lock_);
    return failed_;
}

uint64_t sim_disk::answered(disk_operation which) const {
    std::lock_guard guard(lock_);
    return answered_[size_t(which)];
}

// ---- A thread for it -------------------------------------------------------------------------

// Now and then it waits a little, so that requests pile up and overtake each other.
sim_disk_thread::sim_disk_thread(sim_disk& d)
    : disk_(d), thread_([this] {
          for (uint64_t n = 0;; n++) {
              {
                  std::unique_lock guard(disk_.lock_);
                  disk_.something_.wait(guard, [&] { return ended_ || !disk_.waiting_.empty(); });
                  if (ended_ && disk_.waiting_.empty())
                      return;
              }
              if (n % 8 == 0)
                  std::this_thread::sleep_for(std::chrono::microseconds(50));
              (void)disk_.answer_one();
          }
      }) {}

sim_disk_thread::~sim_disk_thread() {
    {
        std::lock_guard guard(disk_.lock_);
        ended_ = true;
        disk_.something_.notify_all();
    }
    thread_.join();
}
