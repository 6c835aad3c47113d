// The entries of a tmpfs directory: names, and what they are names of.
#pragma once

#include "lib/list.h"
#include "lib/ref_ptr.h"

#include <string_view>

class tmpfs_node;

// One name. Its memory is from kmem, with the characters behind it.
struct tmpfs_entry {
    list_node in_directory; // in the order of cookies
    list_node among_names;  // of `node`
    tmpfs_entry* next_in_bucket = nullptr;
    tmpfs_node* directory = nullptr;
    early_ref<tmpfs_node> node; // while it is in a directory
    uint64_t cookie = 0;        // its position in the directory; never used again
    uint32_t hash = 0;
    uint32_t length = 0;
    char* text() { return reinterpret_cast<char*>(this + 1); }
    std::string_view name() { return {text(), length}; }

    static tmpfs_entry* create(std::string_view name); // null when out of memory
    static void destroy(tmpfs_entry* entry);
};

// The entries of one directory: a list in order and, once there are some, a hash table. All under
// tmpfs::names_.
class tmpfs_directory {
public:
    ~tmpfs_directory();
    tmpfs_entry* find(std::string_view name) const;
    void insert(tmpfs_entry& entry);
    void remove(tmpfs_entry& entry);
    tmpfs_entry* first() const { return entries_.front(); }
    tmpfs_entry* next(tmpfs_entry& entry) const { return entries_.next(entry); }
    size_t count() const { return count_; }
    // Panics unless table, list and count agree.
    void check() const;

private:
    static constexpr uint64_t first_cookie = 2; // 0 and 1 are "." and ".."
    static constexpr size_t smallest_table = 16;
    void grow();

    list<tmpfs_entry, &tmpfs_entry::in_directory> entries_;
    tmpfs_entry** table_ = nullptr; // kmem; null: search the list
    size_t table_size_ = 0;         // a power of two
    size_t count_ = 0;
    uint64_t next_cookie_ = first_cookie;
};
