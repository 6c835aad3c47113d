// A plugin for QEMU's TCG: the longest stretches of instructions with interrupts off, for one
// processor. The kernel is as it is, and knows nothing of it.
//
//     gcc -shared -fPIC -O2 -DQEMU_MAJOR=7 -o irqs_off.so tools/qemu/irqs_off.c
//     qemu-system-x86_64 ... -plugin ./irqs_off.so,stubs=ADDRESS,syscall=ADDRESS,out=FILE
//
// stubs and syscall are the addresses of the kernel's trap_stubs and syscall_entry. A guest program
// says what it is about to do by a long no-op with the operand 0x5a5bNNNN, and by 0x5a5c0000 that
// it has done it (user/tests/latency.c). At each of the latter FILE gets a line: NNNN, the length
// of the longest stretch since, where it began, and an address for each 256 instructions of it, up
// to 64.
//
// Interrupts go off by cli, the entry of a trap or interrupt (all gates are interrupt gates) and
// SYSCALL; on by sti, iretq and sysretq. An exception that comes with interrupts off leaves them
// off.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// As in qemu-plugin.h, which not every distribution has.
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
typedef void (*tb_callback)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*exec_callback)(unsigned, void*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb*, exec_callback,
                                          enum qemu_plugin_cb_flags, void*);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn*, exec_callback,
                                            enum qemu_plugin_cb_flags, void*);
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

enum { BEGIN = 0x5a5b, END = 0x5a5c, SAMPLES = 64, SAMPLE_EVERY = 256 };

struct stretch {
    uint64_t begun, length, at;
    uint64_t samples[SAMPLES];
    unsigned sample_count;
};

static FILE* out;
static uint64_t stubs, syscall_entry;
static uint64_t executed;
static bool off, exception_while_off;
static struct stretch now, longest;
static int call = -1;

static void goes_off(uint64_t pc) {
    if (off)
        return;
    off = true;
    now.begun = executed;
    now.at = pc;
    now.sample_count = 0;
}

static void goes_on(void) {
    if (!off)
        return;
    off = false;
    now.length = executed - now.begun;
    if (now.length > longest.length)
        longest = now;
}

static void on_block(unsigned cpu, void* block) {
    (void)cpu;
    const uint64_t pc = (uint64_t)block | UINT64_C(0xffff) << 48; // kernel addresses matter
    executed += (uint64_t)block >> 48;
    if (off && now.sample_count < SAMPLES &&
        executed - now.begun > (uint64_t)now.sample_count * SAMPLE_EVERY + SAMPLE_EVERY)
        now.samples[now.sample_count++] = pc;
}

static void on_cli(unsigned cpu, void* pc) {
    (void)cpu;
    goes_off((uint64_t)pc);
}

static void on_entry(unsigned cpu, void* pc) {
    (void)cpu;
    const uint64_t vector = ((uint64_t)pc - stubs) / 16;
    if (off && vector < 32)
        exception_while_off = true;
    goes_off((uint64_t)pc);
}

static void on_sti(unsigned cpu, void* pc) {
    (void)cpu;
    (void)pc;
    goes_on();
}

static void on_return(unsigned cpu, void* pc) {
    (void)cpu;
    (void)pc;
    if (exception_while_off)
        exception_while_off = false;
    else
        goes_on();
}

static void on_mark(unsigned cpu, void* operand) {
    (void)cpu;
    const uint32_t what = (uint32_t)(uint64_t)operand;
    if (what >> 16 == BEGIN) {
        call = what & 0xffff;
        longest.length = 0;
    } else if (call >= 0) {
        fprintf(out, "%d %llu %llx", call, (unsigned long long)longest.length,
                (unsigned long long)longest.at);
        for (unsigned i = 0; i < longest.sample_count; i++)
            fprintf(out, " %llx", (unsigned long long)longest.samples[i]);
        fputc('\n', out);
        fflush(out);
        call = -1;
    }
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
    (void)id;
    const size_t n = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(block, i);
        const uint64_t pc = qemu_plugin_insn_vaddr(insn);
        const size_t size = qemu_plugin_insn_size(insn);
        uint8_t bytes[16] = {0};
#if QEMU_MAJOR >= 9
        qemu_plugin_insn_data(insn, bytes, size);
#else
        memcpy(bytes, qemu_plugin_insn_data(insn), size < sizeof bytes ? size : sizeof bytes);
#endif
        exec_callback callback = NULL;
        void* argument = (void*)pc;
        if (i == 0)
            qemu_plugin_register_vcpu_tb_exec_cb(
                block, on_block, QEMU_PLUGIN_CB_NO_REGS,
                (void*)((pc & ~(UINT64_C(0xffff) << 48)) | (uint64_t)n << 48));
        if ((pc - stubs < 256 * 16 && (pc - stubs) % 16 == 0) || pc == syscall_entry)
            callback = on_entry;
        else if (size == 1 && bytes[0] == 0xfa)
            callback = on_cli;
        else if (size == 1 && bytes[0] == 0xfb)
            callback = on_sti;
        else if ((size == 2 && memcmp(bytes, "\x48\xcf", 2) == 0) ||
                 (size == 3 && memcmp(bytes, "\x48\x0f\x07", 3) == 0))
            callback = on_return;
        uint32_t operand;
        memcpy(&operand, bytes + 3, sizeof operand);
        if (size == 7 && memcmp(bytes, "\x0f\x1f\x80", 3) == 0 &&
            (operand >> 16 == BEGIN || operand >> 16 == END)) {
            callback = on_mark;
            argument = (void*)(uint64_t)operand;
        }
        if (callback)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, callback, QEMU_PLUGIN_CB_NO_REGS,
                                                   argument);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int count,
                               char** arguments) {
    (void)info;
    for (int i = 0; i < count; i++) {
        const char* value = strchr(arguments[i], '=');
        if (!value)
            return -1;
        value++;
        if (strncmp(arguments[i], "stubs=", 6) == 0)
            stubs = strtoull(value, NULL, 0);
        else if (strncmp(arguments[i], "syscall=", 8) == 0)
            syscall_entry = strtoull(value, NULL, 0);
        else if (strncmp(arguments[i], "out=", 4) == 0)
            out = fopen(value, "w");
    }
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
