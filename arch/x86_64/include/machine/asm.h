// Numbers that assembly and C++ share. cpu.cc holds the static_asserts that keep them true.
#pragma once

// By how much stacks are larger than usual.
#if SPORK_SANITIZE
#define STACK_SCALE 2
#else
#define STACK_SCALE 1
#endif
#define BOOT_STACK_SIZE (16384 * STACK_SCALE)

// Segment selectors. The order is what SYSCALL and SYSRET ask for (Intel SDM vol. 3, 5.8.8), and
// the user values are those that programs see on Linux.
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_CS32 0x23 // only a base for SYSRET; there is no 32-bit code segment
#define USER_DS 0x2b
#define USER_CS 0x33
#define TSS_SELECTOR 0x40

// Offsets in struct cpu_data (percpu.h), through %gs in the kernel.
#define CPU_SELF 0
#define CPU_KERNEL_STACK 8
#define CPU_USER_RSP 16
#define CPU_CURRENT 24
#define CPU_STACK_CANARY 0x28 // where GCC looks for it: the Makefile's stack_protector
#define CPU_ID 48
#define CPU_INTERRUPTS_OFF_DEPTH 56
#define CPU_INTERRUPTS_WERE_ON 60
#define CPU_INTERRUPTS_UNDER_WAY 62
#define CPU_COUNTERS 64
#define CPU_SPIN_LOCKS 576

// Offsets in struct trap_frame (trap_frame.h).
#define FRAME_R11 48
#define FRAME_RAX 80
#define FRAME_RCX 88
#define FRAME_VECTOR 120
#define FRAME_ERROR 128
#define FRAME_RIP 136
#define FRAME_CS 144
#define FRAME_RFLAGS 152
#define FRAME_RSP 160
#define FRAME_SS 168
#define FRAME_SIZE 176

// trap_frame::vector of a SYSCALL: no interrupt has this number.
#define VECTOR_SYSCALL 0x100
#define VECTOR_SYSCALL_CHANGED 0x101 // a debugger has changed its registers: no SYSRET

// RFLAGS.
#define RFLAGS_FIXED 0x2 // always 1
#define RFLAGS_TF 0x100
#define RFLAGS_IF 0x200
#define RFLAGS_IF_BIT 9
#define RFLAGS_DF 0x400
#define RFLAGS_NT 0x4000
#define RFLAGS_RF 0x10000
#define RFLAGS_AC 0x40000
// What a program may set for itself: CF PF AF ZF SF TF DF OF RF AC ID.
#define RFLAGS_USER 0x250dd5

// Model-specific registers.
#define MSR_EFER 0xc0000080
#define MSR_GS_BASE 0xc0000101
