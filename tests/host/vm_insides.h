// What no program sees of an address space: the flags of each entry, and what is mapped where and
// how. A fork that fails leaves it as it was, but for memory that is shared by inheritance.
#pragma once

#include "arch/pmap.h"
#include "tests/host/vm_program.h"

#include <cstdio>
#include <map>
#include <string>

struct insides {
    struct mapping {
        uint64_t page;
        vm_prot prot;
        bool wired;
        bool operator==(const mapping&) const = default;
    };
    using mappings = std::map<uint64_t, mapping>; // by address

    std::string flags;
    mappings ordinary, shared_by_inheritance; // the latter also where a child is to share

    explicit insides(vmspace& vm) {
        vm_map& map = vm.map_for_tests();
        read_guard guard(map.lock());
        for (vm_map_entry* e = map.first(); e; e = map.next(*e)) {
            const bool to_share = e->copy_on_write && e->inheritance == vm_inherit::share;
            char line[80];
            snprintf(line, sizeof line, "%lx: %d %d %d %d %d %p\n", e->start.value(),
                     to_share ? -1 : e->needs_copy, e->charged, e->wired_count, int(e->inheritance),
                     e->last_fork.child(), static_cast<void*>(e->last_fork.aftermath.get()));
            flags += line;
            mappings& to = to_share || is_shared(*e) ? shared_by_inheritance : ordinary;
            for (vaddr_t at = e->start; at < e->end && at < e->start + pages(64); at += page_size)
                if (auto m = vm.physical_map().lookup(at))
                    to.emplace(at.value(), mapping{m->pa.value(), m->prot, m->wired});
        }
    }
    // Whether a fork that has failed meanwhile may have left `after`: what is shared by inheritance
    // may not be mapped any more, or with fewer rights (make_amap_shared, copy_amap).
    bool may_be_left_as(const insides& after) const {
        for (const auto& [at, m] : after.shared_by_inheritance) {
            auto before = shared_by_inheritance.find(at);
            if (before == shared_by_inheritance.end() || before->second.page != m.page ||
                before->second.wired != m.wired || !allows(before->second.prot, m.prot))
                return false;
        }
        return flags == after.flags && ordinary == after.ordinary;
    }

private:
    static bool is_shared(const vm_map_entry& e) {
        if (!e.aref)
            return false;
        lock_guard guard(e.aref.amap()->lock());
        return e.aref.amap()->shared_by_inheritance();
    }
};
