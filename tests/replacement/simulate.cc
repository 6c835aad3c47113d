#include "tests/replacement/simulate.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <set>

namespace {

constexpr uint32_t nowhere = std::numeric_limits<uint32_t>::max();

// Memory of so many frames, and where each page of the string is.
class simulated_memory {
public:
    simulated_memory(page_policy& policy, uint32_t pages, uint32_t frames)
        : policy_(policy), frames_(std::make_unique<vm_page[]>(frames)), frame_count_(frames),
          has_(frames, nowhere), referenced_(frames), frame_of_(pages, nowhere), slots_(pages) {
        if (!policy.begin(frames))
            panic("no memory for the policy");
    }
    ~simulated_memory() {
        for (uint32_t frame = 0; frame < used_; frame++)
            policy_.dequeue(frames_[frame]);
        policy_.end();
    }

    void refer_to(uint32_t page) {
        if (frame_of_[page] == nowhere)
            bring_in(page);
        referenced_[frame_of_[page]] = true;
    }
    uint64_t page_ins() const { return page_ins_; }

private:
    void bring_in(uint32_t page) {
        const uint32_t frame = used_ < frame_count_ ? used_++ : put_out();
        has_[frame] = page;
        frame_of_[page] = frame;
        policy_.enqueue(frames_[frame], slots_[page]);
        page_ins_++;
    }

    uint32_t put_out() {
        for (;;) {
            vm_page* const victim = policy_.select_victim();
            const auto frame = uint32_t(victim - frames_.get());
            const bool referenced = referenced_[frame];
            referenced_[frame] = false;
            if (policy_.spares(*victim, referenced))
                continue;
            policy_.dequeue(*victim);
            const uint32_t page = has_[frame];
            slots_[page] = page + 1;
            policy_.went(*victim, slots_[page]);
            frame_of_[page] = nowhere;
            return frame;
        }
    }

    page_policy& policy_;
    std::unique_ptr<vm_page[]> frames_;
    const uint32_t frame_count_;
    uint32_t used_ = 0;
    std::vector<uint32_t> has_;      // by frame: its page
    std::vector<bool> referenced_;   // by frame
    std::vector<uint32_t> frame_of_; // by page
    std::vector<swap_slot> slots_;   // by page
    uint64_t page_ins_ = 0;
};

// Numbers that are the same each time and on each machine.
class numbers {
public:
    uint64_t below(uint64_t end) {
        state_ = state_ * 6364136223846793005 + 1442695040888963407;
        return (state_ >> 33) % end;
    }

private:
    uint64_t state_ = 1;
};

// Page n is wanted 1/(n + 1) times as often as page 0.
reference_string zipf(uint32_t pages, size_t length) {
    std::vector<uint64_t> up_to;
    uint64_t sum = 0;
    for (uint32_t n = 0; n < pages; n++)
        up_to.push_back(sum += 1'000'000 / (n + 1));
    numbers random;
    reference_string string;
    while (string.size() < length) {
        const auto at = std::upper_bound(up_to.begin(), up_to.end(), random.below(sum));
        string.push_back(uint32_t(at - up_to.begin()));
    }
    return string;
}

// Pages that are wanted all the time, and between them others that are wanted once.
reference_string scan_and_hot_set(uint32_t hot, size_t length) {
    numbers random;
    reference_string string;
    for (uint32_t once = hot; string.size() < length; once++) {
        string.push_back(uint32_t(random.below(hot)));
        string.push_back(once);
    }
    return string;
}

} // namespace

uint32_t pages_of_string(const reference_string& string) {
    return string.empty() ? 0 : *std::max_element(string.begin(), string.end()) + 1;
}

uint64_t page_ins(page_policy& policy, const reference_string& string, uint32_t frames) {
    simulated_memory memory(policy, pages_of_string(string), frames);
    for (uint32_t page : string)
        memory.refer_to(page);
    return memory.page_ins();
}

uint64_t page_ins_of_optimum(const reference_string& string, uint32_t frames) {
    std::vector<uint32_t> next_use(string.size()), next_of(pages_of_string(string), nowhere);
    for (size_t i = string.size(); i-- != 0;) {
        next_use[i] = next_of[string[i]];
        next_of[string[i]] = uint32_t(i);
    }
    // By the next use, which is another for each page unless there is none.
    std::set<std::pair<uint32_t, uint32_t>> memory;
    uint64_t count = 0;
    for (uint32_t i = 0; i < string.size(); i++) {
        if (memory.erase({i, string[i]}) == 0) {
            count++;
            if (memory.size() == frames)
                memory.erase(std::prev(memory.end()));
        }
        memory.emplace(next_use[i], string[i]);
    }
    return count;
}

// A page is in memory if fewer than that many others were used since it was: marks[i] says whether
// reference i is the last one to its page so far, and a tree of sums (Fenwick 1994) counts marks.
std::vector<uint64_t> page_ins_of_true_lru(const reference_string& string) {
    const size_t length = string.size();
    const uint32_t pages = pages_of_string(string);
    std::vector<int32_t> tree(length + 1);
    const auto mark = [&](size_t at, int32_t by) {
        for (size_t i = at + 1; i <= length; i += i & -i)
            tree[i] += by;
    };
    const auto marks_before = [&](size_t end) {
        uint64_t sum = 0;
        for (size_t i = end; i != 0; i -= i & -i)
            sum += uint64_t(tree[i]);
        return sum;
    };
    std::vector<size_t> last(pages, length);
    std::vector<uint64_t> result(pages + 1);
    std::vector<uint64_t> at_depth(pages + 1); // references that n frames are enough for
    for (size_t i = 0; i < length; i++) {
        size_t& before = last[string[i]];
        if (before != length) {
            at_depth[marks_before(i) - marks_before(before)]++;
            mark(before, -1);
        }
        mark(i, 1);
        before = i;
    }
    uint64_t left = length;
    for (uint32_t frames = 0; frames <= pages; frames++)
        result[frames] = left -= at_depth[frames];
    return result;
}

const std::vector<std::string> textbook_strings = {"belady", "loop", "scan", "zipf"};

reference_string textbook_string(const std::string& name) {
    if (name == "belady") // and Nelson and Shedler, 1969
        return {1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5};
    if (name == "zipf")
        return zipf(400, 10'000);
    if (name == "scan")
        return scan_and_hot_set(60, 10'000);
    reference_string string;
    for (uint32_t i = 0; name == "loop" && i < 10'000; i++)
        string.push_back(i % 100);
    return string;
}
