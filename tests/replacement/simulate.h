// What a string of references costs under a policy: how many page-ins, with so many frames of memory.
//
// The policies are those of the kernel, vm/uvm_pdpolicy_*.cc, and the simulator is to them what
// fault handler and page daemon are there: a reference sets the page's referenced bit, also the one that
// brings it in; and a page goes when there is no frame for one that is wanted. The first reference to a
// page is a page-in, too, as the literature counts.
//
// Beside them, what no kernel can do: Belady's optimum, which knows what will be wanted, and LRU as it
// is defined, which is told of each reference.
#pragma once

#include "vm/uvm_pdpolicy_impl.h"

#include <string>
#include <vector>

using reference_string = std::vector<uint32_t>; // numbers of pages

uint64_t page_ins(page_policy& policy, const reference_string& string, uint32_t frames);

// Belady 1966: the page goes that will not be wanted for longest.
uint64_t page_ins_of_optimum(const reference_string& string, uint32_t frames);

// Of LRU, for each number of frames at once (Mattson and others 1970): [n] is with n frames, up to as
// many as there are pages; [0] is all references.
std::vector<uint64_t> page_ins_of_true_lru(const reference_string& string);

// The strings that textbooks have, by name; empty: there is none. `names` is for who lists them.
reference_string textbook_string(const std::string& name);
extern const std::vector<std::string> textbook_strings;

// How many pages a string has.
uint32_t pages_of_string(const reference_string& string);
