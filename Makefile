# Spork's build. Everything it makes is under build/; `make help` lists the targets.
#
#   V=1             show the commands
#   T=PATTERN       with a test target: only the tests whose name contains PATTERN
#   CROSS=PREFIX    the GNU toolchain's prefix (x86_64-linux-gnu-)
#   MINUTES=N       with test-pairs: a sample of that long; SEED=N chooses it
#   SAMPLE=N        with mutants: so many of them; SEED=N chooses them
#   MODES=F:V       with libc-build: the fork and vfork modes to build under, by spaces
#   FILES=PATTERN   with libc-build: only the sources that match, relative to musl's src
#   WERROR=1        let a compiler's warning stop the build, as CI does
#   SANITIZE=KIND   a kernel with run-time checks by the compiler: undefined, address, thread
#   DEBUG_CHECKS=0  leave the structures' check() calls and the lock order checker out of the kernel

CROSS        ?= x86_64-linux-gnu-
DEBUG_CHECKS ?= 1
SANITIZE     ?=
BUILD        := build
PYTHON       := /usr/bin/python3

KCC      := $(CROSS)gcc
KCXX     := $(CROSS)g++
HOSTCXX  ?= g++
machine  := $(shell uname -m)
# Debian's wrapper is for the machine's own processor.
MUSL_CC  ?= $(if $(filter x86_64,$(machine)),musl-gcc,$(KCC) -specs /usr/lib/x86_64-linux-musl/musl-gcc.specs)
GLIBC_CC := $(KCC)

MAKEFLAGS += --no-builtin-rules
# As many jobs as there are processors, unless -j says otherwise.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

ifeq ($(V),1)
say = @:
Q   =
else
say = @printf '  %-5s %s\n' $(1) '$(2)'
Q   = @
endif

# ---- Sources -------------------------------------------------------------------------------

kernel_sources := $(sort $(wildcard boot/*.S arch/x86_64/*.S arch/x86_64/*.cc lib/*.cc \
                    kernel/*.cc kernel/*/*.cc kernel/fs/*/*.cc vm/*.cc vm/*/*.cc tests/kernel/*.cc))
host_sources   := $(sort $(wildcard tests/host/*.cc vm/*.cc vm/*/*.cc arch/host/*.cc) \
                    $(filter-out lib/kernel_%.cc,$(wildcard lib/*.cc)) \
                    kernel/drivers/partition_table.cc kernel/drivers/virtqueue.cc tests/replacement/simulate.cc)
user_lib       := $(sort $(wildcard user/lib/*.c))
user_tests     := $(sort $(wildcard user/tests/*.c))
user_demos     := $(sort $(wildcard user/demos/*.c))
user_bin       := $(sort $(wildcard user/bin/*.c))
user_explore   := $(sort $(wildcard user/explore/*.c))
user_init      := $(sort $(wildcard user/init/*.c))
user_headers   := $(sort $(wildcard user/*/*.h))

# A kernel with a sanitizer has a folder of its own, and two sources more:
# the sanitizer's run-time, and bugs that it must find.
kernel_build   := $(BUILD)/$(SANITIZE:%=%/)kernel
sanitizer      := $(SANITIZE:%=arch/x86_64/sanitize/%.cc) $(SANITIZE:%=tests/kernel/planted/%.cc)
kernel_objects := $(patsubst %,$(kernel_build)/%.o,$(kernel_sources) $(sanitizer))
host_objects   := $(patsubst %,$(BUILD)/host/%.o,$(host_sources))
test_programs  := $(patsubst user/tests/%.c,$(BUILD)/user/tests/%,$(user_tests))
demo_programs  := $(patsubst user/demos/%.c,$(BUILD)/user/demos/%,$(user_demos))
bin_programs   := $(patsubst user/bin/%.c,$(BUILD)/user/bin/%,$(user_bin))
explore_programs := $(patsubst user/explore/%.c,$(BUILD)/user/explore/%,$(user_explore))
programs       := $(BUILD)/user/init/init $(bin_programs) $(test_programs) $(demo_programs) \
                    $(explore_programs)

