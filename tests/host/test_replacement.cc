// The page daemon's policies over strings of references: what is known of them must come out.
#include "tests/host/catch.h"
#include "tests/replacement/simulate.h"

#include <algorithm>
#include <set>

namespace {

const std::vector<page_policy*>& all() {
    static const std::vector<page_policy*> policies = {&second_chance_policy(), &fifo_policy(),
                                                       &random_policy(), &lru_policy(),
                                                       &clock_pro_policy()};
    return policies;
}

} // namespace

TEST_CASE("replacement: FIFO has Belady's anomaly", "[replacement]") {
    const reference_string belady = textbook_string("belady");
    CHECK(page_ins(fifo_policy(), belady, 3) == 9);
    CHECK(page_ins(fifo_policy(), belady, 4) == 10);
    CHECK(page_ins_of_optimum(belady, 3) == 7);
    CHECK(page_ins_of_optimum(belady, 4) == 6);
    const auto lru = page_ins_of_true_lru(belady);
    CHECK(lru[3] == 10);
    CHECK(lru[4] == 8);
}

TEST_CASE("replacement: nothing is better than the optimum", "[replacement]") {
    for (const std::string& name : textbook_strings) {
        const reference_string string = textbook_string(name);
        const std::set<uint32_t> pages(string.begin(), string.end());
        const auto all_fit = uint32_t(pages.size());
        const auto lru = page_ins_of_true_lru(string);
        for (uint32_t frames = 1; frames <= all_fit;
             frames = frames < 4 ? frames + 1 : frames * 2) {
            const uint64_t optimum = page_ins_of_optimum(string, frames);
            INFO(name << ", " << frames << " frames");
            CHECK(optimum <= lru[frames]);
            for (page_policy* policy : all()) {
                INFO(policy->name());
                const uint64_t count = page_ins(*policy, string, frames);
                CHECK(count >= optimum);
                CHECK(count <= string.size());
            }
        }
        for (page_policy* policy : all())
            CHECK(page_ins(*policy, string, all_fit) == all_fit);
    }
}

TEST_CASE("replacement: LRU and the optimum never want more page-ins with more memory",
          "[replacement]") {
    for (const std::string& name : textbook_strings) {
        const reference_string string = textbook_string(name);
        const auto lru = page_ins_of_true_lru(string);
        CHECK(std::is_sorted(lru.rbegin(), lru.rend()));
        uint64_t before = string.size();
        for (uint32_t frames = 1; frames < lru.size(); frames += frames < 10 ? 1 : 97) {
            const uint64_t now = page_ins_of_optimum(string, frames);
            CHECK(now <= before);
            before = now;
        }
    }
}

// Referenced bits, gone through as often as an eighth of memory has gone, know the order nearly.
TEST_CASE("replacement: LRU by referenced bits is nearly LRU", "[replacement]") {
    const reference_string string = textbook_string("zipf");
    const auto lru = page_ins_of_true_lru(string);
    for (uint32_t frames : {10, 20, 50, 100, 200, 300}) {
        INFO(frames << " frames");
        const double ratio = double(page_ins(lru_policy(), string, frames)) / double(lru[frames]);
        CHECK(ratio > 0.97);
        CHECK(ratio < 1.03);
    }
}

TEST_CASE("replacement: CLOCK-Pro keeps what is used again", "[replacement]") {
    // A hot set of 60 pages, and a scan: each page of the scan has to come, and little more.
    const reference_string scan = textbook_string("scan");
    const uint64_t once = scan.size() / 2;
    CHECK(page_ins(clock_pro_policy(), scan, 80) < once + 200);
    CHECK(page_ins(second_chance_policy(), scan, 80) > once + 2000);
    CHECK(page_ins(lru_policy(), scan, 80) > once + 2000);
    // A loop over 100 pages. It remembers as many pages that are out as there are frames, so with 50
    // it finds nothing out, and with one more most of what can be.
    const reference_string loop = textbook_string("loop");
    CHECK(page_ins(lru_policy(), loop, 99) == loop.size());
    CHECK(page_ins(clock_pro_policy(), loop, 50) == loop.size());
    for (uint32_t frames : {51, 60, 70, 80}) {
        INFO(frames << " frames");
        CHECK(double(page_ins(clock_pro_policy(), loop, frames)) <
              1.2 * double(page_ins_of_optimum(loop, frames)));
    }
}
