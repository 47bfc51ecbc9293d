#!/bin/sh
# traps.sh KERNEL ISA SOURCE CC - a kernel that pages on demand, with every instruction trapped, with traps for
# sensitive ones alone, and interpreted as a whole: the same output; the first leaves the guest behind each
# instruction, the second a thousandth as often, and what both cost is printed.  The listing of traps that were
# inserted names instructions that objdump finds at the same addresses of the kernel.
# rows: FV-10 FV-11
set -u
kernel=$1 isa=$2 source=$3 cc=$4
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086
$cc -O2 -DCPU_DIVISOR=100 -static -nostdlib -no-pie -fno-pic -ffreestanding -fno-stack-protector \
    -fcf-protection=none -Wl,--build-id=none -o "$work/program" "$source" || exit 1
"$work/program" >"$work/native" || exit 1

run() { # NAME MORE
    timeout 120 "$isa" run "{\"file\":\"$kernel\",\"program\":\"$work/program\",\"counters\":true,$2}" \
        3>"$work/answer" >"$work/out" 2>"$work/$1"
    grep -q "lets nobody make code\|not let us" "$work/answer" && {
        echo "skip: this host lets nobody make code at run time"
        exit 77
    }
    cmp -s "$work/native" "$work/out" || {
        echo "$1: $(cat "$work/out" "$work/answer"), natively $(cat "$work/native")"
        exit 1
    }
}
of() { awk -v name="$2" 'index($0, name "  ") == 1 { print $NF }' "$work/$1"; }

run all '"engine":"translate","traps":"all"'
run inserted '"engine":"translate","list_traps":true'
run interpreted '"engine":"interpret"'
for mode in all inserted interpreted; do
    echo "$mode: $(of $mode traps) traps, $(($(of $mode 'processor ns') / 1000)) us of processor time"
done
done_in_all=$(of interpreted interpreted)
[ "$(of all traps)" -ge "$done_in_all" ] || { echo "of $done_in_all instructions not all trapped"; exit 1; }
[ $(($(of inserted traps) * 1000)) -lt "$(of all traps)" ] || { echo "too many traps: $(of inserted traps)"; exit 1; }

objdump -d -M intel -m i386:x86-64 "$kernel" >"$work/code" || exit 1
python3 - "$work" <<'P' || exit 1
import re
import sys

work = sys.argv[1]
code = {}
for line in open(work + "/code"):
    found = re.match(r"\s*([0-9a-f]+):\t[0-9a-f ]+\t(\S+)", line)
    if found:
        code[int(found.group(1), 16)] = found.group(2)
listed = {int(line.split()[1], 16): line.split()[2] for line in open(work + "/inserted") if line.startswith("trap ")}
assert all(code.get(at) == name for at, name in listed.items()), (listed, [code.get(at) for at in listed])
names = set(listed.values())
# Each of 512 faults returns by IRET and changes a page, so that these were translated; others are as warm or not.
assert {"iretq", "invlpg"} <= names <= {"iretq", "invlpg", "in", "out", "mov", "hlt", "sysretq", "sysret"}, listed
print(f"{len(listed)} places: " + " ".join(f"{at:x} {name}" for at, name in sorted(listed.items())))
P
"$isa" run "{\"file\":\"$kernel\",\"engine\":\"interpret\",\"list_traps\":true}" 3>"$work/answer" >"$work/out" 2>&1
grep -q "the interpreter inserts no traps" "$work/answer" || { cat "$work/answer"; exit 1; }
