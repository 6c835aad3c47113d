// spork-only
// A program does not learn where the kernel has its tables (UMIP). On Linux, which makes up results for old
// programs, what they are depends on the processor.
#include "../lib/fault.h"
#include "../lib/proc.h"

static char stored[16];

static void store_gdt(void* unused) { asm volatile("sgdt %0" : "=m"(stored)); }
static void store_idt(void* unused) { asm volatile("sidt %0" : "=m"(stored)); }
static void store_ldt(void* unused) { asm volatile("sldt %0" : "=m"(stored)); }
static void store_task(void* unused) { asm volatile("str %0" : "=m"(stored)); }
static void store_status(void* unused) { asm volatile("smsw %0" : "=m"(stored)); }

static void tables(void) {
    fault_catch(0);
    is_fault(fault_of(store_gdt, NULL), SIGSEGV, SI_KERNEL, 0, "sgdt");
    is_fault(fault_of(store_idt, NULL), SIGSEGV, SI_KERNEL, 0, "sidt");
    is_fault(fault_of(store_ldt, NULL), SIGSEGV, SI_KERNEL, 0, "sldt");
    is_fault(fault_of(store_task, NULL), SIGSEGV, SI_KERNEL, 0, "str");
    is_fault(fault_of(store_status, NULL), SIGSEGV, SI_KERNEL, 0, "smsw");
}

int main(void) {
    subtest("where the kernel's tables are", tables);
    return done();
}
