// What the processors can do, as far as the kernel uses it. Known from cpu_enable_features() on.
#pragma once

struct cpu_features_t {
    bool pge, smep, smap, umip, xsave, rdrand, gigabyte_pages;
};
extern cpu_features_t cpu_features;

// A further CPU is ready: cpu::count() goes up.
void cpu_came_up();