kernel_elf := $(kernel_build)/spork.elf
host_tests := $(BUILD)/host/vm_tests
bench_programs := $(BUILD)/user/bench/bench $(BUILD)/user/bench/paging $(BUILD)/user/bench/tiny
model_objects := $(patsubst %,$(BUILD)/model/%.o,$(filter-out tests/host/test_%,$(host_sources)) \
                    tests/host/test_vm_model.cc)
model_tests := $(BUILD)/model/vm_model
coverage_objects := $(patsubst %,$(BUILD)/coverage/%.o,$(host_sources))
races_objects := $(patsubst %,$(BUILD)/races/%.o,$(filter-out tests/host/test_%,$(host_sources)) \
                    tests/host/test_vm_threads.cc)
fuzz_objects := $(patsubst %,$(BUILD)/fuzz/%.o,$(filter-out tests/host/test_% tests/host/main.cc, \
                    $(host_sources)) tests/host/fuzz/fuzz_vm.cc)
replacement_objects := $(patsubst %,$(BUILD)/model/%.o,$(filter-out tests/host/%,$(host_sources)) \
                    tests/replacement/main.cc)
root_cpio  := $(BUILD)/root.cpio
iso        := $(BUILD)/$(SANITIZE:%=%/)spork.iso
musl       := $(BUILD)/libc/musl/.patched

# Each is there when the tools of its group are (tools/setup).
tools_run  := $(BUILD)/setup/run
tools_test := $(BUILD)/setup/test
tools_lint := $(BUILD)/setup/lint
tools_gdb  := $(BUILD)/setup/gdb
tools_bench := $(BUILD)/setup/bench
tools_libc := $(BUILD)/setup/libc
tools_explore := $(BUILD)/setup/explore
tools_web     := $(BUILD)/setup/web
tools_fuzz     := $(BUILD)/setup/fuzz
tools_coverage := $(BUILD)/setup/coverage
tools_growth   := $(BUILD)/setup/growth
tools_tcc      := $(BUILD)/setup/tcc
tools_lab      := $(BUILD)/setup/lab

# ---- Flags ---------------------------------------------------------------------------------

# What is built is the same wherever the tree lies: it holds paths that begin there. The shell that runs
# the compiler knows where that is.
anywhere := -ffile-prefix-map="$$PWD"=.
# The canary is each thread's own: GCC reads it at %gs:0x28, which is cpu_data::stack_canary.
stack_protector := $(if $(filter 0,$(DEBUG_CHECKS)),-fno-stack-protector,-fstack-protector-strong \
    -mstack-protector-guard=tls -mstack-protector-guard-reg=gs -mstack-protector-guard-offset=0x28)
# Frame pointers and the absence of sibling calls keep a panic's backtrace complete.
kernel_flags := -ffreestanding -mno-red-zone -mcmodel=kernel -mgeneral-regs-only -fno-pic -fno-pie \
    $(stack_protector) -fcf-protection=none -fno-asynchronous-unwind-tables \
    -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-strict-aliasing -O2 -g \
    -DSPORK_CHECKS=$(DEBUG_CHECKS) $(anywhere) -I. -Iarch/x86_64/include -MMD -MP
# A kernel without its checks is optimised as a whole: small functions are inlined into other files,
# too. That makes each link a long one, so the usual build does without.
ifeq ($(DEBUG_CHECKS),0)
whole_program := -flto=auto
else
library_checks := -D_GLIBCXX_ASSERTIONS
endif
# GCC 12 takes the empty half of a std::expected<void> for an uninitialised value.
warnings     := -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) -Wno-unused-parameter -Wno-missing-field-initializers \
    -Wno-maybe-uninitialized
# GCC 12's <atomic> brings std::atomic's wait() in a freestanding program too, and for that system
# calls, mutexes and strings: a quarter of the time that a file of the kernel takes to compile.
no_atomic_wait := -D_GLIBCXX_ATOMIC_WAIT_H
# The sanitizers' run-times are the kernel's own (arch/x86_64/sanitize), and are not watched themselves.
# What the address sanitizer thinks of a byte is at (address >> 3) + its offset.
sanitize_undefined := -fsanitize=undefined -fno-sanitize=vptr
sanitize_address := -fsanitize=kernel-address -fasan-shadow-offset=0xdffffc0000000000 \
    --param asan-stack=1 --param asan-globals=1 --param asan-instrumentation-with-call-threshold=0
