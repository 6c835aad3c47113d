// The machine's data members of pmap and vm_page on the simulated machine.
// The code is in arch/host/pmap.cc and arch/host/pmap_pv.cc.
//
// A page table is two levels here: a directory by region of 32 KiB, kept in host memory, and a page
// with 8 entries for each region in use, which comes from vm_page_alloc() as on a real machine, so
// that page tables are counted, can be leaked and can be refused. Guarded by host_bus.
#pragma once

#include "lib/types.h"

#include <atomic>
#include <cstdint>
#include <map>

// Few, so that whole tables lie in the small address spaces that tests of vm/ make.
inline constexpr size_t pmap_table_entries = 8;

struct pmap_machine;
struct vm_page;
class pmap;

// pv ("physical to virtual") entry: one mapping of a page. Guarded by host_bus.
struct pv_entry {
    pmap_machine* owner = nullptr; // null only in page_machine::first: the page is not mapped
    uint64_t va = 0;
    pv_entry* next = nullptr;
};

struct page_machine {
    pv_entry first; // further mappings of the page come from a pool
    // What mappings that are gone have seen. Those that exist tell by their entries.
    bool referenced = false;
    bool modified = false;
    uint16_t table_entries = 0;   // page_owner::page_table: entries in use
    bool table_protected = false; // and nothing in it can be written, whatever they say

    bool mapped() const { return first.owner != nullptr; }
};

struct pmap_machine {
    static pmap_machine& of(pmap& p);

    std::map<uint64_t, vm_page*> tables; // by address / 32 KiB
    vm_page* root = nullptr;             // stands for the upper levels: one page for each pmap
    // Statistics: written under host_bus, read without.
    std::atomic<uint64_t> resident{0}, wired{0}, table_pages{0};
    std::atomic<uint64_t> anons{0}, objects{0}; // of `resident`, by the owner of the page
};
