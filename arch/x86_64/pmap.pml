// A model of the kernel's page tables that are freed and made again (arch/x86_64/pmap.cc,
// pmap_tables.cc) for spin: docs/models.md.
//
// Follows kernel_remove, pmap_prune, kernel_enter and make_tables. Processor 0 unmaps the last page
// of a level-1 table, and frees the table. 1 maps a page in the same 2 MiB and uses it. Whatever the
// level-2 entry has said, 1 may have in its paging-structure cache (SDM vol. 3, 4.10.3), until it is
// asked to forget it.
//
// Property: nobody walks a table that is free; who has entered a kernel mapping finds it. (The
// kernel takes no spurious faults: a user's would find the mapping at the second try.)
//
// Wrong, and found:
//   -DUNLOCKED_FIRST  the pmap's lock is let go of between the pruning and the flush
//   -DFREED_FIRST     the table is freed before the flush
#define OLD 1 // the tables, as the level-2 entry and the cache know them
#define NEW 2

byte level2 = OLD;
byte cached;             // what 1's paging-structure cache has, or 0
bool entered[3];         // by table: whether 1's page is mapped in it
bool table_is_free[3];
bool lock;

proctype fill() {
end:
    do
    :: atomic { cached == 0 && level2 != 0 -> cached = level2 }
    :: atomic { cached != 0 && table_is_free[cached] -> assert(false) } // it walks what is no table
    od
}

inline take() { atomic { !lock -> lock = true } }

proctype remover() {
    bool pruned;
    take();
    // the entry of the page, and that of the table if the page was its last
    if
    :: level2 == OLD && !entered[OLD] -> level2 = 0; pruned = true
    :: else
    fi;
#ifdef UNLOCKED_FIRST
    lock = false;
#endif
#ifdef FREED_FIRST
    table_is_free[OLD] = pruned;
#endif
    cached = 0; // the flush, which waits for 1's answer
#ifndef UNLOCKED_FIRST
    lock = false;
#endif
    table_is_free[OLD] = pruned
}

proctype user() {
    byte table;
    take();
    if
    :: level2 == 0 -> level2 = NEW
    :: else
    fi;
    entered[level2] = true;
    lock = false;
    // the first use
    atomic {
        table = (cached != 0 -> cached : level2);
        assert(!table_is_free[table]);
        assert(entered[table])
    }
}

init {
    atomic { run fill(); run remover(); run user() }
}
