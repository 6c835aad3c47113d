# Run inside Spork by tools/libc-build: builds musl from /libc/musl, links a program with it, runs it.
#
#   build.sh FORK_MODE VFORK_MODE JOBS FILES...
#
# Prints the kernel's counters at the seams. What follows "counters" up to "." is a name and a number
# a line; host/guest agreement is in tools/sporklib/libc_build.py.
set -e
echo "$1" >/proc/sys/kernel/fork_mode
echo "$2" >/proc/sys/kernel/vfork_mode
jobs=$3
shift 3

counters() {
    echo "counters $1"
    cat /proc/uvmexp
    grep -E '^(processes|cpu) ' /proc/stat
    cat /proc/uptime
    echo .
}

mkdir /libc/build
cd /libc/build
counters start
sh /libc/musl/configure --target=x86_64-linux-musl --disable-shared CC=tcc >configure.log
cat /libc/config.mak >>config.mak
counters configure
make -s -j "$jobs" FILES="$*"
counters make
tcc -nostdinc -I/libc/musl/include -I/libc/musl/arch/x86_64 -I/libc/musl/arch/generic -Iobj/include \
    -c /libc/program.c -o program.o
tcc -nostdlib -static -o program lib/crt1.o lib/crti.o program.o lib/libc.a \
    /usr/lib/x86_64-linux-gnu/tcc/libtcc1.a lib/libc.a lib/crtn.o
status=0
./program || status=$?
echo "program ended with $status"
ls -l lib/libc.a
counters link
