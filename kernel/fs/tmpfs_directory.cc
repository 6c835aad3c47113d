#include "kernel/fs/tmpfs_directory.h"

#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/pool.h"

#include <new>

// FNV-1a, 32 bits (Fowler, Noll, Vo).
static uint32_t hash_of(std::string_view name) {
    uint32_t h = 2166136261u;
    for (char c : name)
        h = (h ^ uint8_t(c)) * 16777619u;
    return h;
}

tmpfs_entry* tmpfs_entry::create(std::string_view name) {
    void* memory = kmem_alloc(sizeof(tmpfs_entry) + name.size());
    if (!memory)
        return nullptr;
    auto* entry = new (memory) tmpfs_entry;
    entry->length = uint32_t(name.size());
    entry->hash = hash_of(name);
    memcpy(entry->text(), name.data(), name.size());
    return entry;
}

void tmpfs_entry::destroy(tmpfs_entry* entry) {
    if (!entry)
        return;
    size_t size = sizeof(tmpfs_entry) + entry->length;
    entry->~tmpfs_entry();
    kmem_free(entry, size);
}

tmpfs_directory::~tmpfs_directory() {
    ASSERT(count_ == 0);
    if (table_)
        kmem_free(table_, table_size_ * sizeof(*table_));
}

tmpfs_entry* tmpfs_directory::find(std::string_view name) const {
    if (!table_) {
        for (tmpfs_entry& e : entries_)
            if (e.name() == name)
                return &e;
        return nullptr;
    }
    uint32_t hash = hash_of(name);
    for (tmpfs_entry* e = table_[hash & (table_size_ - 1)]; e; e = e->next_in_bucket)
        if (e->hash == hash && e->name() == name)
            return e;
    return nullptr;
}

// Doubles the table. Without memory the old one goes on, only slower.
void tmpfs_directory::grow() {
    size_t size = table_ ? table_size_ * 2 : smallest_table;
    auto** table = static_cast<tmpfs_entry**>(kmem_zalloc(size * sizeof(*table_)));
    if (!table)
        return;
    for (tmpfs_entry& e : entries_) {
        long_work::pause();
        tmpfs_entry*& bucket = table[e.hash & (size - 1)];
        e.next_in_bucket = bucket;
        bucket = &e;
    }
    if (table_)
        kmem_free(table_, table_size_ * sizeof(*table_));
    table_ = table;
    table_size_ = size;
}

void tmpfs_directory::insert(tmpfs_entry& entry) {
    entry.cookie = next_cookie_++;
    if (table_) {
        tmpfs_entry*& bucket = table_[entry.hash & (table_size_ - 1)];
        entry.next_in_bucket = bucket;
        bucket = &entry;
    }
    entries_.push_back(entry);
    count_++;
    if (count_ > (table_ ? table_size_ : smallest_table / 2))
        grow();
}

void tmpfs_directory::remove(tmpfs_entry& entry) {
    if (table_) {
        tmpfs_entry** at = &table_[entry.hash & (table_size_ - 1)];
        while (*at != &entry)
            at = &(*at)->next_in_bucket;
        *at = entry.next_in_bucket;
        entry.next_in_bucket = nullptr;
    }
    entries_.remove(entry);
    count_--;
}

void tmpfs_directory::check() const {
    size_t listed = 0;
    uint64_t last_cookie = 0;
    for (tmpfs_entry& e : entries_) {
        listed++;
        ASSERT(e.cookie > last_cookie && e.cookie < next_cookie_);
        last_cookie = e.cookie;
        ASSERT(find(e.name()) == &e);
    }
    ASSERT(listed == count_);
    size_t hashed = 0;
    for (size_t i = 0; i < table_size_; i++)
        for (tmpfs_entry* e = table_[i]; e; e = e->next_in_bucket)
            hashed++;
    ASSERT(!table_ || hashed == count_);
}
