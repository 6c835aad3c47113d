// sparse_slots: an array of pointers indexed by any 64-bit number, whose memory is proportional
// to the slots that are in use: chunks of 32 neighbouring slots, found through a balanced tree.
//
// It is what an amap keeps its anons in and a uvm_aobj its pages. It owns the chunks, not what
// the slots point to: the owner empties it before it goes. Not locked; the owner's lock guards it,
// exclusively: looking something up, too, changes which chunk was the last one used.
#pragma once

#include "lib/avl_tree.h"
#include "lib/result.h"
#include "vm/phys/pool.h"

#include <cstdint>
#include <utility>

class sparse_slots {
public:
    sparse_slots() = default;
    sparse_slots(const sparse_slots&) = delete;
    ~sparse_slots();

    // What is in the slot, or null.
    void* get(uint64_t index) const;
    // Fills an empty slot with `value`, which is not null. ENOMEM: nothing has changed.
    status put(uint64_t index, void* value);
    // Exchanges the value of a filled slot; returns the old one.
    void* replace(uint64_t index, void* value) {
        chunk* c = chunk_of(index);
        ASSERT(c && value && c->slot[index % chunk::slots]);
        return std::exchange(c->slot[index % chunk::slots], value);
    }
    // Empties the slot; returns what was in it, or null.
    void* take(uint64_t index);
    // The same of the first filled slot in [index, end): sets `index` to it.
    void* take_from(uint64_t& index, uint64_t end);
    // The first filled slot in [index, end): sets `index` to it. Null when there is none.
    void* find_from(uint64_t& index, uint64_t end) const;
    // Calls visit(index, value) for each filled slot in [first, end), in order, until it returns
    // false. It changes nothing here.
    template <class Visit> void visit(uint64_t first, uint64_t end, Visit visit) const;

    uint64_t used() const { return used_; }
    uint64_t chunks() const { return chunks_; }
    // Panics unless tree and counts agree. Linear.
    void check() const;

private:
    struct chunk {
        static constexpr uint64_t slots = 32;
        avl_node node;
        uint64_t first = 0; // the index of slot[0], a multiple of `slots`
        uint32_t used = 0;
        void* slot[slots] = {};
    };
    static pool<chunk> all_chunks;
    chunk* chunk_of(uint64_t index) const;
    chunk* find_filled(uint64_t& index, uint64_t end) const;
    void* empty_slot(chunk* c, uint64_t index);

    avl_tree<chunk, &chunk::node> tree_;
    mutable chunk* last_ = nullptr; // neighbours are mostly asked for one after the other
    uint64_t used_ = 0;
    uint64_t chunks_ = 0;
};

template <class Visit> void sparse_slots::visit(uint64_t first, uint64_t end, Visit visit) const {
    chunk* c =
        tree_.first_where([&](const chunk& x) { return x.first >= first - first % chunk::slots; });
    for (; c && c->first < end; c = tree_.next(*c)) {
        for (uint64_t i = c->first < first ? first - c->first : 0;
             i < chunk::slots && c->first + i < end; i++)
            if (void* value = c->slot[i]; value && !visit(c->first + i, value))
                return;
    }
}