sanitize_thread := -fsanitize=thread --param tsan-distinguish-volatile=1 \
    --param tsan-instrument-func-entry-exit=0 -Wno-tsan
ifneq ($(SANITIZE),)
$(if $(sanitize_$(SANITIZE)),,$(error There is no SANITIZE=$(SANITIZE)))
kernel_flags += -DSPORK_SANITIZE=1 -DSPORK_SANITIZE_$(SANITIZE)=1
# They are also called before there is a canary.
unit_sanitize = $(if $(filter arch/x86_64/sanitize/%,$<),-fno-stack-protector,$(sanitize_$(SANITIZE)))
endif
kernel_cxx   := -std=c++23 $(kernel_flags) $(warnings) -fno-exceptions -fno-rtti \
    -fno-threadsafe-statics $(library_checks) $(no_atomic_wait) $(whole_program)
kernel_link  := -nostdlib -static -no-pie -z max-page-size=0x1000 -Wl,--no-warn-rwx-segments \
    -Wl,--build-id=none -T boot/kernel.ld
host_cxx     := -std=c++23 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer $(warnings) -DSPORK_CHECKS=1 \
    -D_GLIBCXX_ASSERTIONS -DSPORK_HOST=1 -Iarch/host/include -I. -MMD -MP
# The model's million operations want speed: vm/'s own checks stay, the sanitizers go.
model_cxx    := $(filter-out -O1 -fsanitize% -fno-sanitize%,$(host_cxx)) -O2
coverage_cxx := $(filter-out -O1 -fsanitize% -fno-sanitize%,$(host_cxx)) -O0 --coverage \
    -fprofile-update=prefer-atomic -DSPORK_COVERAGE
races_cxx    := $(filter-out -fsanitize% -fno-sanitize%,$(host_cxx)) -fsanitize=thread -Wno-tsan
FUZZCXX      ?= $(firstword $(shell command -v clang++-19 clang++))
fuzz_cxx     := $(filter-out -Wno-maybe-uninitialized -fno-sanitize%,$(host_cxx)) \
    -fsanitize=fuzzer-no-link -Wno-c99-designator
host_libs     = -pthread $(if $(wildcard /usr/include/catch2/catch_all.hpp),-lCatch2Main -lCatch2)
user_c       := -std=gnu17 -D_GNU_SOURCE -O2 -g -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) \
    -Wno-unused-parameter -pthread $(anywhere) -I.

# ---- What a user runs ----------------------------------------------------------------------

# Two makes in one tree, or a make and a tools/spork, build one after the other.
lock := mkdir -p $(BUILD) && flock -o $(BUILD)/lock

# The kernel without its run-time checks, in a build folder of its own, for what is measured.
make_lean = @+$(lock) $(MAKE) --no-print-directory BUILD=$(BUILD)/lean DEBUG_CHECKS=0 SANITIZE= \
            $(BUILD)/lean/kernel/spork.elf

# What the tests need from the network. Without one, those that need it are skipped and say so.
fetch = @+$(lock) $(MAKE) --no-print-directory -k $(1) || echo '  Not everything could be fetched: what needs it is left out.'

all: $(tools_run) ## build the kernel and its root file system
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)

kernel: $(tools_run) ## build the kernel alone
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf)

run: $(tools_run) ## install what is missing, build, and boot the ISO in this terminal
	@$(lock) $(MAKE) --no-print-directory $(iso)
	$(Q)tools/spork boot $(RUNFLAGS)

demo: $(tools_run) ## boot, take the tour of what a fork costs, and power off
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/spork run --icount --append norandmaps -v -- tour

iso: $(tools_run) ## build the hybrid BIOS and UEFI image build/spork.iso
	@$(lock) $(MAKE) --no-print-directory $(iso)

release: $(tools_run) ## the ISO, the kernel, the root file system and tools/spork, for who has no compiler
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(iso)
	$(Q)tools/release

