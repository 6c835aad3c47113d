# Goes behind the config.mak that musl's configure has written. Assignments with "override" stand
# against those of musl's Makefile, which come later.

# tcc knows none of the switches that configure has found it to swallow.
CFLAGS_C99FSE = -std=c99 -nostdinc -ffreestanding
CFLAGS_AUTO =

# GNU as assembles, since tcc's own assembler lacks some instructions.
override AS_CMD = as -o $@ $<
AR = ar
RANLIB = :

# tcc has no complex numbers and no x87 or SSE operands in asm: of the latter musl has C versions.
# FILES selects sources by make's patterns, relative to src/.
FILES = %
usable = $(filter $(addprefix $(srcdir)/src/,$(FILES)) $(srcdir)/crt/%,$(filter-out \
    $(srcdir)/src/complex/% $(srcdir)/src/math/$(ARCH)/%.c,$(sort $(wildcard $(1)))))
override BASE_SRCS = $(call usable,$(BASE_GLOBS))
override ARCH_SRCS = $(call usable,$(ARCH_GLOBS))

# A line for each object, printed by make itself: the reader of the log sees how far it is.
override CC_CMD = $(info object $(words $(ALL_OBJS)) $@)$(CC) $(CFLAGS_ALL) -c -o $@ $<
