#!/bin/sh
# Debian's gdb on a machine: a small guest of two processors and Debian's kernel, each engine. Truth: the bytes of the
# guest's code, the kernel's System.map, what the guest prints.
# rows: OPS-15
# release
# timeout: 800
# STRATA_LINUX: the directory in which boot/vmlinuz-* lies (default: /).
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 gdb

printed() { [ "$(strata logs "$1" | grep -c "$2")" -ge "${3:-1}" ]; }
# gdb_on GUEST COMMAND... - gdb's own commands, one word each, on that machine; what it prints, in $OUT.
gdb_on() {
    guest=$1
    shift
    {
        echo 'set pagination off'
        echo 'set confirm off'
        echo 'set architecture i386:x86-64'
        echo "target remote | $STRATA --state $STATE debug gdb $guest"
        printf '%s\n' "$@"
    } >"$WORK/script"
    OUT=$(timeout -k 5 200 gdb -nx -batch -x "$WORK/script" </dev/null 2>&1) || true
}
engine_of() { strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine']['engine'])"; }

cd "$WORK"
# 0x100030: mov edi,16M; mov ecx,256; 0x10003a: mov [edi],edi; add edi,4096; loop - then it prints.
python3 "$TOP/tests/scenario/multiboot.py" guest fill:1 'say:done\n' spin
for engine in translate interpret; do
    name=small-$engine
    strata run -d --name $name --as machine --kernel guest --engine $engine --cpus 2 --memory 64M >/dev/null
    within 20 printed $name done
    is "$name: engine" "$(engine_of $name)" $engine

    # From the start: a breakpoint's third time, a step, a watch, memory, a register changed, both processors.
    gdb_on $name 'monitor reset' 'maintenance flush register-cache' 'print/x $rip' 'info threads' \
        'break *0x10003a' 'continue' 'continue' 'continue' 'print/x $rdi' 'print/x $rcx' 'stepi' 'print/x $rip' \
        'x/1wx 0x1002000' 'delete' 'watch *(int *)0x1004000' 'continue' 'print/x $rip' 'print/x $rdi' \
        'delete' 'print/x $cr0 & 1' 'p/x *(int *)0x100004' 'monitor physical on' 'p/x *(int *)0x1001000' 'set var $rcx = 3' \
        'hbreak *0x100044' 'continue' 'print/x $rcx' 'print/x $rdi' 'thread 2' 'print/x $rip' 'detach'
    has "$name: the entry" "$OUT" '$1 = 0x100030'
    has "$name: threads" "$OUT" 'CPU 1, level 0'
    has "$name: the third round" "$OUT" '$2 = 0x1002000'
    has "$name: ... of 256" "$OUT" '$3 = 0xfe'
    has "$name: a step" "$OUT" '$4 = 0x10003c'
    has "$name: which stored" "$OUT" '0x1002000:	0x01002000'
    has "$name: watched" "$OUT" 'Hardware watchpoint 2: *(int *)0x1004000'
    has "$name: its value" "$OUT" 'New value = 16793600'
    has "$name: behind the store" "$OUT" '$5 = 0x10003c'
    has "$name: the round of the watch" "$OUT" '$6 = 0x1004000'
    has "$name: protected mode" "$OUT" '$7 = 0x1'
    has "$name: the multiboot flags" "$OUT" '$8 = 0x10000'
    has "$name: physical memory" "$OUT" '$9 = 0x1001000'
    has "$name: the loop's end came early" "$OUT" '$10 = 0x0'
    has "$name: ... by a register" "$OUT" '$11 = 0x1007000'
    has "$name: the other one waits at reset" "$OUT" '$12 = 0xfff0'
    within 20 printed $name done 2 # it has gone on

    # Nobody's debugger: killed in the middle, it leaves a machine that goes on.
    strata reset $name >/dev/null
    within 20 printed $name done 3
    (printf '$Z0,100044,1#3c$c#63'; sleep 1) | strata debug gdb $name >"$WORK/raw"
    has "$name: raw packets" "$(tr -d '\0' <"$WORK/raw")" '$OK#9a'
    strata reset $name >/dev/null
    within 20 printed $name done 4
    strata delete --force $name >/dev/null
done

# Without a debugger: registers, memory, addresses. The guest spins behind its last byte but one.
strata run -d --name web --as machine --kernel guest --memory 64M --cpus 2 >/dev/null
within 20 printed web done
field() { strata --json debug regs web | python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
is "where it spins" "$(field rip)" 0x100067
is "what it counted" "$(field rdi) $(field rcx) $(field level) $(field halted)" '0x1100000 0x0 0 False'
has "flat code" "$(field cs)" 'base 0x0 limit 0xffffffff'
has "the other one" "$(strata debug regs web --cpu 1)" 0xfff0
has "the head's magic" "$(strata debug memory web 0x100000 20)" '02 b0 ad 1b 00 00 01 00 fe 4f 51 e4'
has "... physically" "$(strata debug memory web 0x100000 4 --physical)" '02 b0 ad 1b'
is "all bytes of a megabyte" "$(strata --json debug memory web 0x1000000 1M | python3 -c "import json, sys
b = bytes.fromhex(''.join(row['bytes'] for row in json.load(sys.stdin)))
print(len(b), [int.from_bytes(b[i:i + 4], 'little') for i in (0, 4096, 1044480)])")" '1048576 [16777216, 16781312, 17821696]'
is "without paging" "$(strata --json debug translate web 0x100067 | python3 -c "import json, sys
v = json.load(sys.stdin)
print(v['physical'], v['page'], v['writable'])")" '0x100067 0 True'
python3 "$TOP/tests/scenario/multiboot.py" ports 'ticks:1000000' spin
strata run -d --name dots --as machine --kernel ports --memory 64M >/dev/null
strata --json debug trace dots --time 2s --most 4 | python3 -c "import json, sys
rows = json.load(sys.stdin)
assert [(r['exit'], r['address'], r['value'], r['cpu']) for r in rows] == [('port write', '0x3f8', '0x2e', 0)] * 4, rows
step = [b['ns'] - a['ns'] for a, b in zip(rows, rows[1:])]
assert all(30e6 < s < 110e6 for s in step) and 180e6 < sum(step) < 230e6, step # three of 2^26 ns" ||
    fail "the trace: $(strata debug trace dots --most 4)"
strata delete --force dots >/dev/null
fails 1 strata debug regs web --cpu 2
has "no such processor" "$OUT" "cannot look at guest 'web': there is no processor 2: it has 2"
fails 1 strata debug memory web 0xfffff000 16
has "no memory there" "$OUT" "there is no memory at all of 0xfffff000"
fails 1 strata debug memory web here 16
has "no address" "$OUT" "'here' is no address"
strata delete --force web >/dev/null

# By an address; one client at a time; an end of it.
strata run -d --name web --as machine --kernel guest --memory 64M >/dev/null
within 20 printed web done
at=$(strata --json debug gdb web --listen 127.0.0.1:0 | python3 -c 'import json, sys; print(json.load(sys.stdin)["listen"])')
[ "${at#127.0.0.1:}" -gt 0 ] || fail "the address: $at"
for round in 1 2; do
    OUT=$(timeout -k 5 60 gdb -nx -batch -ex "target remote $at" -ex 'print/x *(int *)0x100000' -ex detach 2>&1) || true
    has "round $round by an address" "$OUT" '$1 = 0x1badb002'
done
strata debug gdb web --off >/dev/null
OUT=$(timeout -k 5 60 gdb -nx -batch -ex 'set tcp auto-retry off' -ex "target remote $at" 2>&1) || true
has 'nobody is let in' "$OUT" 'Connection refused'
fails 1 strata debug gdb web --listen nowhere
has 'no address' "$OUT" "cannot listen on 'nowhere': not ADDRESS:PORT"
strata delete --force web >/dev/null

# Debian's kernel, by the addresses that itself prints, and its first process by those of nm: a function of each, a
# variable that is watched from the start, registers, both processors.
root=${STRATA_LINUX:-/}
linux=$(find "$root/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
[ -n "$linux" ] || skip "no Linux kernel below $root (STRATA_LINUX)"
gcc -D_GNU_SOURCE -O2 -static -no-pie -o init "$TOP/tests/scenario/machine_symbols.c"
python3 "$TOP/tests/virt/monitor/cpio.py" init initrd
address() { echo "0x$(nm init | sed -n "s/^0*\([0-9a-f]*\) . $1\$/\1/p")"; }
symbol() { strata logs "$name" | tr -d '\r' | sed -n "s/^symbol $1 //p" | tail -n 1; }
for engine in translate interpret; do
    name=linux-$engine
    strata run -d --name $name --as machine --kernel "$linux" --initrd initrd --engine $engine --memory 256M --cpus 2 \
        --append 'console=ttyS0 quiet nokaslr panic=0' >/dev/null
    within 100 printed $name '^ready'
    gdb_on $name 'monitor reset' 'maintenance flush register-cache' \
        "hbreak *$(symbol start_kernel)" 'continue' 'print/x $rip' 'print/x $cr0' 'print/x $efer & 0x500' 'print/x $cs' \
        'delete' "print *(int *)$(symbol system_state)" "watch *(int *)$(symbol system_state)" 'continue' \
        'delete' "break *$(symbol kernel_init)" 'continue' 'print/x $rip' 'delete' "x/s $(symbol linux_banner)" \
        "break *$(address turn)" 'continue' 'print/x $rip' 'print $cs & 3' 'print $rdi' 'delete' "break *$(address turn)" \
        'continue' "print *(long *)$(address turns) == \$rdi - 1" 'print $rdi' 'stepi' 'print/x $rip != $1' \
        'info threads' 'detach'
    has "$name: start_kernel" "$OUT" "\$1 = $(symbol start_kernel)"
    has "$name: paging" "$OUT" '$2 = 0x8005003'
    has "$name: long mode" "$OUT" '$3 = 0x500'
    has "$name: the kernel's segment" "$OUT" '$4 = 0x10'
    has "$name: SYSTEM_BOOTING" "$OUT" '$5 = 0'
    has "$name: SYSTEM_SCHEDULING" "$OUT" 'New value = 1'
    has "$name: kernel_init" "$OUT" "\$6 = $(symbol kernel_init)"
    has "$name: the banner" "$OUT" 'Linux version '
    has "$name: a function of the first process" "$OUT" "\$7 = $(address turn)"
    has "$name: in user mode" "$OUT" '$8 = 3'
    has "$name: its argument" "$OUT" '$9 = 1'
    has "$name: and the next one" "$OUT" '$11 = 2'
    has "$name: what the first stored" "$OUT" '$10 = 1'
    has "$name: both processors" "$OUT" 'Thread 2 (CPU 1, level'
    has "$name: one of them in user mode" "$OUT" ', level 3)'
    at=$(strata --json debug translate $name "$(symbol linux_banner)" |
        python3 -c "import json, sys; v = json.load(sys.stdin); assert not v['user']; print(v['physical'])")
    has "$name: the banner's place" "$(strata debug memory $name "$at" 16 --physical)" 'Linux version'
    fails 1 strata debug translate $name 0x10
    has "$name: page 0" "$OUT" "nothing is mapped at 0x10"
    within 20 printed $name '^ready' 2
    strata delete --force $name >/dev/null
done