test: $(tools_run) $(tools_test) $(tools_libc) $(tools_explore) $(tools_web) $(tools_lab) ## run every suite, without the tests marked long
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(iso) $(host_tests) $(bench_programs)
	$(make_lean)
	$(call fetch,$(musl) $(web_packages))
	$(Q)tests/run $(if $(T),-T '$(T)',--cut) host models kernel user system gdb web

test-host: $(tools_run) $(tools_test) ## test vm/ in a host process (Catch2, ASan, UBSan)
	@$(lock) $(MAKE) --no-print-directory $(host_tests)
	$(Q)tests/run $(if $(T),-T '$(T)') host

# Each on 1, 2 and 4 processors. S=KIND: one of them.
sanitizers := $(or $(S),undefined address thread)
test-sanitize: $(tools_run) $(tools_test) ## kernel and user tests under each sanitizer, and bugs that each must find (long)
	@$(lock) $(MAKE) --no-print-directory $(root_cpio) $(sanitizers:%=sanitize-%)
	$(Q)for s in $(sanitizers); do echo "SANITIZE=$$s"; \
	    SANITIZE=$$s tests/run $(if $(T),-T '$(T)') kernel user planted || exit 1; done

test-models: $(tools_test) ## search all states of the models of protocols (spin)
	$(Q)tests/run $(if $(T),-T '$(T)') models

test-kernel: $(tools_run) ## run the tests inside the kernel
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tests/run $(if $(T),-T '$(T)') kernel

test-user: $(tools_run) $(tools_test) ## run each program of user/tests on Linux and on Spork
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tests/run $(if $(T),-T '$(T)') user

test-paging: $(tools_run) $(tools_test) ## user/tests on a machine so small that everything pages, and all about paging (long)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tests/run $(if $(T),-T '$(T)') paging

test-system: $(tools_run) $(tools_test) $(tools_libc) $(tools_lab) ## boot by every route and drive a real shell
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(iso) $(bench_programs)
	$(make_lean)
	$(call fetch,$(musl))
	$(Q)tests/run $(if $(T),-T '$(T)') system

test-gdb: $(tools_run) $(tools_test) ## try every GDB command and walk on a machine
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tests/run $(if $(T),-T '$(T)') gdb

test-pairs: $(tools_run) ## try every two calls on one object from two threads, for MINUTES=N or all (long)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)for cpus in 1 2 4; do SPORK_NO_BUILD=1 tools/spork run --smp $$cpus -- /tests/pairs --seed $(or $(SEED),1) \
	    $(if $(MINUTES),--seconds $$(($(MINUTES) * 60)),--all) || exit 1; done

test-powercut: $(tools_run) ## cut the power at 2,000 points of a few workloads on ext2, and look for what was promised (long)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)SPORK_NO_BUILD=1 tools/power-cut $(if $(SEED),--seed $(SEED))

reproduce: $(tools_run) ## build twice, in two folders and as two users: the same bytes (long)
	$(Q)tools/reproduce

compilers: $(tools_run) ## compile kernel and programs by every g++ that is installed, without a warning
	$(Q)tools/compilers

test-matrix: ## set up and test fresh Debian systems, made with debootstrap (long; wants root)
	$(Q)tools/matrix

# As long as the libc is big: a quarter of an hour for each mode.
libc-build: $(tools_run) $(tools_libc) ## build musl inside Spork under each mode of fork and vfork (long)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(musl)
	$(Q)SPORK_NO_BUILD=1 tools/libc-build --modes '$(MODES)' --files '$(FILES)'

fuzz: $(tools_fuzz) ## let libFuzzer drive vm/ and its model for SECONDS=60
	@$(lock) $(MAKE) --no-print-directory $(BUILD)/fuzz/vm_fuzz
	$(Q)mkdir -p $(BUILD)/fuzz/corpus
	$(Q)$(BUILD)/fuzz/vm_fuzz -max_total_time=$(or $(SECONDS),60) -max_len=1800 \
	    -artifact_prefix=$(BUILD)/fuzz/ -print_final_stats=1 $(BUILD)/fuzz/corpus

