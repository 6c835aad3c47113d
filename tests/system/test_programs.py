"""Unmodified programs: the same output on Linux and on Spork."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from guest import linux, spork

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    enum { LINES = 20000 };
    char **line = malloc(LINES * sizeof *line);
    unsigned state = 1;
    for (int i = 0; i < LINES; i++) {
        char text[64];
        state = state * 1103515245 + 12345;
        snprintf(text, sizeof text, "%08x %d %.3f", state, i, i / 7.0);
        line[i] = malloc(strlen(text) + 1);
        strcpy(line[i], text);
    }
    qsort(line, LINES, sizeof *line, by_text);
    for (int i = 0; i < LINES; i += 1000)
        printf("%s\n", line[i]);
    FILE *f = fopen("/tmp/spork-program", "w+");
    for (int i = 0; i < LINES; i++)
        fprintf(f, "%s\n", line[i]);
    rewind(f);
    unsigned sum = 0;
    for (int c; (c = getc(f)) != EOF;)
        sum = sum * 31 + (unsigned)c;
    fclose(f);
    remove("/tmp/spork-program");
    printf("%u %d %s\n", sum, argc, argv[argc - 1]);
    return 5;
}
"""

MUSL, MUSL_HEADERS = "/usr/lib/x86_64-linux-musl", "/usr/include/x86_64-linux-musl"

# What stands before and behind the source file. musl-gcc has no static-pie: its pieces by hand.
COMPILERS: dict[str, tuple[list[str], list[str]]] = {
    "musl": (["musl-gcc", "-static"], []),
    "musl-pie": (
        ["gcc", "-static-pie", "-fPIE", "-nostdinc", "-isystem", MUSL_HEADERS, "-nostdlib",
         f"{MUSL}/rcrt1.o", f"{MUSL}/crti.o"],
        [f"-L{MUSL}", "-lc", "-lgcc", f"{MUSL}/crtn.o"],
    ),
    "glibc": (["gcc", "-static"], []),
    "glibc-pie": (["gcc", "-static-pie", "-fPIE"], []),
}

BASH_SCRIPT = r"""
set -u
declare -a list=(one "two words" three)
list+=(four)
echo "${#list[@]} ${list[1]} ${list[*]:2}"
declare -A map=([red]=1 [blue]=2)
echo "$((map[red] + map[blue]))"
for word in "${list[@]}"; do echo "$word"; done | sort | tr a-z A-Z | while read -r w; do
    printf '<%s>' "$w"
done; echo
(cd /tmp; x=inner; echo "in a subshell: $PWD $x")
echo "$(echo nested "$(echo substitution)")"
cat <<END
here: ${list[0]} $((6 * 7))
END
cat <<'END'
not expanded: $list
END
trap 'echo "caught USR1"' USR1
kill -USR1 $$
trap 'echo "and at the end: $?"' EXIT
false | true; echo "${PIPESTATUS[@]}"
set -o pipefail; false | true; echo $?
f() { local n=$1; ((n < 2)) && { echo 1; return; }; echo $((n * $(f $((n - 1))))); }
f 6
[[ "spork kernel" =~ ^sp(.*)el$ ]] && echo "${BASH_REMATCH[1]}"
sleep 0.05 & pid=$!; wait $pid; echo "waited: $?"
coproc CAT { cat; }; echo through >&"${CAT[1]}"; read -r back <&"${CAT[0]}"; echo "$back"
exec {CAT[1]}>&-
cat <(printf 'a\nb\n') - <(printf 'c\n') < <(echo between)
for ((i = 0; i < 5; i++)); do echo -n "$i "; done; echo
case $((i % 2)) in 0) echo even ;; 1) echo odd ;; esac
mapfile -t lines < <(seq 1 300); echo "${#lines[@]} ${lines[299]}"
ulimit -c 0; { (kill -SEGV $BASHPID); } 2>/dev/null; echo "a signal: $?"
exit 6
"""

BUSYBOX_SCRIPT = r"""
cd /tmp && mkdir w.$$ && cd w.$$
for i in $(seq 1 20); do echo "line $i of many" >f$i; done
cat f* | sort -k2n | awk '{ sum += $2 } END { print NR, sum }'
tar cf all.tar f*; mkdir out; tar xf all.tar -C out; ls out | wc -l; cmp f7 out/f7 && echo same
find . -name 'f1*' -type f | sort | xargs cat | md5sum
sed -n 's/line \(.*\) of/\1:/p' f3; grep -c many f*2
gzip -c all.tar | gunzip | cmp - all.tar && echo zipped
ln -s f1 link; readlink link; cp -a out copy; diff -r out copy && echo equal
(trap 'echo trapped' TERM; kill -TERM $(exec sh -c 'echo $PPID')); echo $?
echo 'b 2
a 1' | sort | while read k v; do echo "$k=$v"; done
dd if=/dev/zero bs=1k count=64 2>/dev/null | wc -c
head -c 100000 /dev/zero | sha256sum | cut -c1-16
expr 6 \* 7; printf '%05d|%s\n' 42 end; date -u -d @86400 +%Y-%m-%d
cd .. && rm -r w.$$ && ls -d w.$$ 2>/dev/null; echo $?
"""


def test_c_programs(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    options: list[str] = []
    expected = ""
    for name, (before, behind) in COMPILERS.items():
        program = tmp_path / name
        command = [*before, "-O2", "-o", str(program), str(source), *behind]
        subprocess.run(command, check=True)
        options += ["--add", f"{program}:/opt/{name}"]
        there = linux(str(program), "an argument")
        assert there.status == 5
        expected += there.text + "5\n"
    script = "for name; do /opt/$name 'an argument'; echo $?; done"
    here = spork("sh", "-c", script, "sh", *COMPILERS, options=tuple(options))
    assert here.text == expected
    assert here.status == 0


def test_bash(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(BASH_SCRIPT)
    there = linux(shutil.which("bash-static") or "/bin/bash", str(script))
    here = spork("bash", str(script), options=("--add", f"{script}:{script}"))
    assert there.status == 6
    assert (here.text, here.err, here.status) == (there.text, there.err, there.status)


def test_busybox(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(BUSYBOX_SCRIPT)
    # Its own applets come first, as they do there.
    tools = tmp_path / "tools"
    tools.mkdir()
    subprocess.run(["/bin/busybox", "--install", "-s", str(tools)], check=True)
    there = linux("/usr/bin/env", f"PATH={tools}", str(tools / "sh"), str(script))
    here = spork("sh", str(script), options=("--add", f"{script}:{script}"))
    assert (here.text, here.err, here.status) == (there.text, there.err, there.status)
