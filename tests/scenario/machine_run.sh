#!/bin/sh
# A machine with a kernel of its own: exit codes, input and output in pipes, what is refused.
# rows: OPS-01 CON-04 HYP-04 HAV-07 HAV-08
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

kernel() { # FILE WORD...
    python3 "$TOP/tests/scenario/multiboot.py" "$@"
}
machine() { # KERNEL ARGUMENT...
    file=$1
    shift
    timeout 60 "$STRATA" --state "$STATE" run --rm --as machine --kernel "$file" "$@"
}
ends() { # WHAT CODE ARGUMENT... - with that code; its standard output in $OUT
    what=$1 want=$2 code=0
    shift 2
    OUT=$(machine "$@" </dev/null 2>"$WORK/err") || code=$?
    is "$what: code ($(cat "$WORK/err"))" "$code" "$want"
}

cd "$WORK"
kernel exit "say:hello\\n" exit:7
for engine in auto translate interpret; do
    ends "engine $engine" 7 exit --engine $engine
    is "what it prints, engine $engine" "$OUT" hello
done
# By hardware, where there is a /dev/kvm, of whatever use; the worker is as confined as ever.
if (: <>/dev/kvm) 2>/dev/null; then
    ends "engine kvm" 7 exit --engine kvm
    is "what it prints, engine kvm" "$OUT" hello
    strata run --name hard --as machine --kernel exit --engine kvm </dev/null >/dev/null || true
    strata --json inspect hard | python3 -c "import json, sys
g = json.load(sys.stdin)[0]
m = g['machine']
assert m['engine'] == 'kvm' and m['why'] == 'asked for', m
assert m['instructions']['interpreted'] == 0 and m['instructions']['translated']['blocks'] == 0, m
assert m['exits']['port write'] == 7 and g['parts']['layer']['technique'] == 'hardware virtualization', g
" || fail "counters of hardware"
    strata delete hard >/dev/null
else
    echo "no /dev/kvm: machines by hardware are not tried"
fi

# Which one 'auto' takes is told, with the reason.
strata run --name chosen --as machine --kernel exit </dev/null >/dev/null || true
strata --json inspect chosen >chosen.json
strata --json doctor >doctor.json || true
python3 -c "import json
m = json.load(open('chosen.json'))[0]['machine']
said = next(x for x in json.load(open('doctor.json')) if x['key'] == 'machine.kvm')
works = m['why'] == 'this host has hardware virtualization, and it works'
assert (m['engine'] == 'kvm') == works and m['why'] != 'asked for', m
assert works or '/dev/kvm' in m['why'] or 'code at run time' in m['why'], m
assert said['result'] == 'ok' or not works, (said, m)  # doctor says the same
assert said['result'] == 'limited' or 'emulates code of ring 0' not in m['why'], (said, m)
" || fail "the choice of an engine"
strata delete chosen >/dev/null

kernel off say:bye off
ends "switched off" 0 off --cpus 2 --memory 64M
is "what it prints" "$OUT" bye
kernel panic panic spin
ends "a panic" 134 panic
has "it is said" "$(cat err)" "the guest panicked"
kernel fault fault
ends "a triple fault" 139 fault
has "it is said" "$(cat err)" "triple fault"

# What it did is kept: every exit once by its cause, once by its way.
strata run --name counted --as machine --kernel off --engine interpret </dev/null >/dev/null
strata --json inspect counted | python3 -c "import json, sys
m = json.load(sys.stdin)[0]['machine']
assert m['engine'] == 'interpret' and m['why'] == 'asked for', m
assert m['exits_in_all'] == sum(m['exits'].values()) == sum(m['routes'].values()) == 4, m
assert m['exits'] == {'port write': 4} and m['instructions']['interpreted'] > 4, m
assert m['resources'] == {'granted': 0, 'refused': 0} and m['routines'] == {}, m
" || fail "counters"
strata delete counted >/dev/null

# Input and output are whole, also more than pipes hold.
kernel echo echo:Z say:end exit:0
is "typed and heard" "$(printf 'one two threeZ' | machine echo)" "one two threeend"
seq 1 20000 >numbers
(cat numbers; printf Z) | machine echo >heard || fail "it ended with $?"
printf end >>numbers
cmp numbers heard || fail "what was typed did not come back"

# What cannot be booted is refused with the reason, and nothing is left.
refused() { # WHAT REASON ARGUMENT...
    what=$1 reason=$2
    shift 2
    fails 125 machine "$@"
    has "$what" "$OUT" "$reason"
}
echo "some text" >text
refused "a text" "neither a Linux bzImage nor" text
: >nothing
refused "an empty file" "it is empty" nothing
refused "a directory" "it is no file" "$WORK"
refused "no file" "cannot read kernel '$WORK/none': No such file" "$WORK/none"
head -c 20 exit >cut
refused "half a kernel" "kernel" cut
cp "$STRATA" elf64
refused "a program of this host" "neither a Linux bzImage nor" elf64
python3 - exit far <<'PY'
import struct, sys
b = bytearray(open(sys.argv[1], "rb").read())
b[12:32] = struct.pack("<IIIII", 0x70000000, 0x70000000, 0, 0, 0x70000030)
open(sys.argv[2], "wb").write(b)
PY
refused "no room in memory" "has no memory there" far --memory 16M
refused "too little memory" "needs at least 4M" exit --memory 1M
refused "odd memory" "a multiple of 4K" exit --memory 5000001
refused "too many processors" "a number up to 64" exit --cpus 65
is "nothing is left" "$(strata list -q)$(ls "$STATE/run/guests")" ""

# Disks: by their files, one machine at a time.
head -c 1048576 /dev/zero >disk
kernel waits say:up echo:Z exit:0
ends "with a disk" 7 exit --disk disk
refused "no disk" "cannot open disk 'disk2': No such file" exit --disk disk --disk disk2
strata run -d --name holds --as machine --kernel waits --disk disk >/dev/null
refused "a disk in use" "cannot open '$WORK/disk' for writing: another process has it open" exit --disk disk
strata delete --force holds >/dev/null
ends "a disk that is free again" 7 exit --disk disk
refused "no word of disks" "'colour=red' of a disk is not known" exit --disk disk,colour=red
fails 125 strata run --disk private --disk shared busybox
has "a container with two" "$OUT" "cannot use --disk twice with a container"

# Words of the other kind.
refused "an image with a RAM disk" "cannot use --initrd with an image" exit --initrd exit busybox
refused "a user" "cannot use --user with a machine" exit --user 1
refused "no volume at a path" "data" exit -v data:/data
refused "no volume" "data" exit -v data
refused "the host's network" "cannot use --network host with a machine" exit --network host
refused "no network" "nosuch" exit --network nosuch
fails 125 strata run --as machine
has "no kernel" "$OUT" "a machine needs an IMAGE, a kernel (--kernel FILE), or disks"
fails 125 strata run --kernel exit busybox
has "a container with a kernel" "$OUT" "cannot use --kernel with a container"
fails 2 strata run
has "no image" "$OUT" "IMAGE is missing"
fails 2 strata run --as machine --kernel exit --engine quick
has "no engine" "$OUT" "quick"