mutants: $(tools_run) $(tools_test) $(tools_lab) ## change vm/ in one small way at a time: who of the host tests notices? SAMPLE=N of them (long)
	@$(lock) $(MAKE) --no-print-directory $(host_tests)
	$(Q)tools/mutants $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

races: $(tools_run) $(tools_test) ## the host tests that have threads, under ThreadSanitizer
	@$(lock) $(MAKE) --no-print-directory $(BUILD)/races/vm_tests
	$(Q)$(BUILD)/races/vm_tests '[threads]'

coverage: $(tools_run) $(tools_test) $(tools_coverage) ## lines and branches of vm/ that the host tests reach
	@$(lock) $(MAKE) --no-print-directory $(BUILD)/coverage/vm_tests
	$(Q)tools/coverage $(BUILD)/coverage

test-faults: $(tools_run) $(tools_test) ## put known faults back, one after the other: each must fail its test
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(host_tests)
	$(Q)tools/test-faults $(T)

test-mutants: $(tools_run) ## make mistakes that a learner makes: the kernel must name each (long)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/test-mutants $(T)

test-labs: $(tools_run) $(tools_lab) ## prove each lab of docs/labs: starter, solutions, wrong and hostile submissions (long)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)SPORK_NO_BUILD=1 tools/lab prove $(T)

docs: $(tools_run) $(tools_test) ## put what the pages quote of commands and of GDB into them anew
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/counters
	$(Q)tools/docs

growth: $(tools_run) $(tools_growth) ## the cost of mmap, page faults and fork by the number of mappings
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/growth

replacement: $(tools_run) $(tools_test) $(tools_growth) $(tools_tcc) ## page-ins over memory size, under each policy of the page daemon
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(BUILD)/model/replacement
	$(Q)tools/replacement

fault-ahead: $(tools_run) $(tools_tcc) ## count page faults with and without fault-ahead
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/fault-ahead

# CMD comes through the environment, so that it may hold any character.
gdb: $(tools_run) $(tools_gdb) ## boot under GDB in this terminal: a shell, CMD='PROGRAM ARGUMENT...', or test T to its failure
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/gdb/start $(GDBFLAGS) $(if $(T),--test '$(T)') "$$CMD"

gdb-replay: $(tools_run) $(tools_gdb) ## record CMD='...' and step through it, backwards too
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/gdb/start --replay $(GDBFLAGS) "$$CMD"

# Spork is measured as built for speed, as Linux is: without its run-time checks. The usual build's
# figures stand beside it.
bench: $(tools_run) $(tools_bench) ## what process creation costs, on Spork and on Linux
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(bench_programs)
	$(make_lean)
	$(Q)tools/spork bench $(BENCHFLAGS)

latency: $(tools_run) $(tools_test) ## how long each call keeps others, and interrupts, waiting
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(make_lean)
	$(Q)tools/latency

bench-programs: $(tools_run)
	@$(lock) $(MAKE) --no-print-directory $(bench_programs)
	$(make_lean)

# The page's packages, at the versions of the lock file.
web_packages := $(BUILD)/web/packages
$(web_packages): tools/explore/package.json tools/explore/package-lock.json tools/explore/.npmrc | $(tools_explore)
	$(call say,NPM,$(BUILD)/web)
	@mkdir -p $(BUILD)/web
	$(Q)cp tools/explore/package.json tools/explore/package-lock.json tools/explore/.npmrc $(BUILD)/web
	$(Q)cd $(BUILD)/web && npm ci --loglevel=error --no-progress </dev/null >/dev/null
	@touch $@

explore: $(tools_run) $(tools_explore) ## make build/explore/index.html of real runs; CMD='...' adds one of yours
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio) $(web_packages)
	$(Q)tools/spork explore --cmd "$$CMD" $(EXPLOREFLAGS)

explore-wrong: $(tools_run) ## record the explorer's scenarios of wrong kernels anew (tools/explore/wrong)
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(Q)tools/spork explore --keep-wrong

