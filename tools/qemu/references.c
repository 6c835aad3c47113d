// A plugin for QEMU's TCG: to which pages of user memory a program refers, one after the other, by its
// instructions and its data, and the kernel for it. For one processor; the kernel knows nothing of it.
//
//     gcc -shared -fPIC -O2 -DQEMU_MAJOR=7 -o references.so tools/qemu/references.c
//     qemu-system-x86_64 ... -plugin ./references.so,out=FILE
//
// It begins when a program executes a long no-op with the operand 0x5a5b0000 (user/bin/marked.c). FILE
// gets page numbers, 32 bits each. A reference to one of the RECENT pages that were referred to last is
// left out: whoever has more memory than that has the page (Smith 1977: stack deletion), and the string
// is a hundredth as long.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// As in qemu-plugin.h, which not every distribution has.
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 };
typedef void (*tb_callback)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*exec_callback)(unsigned, void*);
typedef void (*mem_callback)(unsigned, qemu_plugin_meminfo_t, uint64_t, void*);
typedef void (*exit_callback)(qemu_plugin_id_t, void*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_callback);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn*, exec_callback,
                                            enum qemu_plugin_cb_flags, void*);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn*, mem_callback,
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw, void*);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_callback, void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn*);
#define EXPORT __attribute__((visibility("default")))
#if QEMU_MAJOR >= 9
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn*, void*, size_t);
EXPORT int qemu_plugin_version = 3;
#else
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
EXPORT int qemu_plugin_version = 1;
#endif

enum { BEGIN = 0x5a5b0000, RECENT = 16, PAGE_SHIFT = 12, USER_BITS = 47 };

static FILE* out;
static bool begun;
static uint32_t recent[RECENT]; // the last one first

static void refer_to(uint64_t address) {
    const uint32_t page = (uint32_t)(address >> PAGE_SHIFT);
    if (!begun || address >> USER_BITS != 0)
        return;
    unsigned at = 0;
    while (at != RECENT - 1 && recent[at] != page)
        at++;
    if (recent[at] != page)
        fwrite(&page, sizeof page, 1, out);
    memmove(recent + 1, recent, at * sizeof *recent);
    recent[0] = page;
}

static void on_instruction(unsigned cpu, void* pc) {
    (void)cpu;
    refer_to((uint64_t)pc);
}

static void on_memory(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void* unused) {
    (void)cpu;
    (void)info;
    (void)unused;
    refer_to(address);
}

static void on_mark(unsigned cpu, void* unused) {
    (void)cpu;
    (void)unused;
    begun = true;
}

static bool is_mark(const struct qemu_plugin_insn* insn) {
    const uint8_t code[] = {
        0x0f, 0x1f, 0x80, BEGIN & 0xff, BEGIN >> 8 & 0xff, BEGIN >> 16 & 0xff, BEGIN >> 24};
    if (qemu_plugin_insn_size(insn) != sizeof code)
        return false;
#if QEMU_MAJOR >= 9
    uint8_t data[sizeof code];
    return qemu_plugin_insn_data(insn, data, sizeof data) == sizeof data &&
           memcmp(data, code, sizeof code) == 0;
#else
    return memcmp(qemu_plugin_insn_data(insn), code, sizeof code) == 0;
#endif
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
    (void)id;
    uint64_t page = UINT64_MAX; // an instruction on the page of the one before it adds nothing
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(block, i);
        const uint64_t pc = qemu_plugin_insn_vaddr(insn);
        if (pc >> USER_BITS == 0 && pc >> PAGE_SHIFT != page)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_instruction, QEMU_PLUGIN_CB_NO_REGS,
                                                   (void*)pc);
        page = pc >> PAGE_SHIFT;
        if (is_mark(insn))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
        qemu_plugin_register_vcpu_mem_cb(insn, on_memory, QEMU_PLUGIN_CB_NO_REGS,
                                         QEMU_PLUGIN_MEM_RW, NULL);
    }
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void* unused) {
    (void)id;
    (void)unused;
    fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc,
                               char** argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "wb");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
    return 0;
}
