#!/bin/sh
# Machines that are tried out: remembered, crashed, dumped, and back again, in one process.
# rows: OPS-15 OPS-16 OPS-07
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

kernel() { python3 "$TOP/tests/scenario/multiboot.py" "$@"; }
printed() { [ "$(strata logs "$1" | grep -c "$2")" -ge "${3:-1}" ]; }
part() { # GUEST KEY - of what its worker tells
    strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine'].get('$2'))"
}
type_to() { printf '%s' "$2" | timeout 1 "$STRATA" --state "$STATE" console "$1" >/dev/null || true; }
is_part() { [ "$(part web "$1")" = "$2" ]; }

cd "$WORK"
kernel guest 'say:up\n' fill:24 'say:ready\n' echo:A 'say:changed\n' fill:20 panic spin
strata run -d --name web --as machine --kernel guest --memory 256M --on-crash hold >/dev/null
within 30 printed web ready
fails 1 strata debug rewind web
has "no mark" "$OUT" "cannot rewind guest 'web': there is no mark"
is "its name" "$(strata debug mark web)" web
type_to web A
within 10 is_part state crashed
is "it stands" "$(strata list --json | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['state'])")" running
part web crash | grep -q "'rip': 104[0-9]*," || fail "where it stands: $(part web crash)"

# The core file: registers of each processor, memory at its addresses.
strata debug dump web --file core >/dev/null
python3 - core "$(part web crash)" <<'PY' || fail "the core file"
import ast, struct, sys
b = open(sys.argv[1], "rb").read()
regs = ast.literal_eval(sys.argv[2])
kind, machine = struct.unpack_from("<HH", b, 16)
phoff, = struct.unpack_from("<Q", b, 32)
n, = struct.unpack_from("<H", b, 56)
assert b[:5] == b"\x7fELF\x02" and (kind, machine) == (4, 62), (kind, machine)
loads, threads = [], []
for i in range(n):
    type, flags, off, vaddr, paddr, size, mem, align = struct.unpack_from("<IIQQQQQQ", b, phoff + 56 * i)
    if type == 1:
        loads.append((paddr, size, off))
    if type == 4:
        while size > 0:
            names, descs, what = struct.unpack_from("<III", b, off)
            assert b[off + 12:off + 16] == b"CORE" and what == 1, what
            # struct elf_prstatus: registers at 112, rip the 17th, rsp the 20th
            threads.append(struct.unpack_from("<Q", b, off + 20 + 112 + 16 * 8)[0])
            off, size = off + 20 + descs, size - 20 - descs
assert loads[0][:2] == (0, 256 << 20), loads
assert threads == [r["rip"] for r in regs], (threads, regs)
at = loads[0][2]
for mega in (16, 20, 35):
    assert struct.unpack_from("<I", b, at + (mega << 20))[0] == mega << 20, mega
PY
if command -v readelf >/dev/null; then
    readelf -n core | grep -q NT_PRSTATUS || fail "readelf: $(readelf -n core)"
fi
if command -v gdb >/dev/null; then
    has "gdb" "$(gdb -batch -ex 'x/1wx 0x1400000' -c core 2>/dev/null)" 0x01400000
fi
[ "$(du -k core | cut -f1)" -lt 100000 ] || fail "zeros are written: $(du -k core)"
fails 1 strata debug dump web --file core
has "it is there" "$OUT" "File exists"

# Back and again: each time it crashes anew; quick.
for round in 1 2 3; do
    strata debug rewind web >/dev/null
    is "round $round" "$(part web state)" running
    type_to web A
    within 10 is_part state crashed
    is "it went on at the mark" "$(strata logs web | grep -c ready) $(strata logs web | grep -c changed)" "1 $((round + 1))"
done

# The reset button is another way out; what ends is gone.
strata reset web >/dev/null
within 30 printed web ready 2
strata pause web >/dev/null
strata debug mark web >/dev/null # of one that is paused, which it stays
strata debug rewind web >/dev/null
is "still paused" "$(part web state)" paused
strata delete --force web >/dev/null
fails 1 strata debug mark web