test-web: $(tools_run) $(tools_test) $(tools_explore) $(tools_web) ## drive the explorer's page in headless Chromium
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf) $(root_cpio)
	$(call fetch,$(web_packages))
	$(Q)tests/run $(if $(T),-T '$(T)') web

lint: $(tools_run) $(tools_lint) ## clang-format, clang-tidy, the thread-safety analysis, rooms, mypy, flake8, tsc, biome
	@$(lock) $(MAKE) --no-print-directory $(kernel_elf)
	$(call fetch,$(web_packages))
	$(Q)tools/lint

format: $(tools_lint) ## lay the sources out as clang-format wants them
	$(Q)tools/lint --fix-format

setup: ## check the tools that run, test and lint need, and install what is missing
	$(Q)tools/setup run test lint

clean: ## remove everything that was built; what was fetched stays
	@$(lock) find $(BUILD) -mindepth 1 ! -path $(BUILD)/lock ! -path $(BUILD)/bench \
	    ! -path '$(BUILD)/bench/linux*' ! -path '$(BUILD)/libc*' ! -path '$(BUILD)/web*' -delete
	$(Q)rm -rf $(BUILD)/web/test $(BUILD)/web/page.html

distclean: ## remove everything that was built or fetched
	$(Q)rm -rf $(BUILD)

help: ## list these targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
	@sed -n 's/^#   \([A-Z_]*=[^ ]*  *.*\)/  \1/p' $(firstword $(MAKEFILE_LIST))

.PHONY: all kernel run demo iso release test test-host test-models test-sanitize test-kernel test-user test-paging test-system test-gdb test-web test-pairs test-powercut reproduce compilers test-matrix mutants test-mutants test-labs docs gdb gdb-replay \
        bench bench-programs latency libc-build explore explore-wrong fuzz races coverage test-faults growth replacement fault-ahead lint format setup \
        clean distclean help FORCE

# ---- Tools that must be there --------------------------------------------------------------

# A stamp for each group of packages. What a user calls looks again each time, since a tool may have
# gone; the script is quick when nothing is missing. tools/spork, which calls make before each run,
# says SETUP=stamp.
$(BUILD)/setup/%: tools/setup $(if $(filter 0stamp 1 2 3 1stamp 2stamp,$(MAKELEVEL)$(SETUP)),,FORCE)
	$(Q)tools/setup $*
	$(Q)mkdir -p $(@D) && touch $@

# ---- Flag files ----------------------------------------------------------------------------

# A file whose time changes only when the flags or the list of objects that it holds do.
define remember
$(1): FORCE
	@mkdir -p $$(@D)
	@printf '%s\n' '$(2)' | cmp -s - $$@ || printf '%s\n' '$(2)' >$$@
endef
$(eval $(call remember,$(kernel_build)/flags,$(KCXX) $(kernel_cxx) $(sanitize_$(SANITIZE))))
$(eval $(call remember,$(kernel_build)/objects,$(kernel_link) $(kernel_objects)))
$(eval $(call remember,$(BUILD)/host/flags,$(HOSTCXX) $(host_cxx)))
$(eval $(call remember,$(BUILD)/host/objects,$(host_objects)))
$(eval $(call remember,$(BUILD)/model/flags,$(HOSTCXX) $(model_cxx)))
$(eval $(call remember,$(BUILD)/model/objects,$(model_objects)))
$(eval $(call remember,$(BUILD)/coverage/flags,$(HOSTCXX) $(coverage_cxx)))
$(eval $(call remember,$(BUILD)/races/flags,$(HOSTCXX) $(races_cxx)))
$(eval $(call remember,$(BUILD)/fuzz/flags,$(FUZZCXX) $(fuzz_cxx)))
$(eval $(call remember,$(BUILD)/user/flags,$(MUSL_CC) $(GLIBC_CC) $(user_c) $(user_lib)))
$(eval $(call remember,$(BUILD)/user/programs,$(programs) $(wildcard /bin/busybox /bin/bash-static)))
FORCE:

# ---- Kernel --------------------------------------------------------------------------------

# Of test-sanitize, which holds the lock.
sanitize-%: FORCE
	@$(MAKE) --no-print-directory SANITIZE=$* $(BUILD)/$*/kernel/spork.elf

