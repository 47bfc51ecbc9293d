#!/bin/sh
# Mirrors whose second member follows: how far it is behind is shown, a first member that dies
# costs no more than the window, and only the operator's word lets the other one take over.
# timeout: 120
# rows: STO-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3 mount umount
# The process that serves the disk.
worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$one"/layers/*)
            p=${fd#/proc/}
            echo "${p%%/*}"
            return
            ;;
        esac
    done
}
mkdir "$WORK/t1" "$WORK/m2" "$WORK/m3"
mount -t tmpfs -o size=200M pool "$WORK/t1"
fails 1 strata pool create --asynchronous --redundancy raid5 --member "$WORK/t1" --member "$WORK/m2" --member "$WORK/m3" k
has "mirrors only" "$OUT" "'--asynchronous' wants '--redundancy mirror'"
strata pool create --asynchronous --redundancy mirror --member "$WORK/t1" --member "$WORK/m2" k >/dev/null
is "in the record" "$(pool k 'p["asynchronous"]')" True
# Which one is first is by their room.
strata volume create --pool k --size 64M d >/dev/null
first=$(strata volume inspect --json d | python3 -c '
import json, sys
v = json.load(sys.stdin)
v = v[0] if isinstance(v, list) else v
print(v["layers"][0]["members"][0]["member"])')
second=$((3 - first))
where() { pool k "[m['path'] for m in p['members'] if m['id'] == $1][0]"; }
one=$(where "$first")
serve d
live -c 'write -P 1 0 8M' -c flush
within 10 sh -c '"$STRATA" --state "$STATE" pool inspect --json k | grep -q "\"degraded\"" && exit 1 || exit 0'

# Numbered blocks, one after the other; who writes them is killed with the first member.
cat >"$WORK/write.py" <<'PY'
import socket, struct, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rwb")
magic, opt, flags = struct.unpack(">QQH", f.read(18))
f.write(struct.pack(">I", 3) + struct.pack(">QII", 0x49484156454F5054, 1, 0))
f.flush()
size, tflags = struct.unpack(">QH", f.read(10))
end = time.monotonic() + 3
n = 0
while time.monotonic() < end:
    n += 1
    data = struct.pack("<Q", n) * 512
    f.write(struct.pack(">IHHQQI", 0x25609513, 0, 1, n, (8 << 20) + (n % 4096) * 4096, 4096) + data)
    f.flush()
    if f.read(16)[4:8] != b"\0\0\0\0":
        break
    with open(sys.argv[2], "r+b", buffering=0) as done:
        done.write(struct.pack("<Q", n))


PY
head -c 16 /dev/zero >"$WORK/acked"
python3 "$WORK/write.py" "$WORK/served.sock" "$WORK/acked" >"$WORK/w.out" 2>&1 &
writer=$!
servers="$servers $writer"
sleep 2
kill -9 "$(worker)"
wait "$server" || true
wait $writer || true
acked=$(python3 -c 'import struct, sys; print(struct.unpack("<Q", open(sys.argv[1], "rb").read(8))[0])' "$WORK/acked")
[ "$acked" -gt 50 ] || fail "only $acked writes: $(cat "$WORK/w.out")"

# The first is gone: nobody takes over by himself, and what there is to do is said.
if [ "$one" = "$WORK/t1" ]; then umount "$WORK/t1"; else mv "$one" "$WORK/gone"; fi
fails 1 strata volume export d --nbd "$WORK/no"
has "it was opened" "$OUT" "the primary is missing"
strata pool replace k "$first" "$WORK/m3" >/dev/null || fail "replace"
is "whole" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
serve d
live -r -c 'read -P 1 0 8M'
kill -TERM "$server"
wait "$server" || true
within 5 "$STRATA" --state "$STATE" volume export d --file "$WORK/d.raw" >/dev/null 2>&1
# It is a state that the first one had: all numbers up to one, and none behind; so many are lost.
python3 - "$WORK/d.raw" "$acked" <<'PY' || fail "not a state of the past"
import struct, sys
f = open(sys.argv[1], "rb")
acked = int(sys.argv[2])
f.seek(8 << 20)
area = f.read(4096 * 4096)
numbers = [struct.unpack_from("<Q", area, i * 4096)[0] for i in range(4096)]
last = max(numbers)
for n in range(max(1, last - 4095), last + 1):
    assert numbers[n % 4096] == n, (n, numbers[n % 4096], last)
lost = max(0, acked - last)
print(f"acknowledged {acked}, there {last}, lost {lost} writes, {lost * 4096} bytes")
assert lost * 4096 <= 16 << 20
PY
strata pool scrub k >/dev/null || fail "scrub"
strata volume delete d >/dev/null
strata pool delete k >/dev/null
