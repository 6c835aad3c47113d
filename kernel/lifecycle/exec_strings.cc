#include "kernel/lifecycle/exec_strings.h"

#include "arch/memory.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <utility>

namespace {

constexpr uint64_t longest_string = 128 * 1024; // with its NUL, as Linux
constexpr uint64_t pointer_size = sizeof(uint64_t);

status charge(uint64_t& budget, uint64_t n) {
    if (n > budget)
        return fail(Errno::toobig);
    budget -= n;
    return {};
}

} // namespace

constinit pool<exec_strings::chunk> exec_strings::chunks{"exec_strings"};

exec_strings::~exec_strings() {
    while (chunk* c = list_.pop_front())
        chunks.destroy(c);
}

// The chunk that has room for at least one more byte.
expected<exec_strings::chunk*> exec_strings::room() {
    chunk* last = list_.back();
    if (last && last->used < sizeof last->data)
        return last;
    void* memory = chunks.allocate();
    if (!memory)
        return fail(Errno::nomem);
    kept_.add(sizeof(chunk));
    auto* fresh = new (memory) chunk; // its data stay as they are
    list_.push_back(*fresh);
    return fresh;
}

status exec_strings::append(std::string_view text, uint64_t& budget) {
    TRY(charge(budget, text.size() + 1 + pointer_size));
    bool terminated = false;
    while (!terminated) {
        chunk* c = TRY(room());
        size_t n = std::min(text.size(), sizeof c->data - c->used);
        memcpy(c->data + c->used, text.data(), n);
        c->used += uint32_t(n);
        text.remove_prefix(n);
        bytes_ += n;
        if (text.empty() && c->used < sizeof c->data) {
            c->data[c->used++] = '\0';
            bytes_++;
            terminated = true;
        }
    }
    count_++;
    return {};
}

status exec_strings::append_string_from_user(vaddr_t at, uint64_t& budget) {
    // Short steps: most strings end within the first.
    constexpr size_t step = 128;
    for (uint64_t length = 0;;) {
        TRY(long_work::go_on());
        chunk* c = TRY(room());
        size_t n = std::min<size_t>({step, sizeof c->data - c->used, page_size - at.page_offset()});
        char* to = c->data + c->used;
        size_t got = copy_in_partial(to, at, n);
        const char* end = static_cast<const char*>(memchr(to, '\0', got));
        size_t taken = end ? size_t(end - to) + 1 : got;
        length += taken;
        if (length > longest_string)
            return fail(Errno::toobig);
        TRY(charge(budget, taken));
        c->used += uint32_t(taken);
        bytes_ += taken;
        if (end) {
            count_++;
            return {};
        }
        if (got < n)
            return fail(Errno::fault);
        at += taken;
    }
}

status exec_strings::append_from_user(vaddr_t array, uint64_t& budget) {
    // No array is an empty one, as on Linux.
    if (array.value() == 0)
        return {};
    for (uint64_t i = 0;; i++) {
        TRY(long_work::go_on());
        uint64_t string = TRY(user_ptr<const uint64_t>(array).read_at(i));
        TRY(charge(budget, pointer_size));
        if (string == 0)
            return {};
        TRY(append_string_from_user(vaddr_t(string), budget));
    }
}

void exec_strings::drop_first() {
    if (empty())
        return;
    for (;;) {
        chunk* c = list_.front();
        ASSERT(c);
        const char* from = c->data + c->first;
        size_t there = c->used - c->first;
        const char* end = static_cast<const char*>(memchr(from, '\0', there));
        size_t n = end ? size_t(end - from) + 1 : there;
        c->first += uint32_t(n);
        bytes_ -= n;
        if (c->first == c->used) {
            list_.remove(*c);
            chunks.destroy(c);
            kept_.drop(sizeof(chunk));
        }
        if (end)
            break;
    }
    count_--;
}

void exec_strings::take(exec_strings& other) {
    list_.splice_back(other.list_);
    count_ += std::exchange(other.count_, 0);
    bytes_ += std::exchange(other.bytes_, 0);
    kept_.take(other.kept_);
}

status word_run::flush() {
    const size_t size = std::exchange(count_, 0) * sizeof(uint64_t);
    TRY(vm_.write_memory(to_, words_, size));
    to_ += size;
    return {};
}

status exec_strings::store(vmspace& vm, vaddr_t to, word_run& pointers) const {
    bool starts = true; // the next byte is the first of a string
    for (chunk& c : list_) {
        TRY(vm.write_memory(to, c.data + c.first, c.used - c.first));
        for (uint32_t i = c.first; i < c.used; i++) {
            if (starts) {
                long_work::pause();
                TRY(pointers.put((to + (i - c.first)).value()));
            }
            starts = c.data[i] == '\0';
        }
        to += c.used - c.first;
    }
    return pointers.put(0);
}