$(kernel_build)/%.cc.o: %.cc $(kernel_build)/flags | $(tools_run)
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(KCXX) $(kernel_cxx) $(unit_sanitize) -c $< -o $@

$(kernel_build)/%.S.o: %.S $(kernel_build)/flags | $(tools_run)
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(KCC) $(kernel_flags) -c $< -o $@

$(kernel_elf): $(kernel_objects) boot/kernel.ld $(kernel_build)/objects
	$(call say,LINK,$@)
	$(Q)$(KCXX) $(if $(whole_program),$(kernel_cxx)) $(kernel_link) -Wl,-Map=$(kernel_build)/spork.map $(kernel_objects) -lgcc -o $@

# ---- Host tests ----------------------------------------------------------------------------

$(BUILD)/host/%.cc.o: %.cc $(BUILD)/host/flags | $(tools_run) $(tools_test)
	@mkdir -p $(@D)
	$(call say,HOST,$<)
	$(Q)$(HOSTCXX) $(host_cxx) $(unit_flags) -c $< -o $@

# Catch2's macros take 20 seconds a file to optimise and sanitize, 4 without. What is tested, vm/,
# and the model keep all of it.
$(BUILD)/host/tests/host/test_%.cc.o: unit_flags := -O0 -fno-sanitize=undefined

# Catch2 itself: a minute and a gigabyte with the sanitizers, seconds without.
$(BUILD)/host/tests/host/main.cc.o: unit_flags := -O0 -g0 -fno-sanitize=all

# The suite runs both programs.
$(host_tests): $(host_objects) $(BUILD)/host/objects | $(model_tests)
	$(call say,LINK,$@)
	$(Q)$(HOSTCXX) -fsanitize=address,undefined $(host_objects) $(host_libs) -o $@

$(BUILD)/model/%.cc.o: %.cc $(BUILD)/model/flags | $(tools_run) $(tools_test)
	@mkdir -p $(@D)
	$(call say,MODEL,$<)
	$(Q)$(HOSTCXX) $(model_cxx) $(if $(filter tests/host/main.cc,$<),-O0 -g0) -c $< -o $@

$(model_tests): $(model_objects) $(BUILD)/model/objects
	$(call say,LINK,$@)
	$(Q)$(HOSTCXX) $(model_objects) $(host_libs) -o $@

$(BUILD)/model/replacement: $(replacement_objects)
	$(call say,LINK,$@)
	$(Q)$(HOSTCXX) $(replacement_objects) -pthread -o $@

# The sources of vm/ with their mutants, which tools/mutants writes, and the rest as the host tests have it.
MUTATED ?= $(filter-out vm/observe/% vm/phys/%,$(filter vm/%,$(host_sources)))
mutation_objects := $(patsubst %,$(BUILD)/mutation/%.o,$(MUTATED)) $(BUILD)/mutation/tests/mutation/mutant.cc.o \
                    $(filter-out $(patsubst %,$(BUILD)/host/%.o,$(MUTATED)),$(host_objects))
$(eval $(call remember,$(BUILD)/mutation/objects,$(mutation_objects)))

$(BUILD)/mutation/vm/%.cc.o: $(BUILD)/mutation/src/vm/%.cc tests/mutation/mutant.h $(BUILD)/host/flags
	@mkdir -p $(@D)
	$(call say,MUT,$<)
	$(Q)$(HOSTCXX) $(host_cxx) -w -c $< -o $@

$(BUILD)/mutation/tests/mutation/mutant.cc.o: tests/mutation/mutant.cc tests/mutation/mutant.h $(BUILD)/host/flags
	@mkdir -p $(@D)
	$(call say,MUT,$<)
	$(Q)$(HOSTCXX) $(host_cxx) -fno-sanitize=all -c $< -o $@

$(BUILD)/mutation/vm_tests: $(mutation_objects) $(BUILD)/mutation/objects
	$(call say,LINK,$@)
	$(Q)$(HOSTCXX) -fsanitize=address,undefined $(mutation_objects) $(host_libs) -o $@

