#include "vm/sparse_slots.h"

constinit pool<sparse_slots::chunk> sparse_slots::all_chunks{"sparse_chunk"};

sparse_slots::~sparse_slots() { ASSERT(used_ == 0 && tree_.empty()); }

sparse_slots::chunk* sparse_slots::chunk_of(uint64_t index) const {
    uint64_t first = index - index % chunk::slots;
    if (last_ && last_->first == first)
        return last_;
    chunk* c = tree_.first_where([&](const chunk& x) { return x.first >= first; });
    if (!c || c->first != first)
        return nullptr;
    return last_ = c;
}

void* sparse_slots::get(uint64_t index) const {
    chunk* c = chunk_of(index);
    return c ? c->slot[index % chunk::slots] : nullptr;
}

status sparse_slots::put(uint64_t index, void* value) {
    ASSERT(value);
    chunk* c = chunk_of(index);
    if (!c) {
        c = all_chunks.create();
        if (!c)
            return fail(Errno::nomem);
        c->first = index - index % chunk::slots;
        tree_.insert_before(tree_.first_where([&](const chunk& x) { return x.first > c->first; }),
                            *c);
        chunks_++;
        last_ = c;
    }
    void*& slot = c->slot[index % chunk::slots];
    ASSERT(!slot);
    slot = value;
    c->used++;
    used_++;
    return {};
}

void* sparse_slots::empty_slot(chunk* c, uint64_t index) {
    void* value = std::exchange(c->slot[index % chunk::slots], nullptr);
    if (!value)
        return nullptr;
    used_--;
    if (--c->used == 0) {
        last_ = nullptr;
        tree_.erase(*c);
        all_chunks.destroy(c);
        chunks_--;
    }
    return value;
}

void* sparse_slots::take(uint64_t index) {
    chunk* c = chunk_of(index);
    return c ? empty_slot(c, index) : nullptr;
}

void* sparse_slots::take_from(uint64_t& index, uint64_t end) {
    chunk* c = find_filled(index, end);
    return c ? empty_slot(c, index) : nullptr;
}

// The chunk of the first filled slot in [index, end), to which `index` is set; null: none.
sparse_slots::chunk* sparse_slots::find_filled(uint64_t& index, uint64_t end) const {
    if (index >= end)
        return nullptr;
    chunk* c = chunk_of(index);
    if (!c)
        c = tree_.first_where([&](const chunk& x) { return x.first >= index; });
    for (; c && c->first < end; c = tree_.next(*c)) {
        uint64_t at = c->first < index ? index : c->first;
        for (; at < c->first + chunk::slots && at < end; at++)
            if (c->slot[at - c->first]) {
                index = at;
                return last_ = c;
            }
    }
    return nullptr;
}

void* sparse_slots::find_from(uint64_t& index, uint64_t end) const {
    const chunk* c = find_filled(index, end);
    return c ? c->slot[index % chunk::slots] : nullptr;
}

void sparse_slots::check() const {
    tree_.check();
    bool last_found = !last_;
    uint64_t used = 0, chunks = 0;
    const chunk* before = nullptr;
    for (chunk* c = tree_.first(); c; before = c, c = tree_.next(*c)) {
        ASSERT(c->first % chunk::slots == 0);
        ASSERT(!before || before->first < c->first);
        uint32_t filled = 0;
        for (void* value : c->slot)
            filled += value != nullptr;
        ASSERT(filled == c->used && filled != 0);
        last_found |= c == last_;
        used += filled;
        chunks++;
    }
    ASSERT(used == used_ && chunks == chunks_ && last_found);
}