$(BUILD)/coverage/%.cc.o: %.cc $(BUILD)/coverage/flags | $(tools_run) $(tools_test)
	@mkdir -p $(@D)
	$(call say,COV,$<)
	$(Q)$(HOSTCXX) $(if $(filter tests/host/main.cc,$<),$(filter-out --coverage,$(coverage_cxx)),$(coverage_cxx)) \
	    -c $< -o $@

$(BUILD)/coverage/vm_tests: $(coverage_objects)
	$(call say,LINK,$@)
	$(Q)$(HOSTCXX) --coverage $(coverage_objects) $(host_libs) -o $@

$(BUILD)/races/%.cc.o: %.cc $(BUILD)/races/flags | $(tools_run) $(tools_test)
	@mkdir -p $(@D)
	$(call say,RACES,$<)
	$(Q)$(HOSTCXX) $(races_cxx) -c $< -o $@

$(BUILD)/races/vm_tests: $(races_objects)
	$(call say,LINK,$@)
	$(Q)$(HOSTCXX) -fsanitize=thread $(races_objects) $(host_libs) -o $@

$(BUILD)/fuzz/%.cc.o: %.cc $(BUILD)/fuzz/flags | $(tools_fuzz)
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)
	$(Q)$(FUZZCXX) $(fuzz_cxx) -c $< -o $@

$(BUILD)/fuzz/vm_fuzz: $(fuzz_objects)
	$(call say,LINK,$@)
	$(Q)$(FUZZCXX) -fsanitize=address,undefined,fuzzer $(fuzz_objects) -pthread -o $@

# ---- User programs -------------------------------------------------------------------------

# Static musl programs; those named glibc_* are linked with glibc, those named pie_* with glibc as
# static position-independent executables.
$(BUILD)/user/%: user/%.c $(user_lib) $(user_headers) $(BUILD)/user/flags | $(tools_run)
	@mkdir -p $(@D)
	$(call say,USER,$<)
	$(Q)$(if $(filter glibc_% pie_%,$(notdir $*)),$(GLIBC_CC),$(MUSL_CC)) $(user_c) \
	    $(if $(filter pie_%,$(notdir $*)),-static-pie -fPIE,-static) \
	    -MMD -MP -MF $@.d -MT $@ $< $(user_lib) -o $@

$(BUILD)/user/init/init: $(user_init) $(user_headers) $(BUILD)/user/flags | $(tools_run)
	@mkdir -p $(@D)
	$(call say,USER,$@)
	$(Q)$(MUSL_CC) $(user_c) -static $(user_init) -o $@

$(BUILD)/user/bench/tiny: user/bench/tiny.S $(BUILD)/user/flags | $(tools_run)
	@mkdir -p $(@D)
	$(call say,USER,$<)
	$(Q)$(KCC) -nostdlib -static -Wl,--build-id=none -Wl,-z,noseparate-code -s $< -o $@

# ---- The libc that is built inside ---------------------------------------------------------

# The distribution's source package, fetched once, with the changes that tcc needs.
$(musl): tools/libc/musl-tcc.patch | $(tools_libc)
	$(call say,FETCH,musl)
	$(Q)tools/libc-build --source

# ---- Images --------------------------------------------------------------------------------

$(root_cpio): $(programs) $(BUILD)/user/programs tools/sporklib/rootfs.py tools/sporklib/cpio.py \
              $(wildcard /bin/busybox /bin/bash-static) | $(tools_run)
	$(call say,CPIO,$@)
	$(Q)tools/spork image -o $@.new $(foreach p,$(programs),--program $(p)) && mv $@.new $@

$(iso): $(kernel_elf) $(root_cpio) boot/grub.cfg tools/sporklib/iso.py
	$(call say,ISO,$@)
	$(Q)tools/spork iso -o $@.new && mv $@.new $@

-include $(kernel_objects:.o=.d) $(host_objects:.o=.d) $(model_objects:.o=.d) \
    $(coverage_objects:.o=.d) $(races_objects:.o=.d) $(fuzz_objects:.o=.d) \
    $(replacement_objects:.o=.d) $(programs:=.d) $(bench_programs:=.d)
