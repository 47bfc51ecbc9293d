#!/bin/sh
# A Linux with a disk: stands still, is saved and goes on with another engine, goes back with
# its disk, is cloned, dumped.
# rows: OPS-04 OPS-05 OPS-06 OPS-07 OPS-08 OPS-09 OPS-16
# release
# timeout: 400
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 gcc
root=${STRATA_LINUX:-/}
linux=$(find "$root/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
modules=
for name in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_balloon; do
    modules="$modules $(find "$root/lib/modules" -name "$name.ko" 2>/dev/null | sort | tail -n 1)"
done
[ -n "$linux" ] && [ -n "${modules# }" ] || skip "no Linux kernel with modules below $root (STRATA_LINUX)"

printed() { [ "$(strata logs "$1" | grep -c "$2")" -ge "${3:-1}" ]; }
# tell GUEST WORD... - say it, and wait for the answer, which is left in $OUT.
tell() {
    guest=$1
    shift
    before=$(strata logs "$guest" | wc -l)
    printf '%s\n' "$*" | timeout 1 "$STRATA" --state "$STATE" console "$guest" >/dev/null 2>&1 || true
    tries=100
    while [ "$(strata logs "$guest" | wc -l)" -le "$before" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "'$*' was not answered: $(strata logs "$guest" | tail -5)"
        sleep 0.1
    done
    OUT=$(strata logs "$guest" | tail -n +$((before + 1)) | tr -d '\r' | tail -1)
}
engine() { strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine']['engine'])"; }
state() { strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine']['state'])"; }

cd "$WORK"
gcc -D_GNU_SOURCE -O2 -static -o init "$TOP/tests/scenario/machine_words.c"
# shellcheck disable=SC2086
python3 "$TOP/tests/virt/monitor/cpio.py" init initrd $modules
truncate -s 16M disk
run() {
    strata run -d --name "$1" --as machine --kernel "$linux" --initrd initrd --memory 256M --disk disk \
        --on-crash hold --stop-timeout 1s --append "console=ttyS0 quiet panic=0" >/dev/null
}
run web
within 60 printed web ready

# Its clock stands in a pause and runs on from there.
tell web t
first=${OUT#time }
strata pause web >/dev/null
sleep 6
strata resume web >/dev/null
tell web t
second=${OUT#time }
python3 - "$first" "$second" <<'PY' || fail "its clock leapt: $first, $second"
import sys
a, b = (float(s.split()[0]) for s in sys.argv[1:])
assert 0 < b - a < 5, (a, b)
PY

# Its memory goes back, and comes again; no more than it was started with.
given() { strata --json inspect web | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine']['memory']['given_back'] >> 20)"; }
has_given() { [ "$(given)" = "$1" ]; }
strata resize web --memory 192M >/dev/null
within 20 has_given 64
fails 1 strata resize web --memory 300M
has "more" "$OUT" "at most the memory that it was started with"
strata resize web --memory 240M >/dev/null
within 20 has_given 16

# Saved, and on with another engine: its disk and its clock are whole.
tell web w one
has "written" "$OUT" "wrote 4096"
strata save web >/dev/null
is "on the disk" "$(head -c 3 disk)" one
strata start web --engine interpret >/dev/null
is "the other engine" "$(engine web)" interpret
tell web r
has "it reads what it wrote" "$OUT" "read 4096: one"
strata save web >/dev/null
strata start web --engine translate >/dev/null
tell web t
python3 - "$second" "${OUT#time }" <<'PY' || fail "its clock leapt: $second, $OUT"
import sys
a, b = (float(s.split()[0]) for s in sys.argv[1:])
assert 0 < b - a < 60, (a, b)
PY

# A snapshot of memory and disk while it runs; what comes later is undone.
strata snapshot create web before >/dev/null
tell web w two
strata clone web twin --memory >/dev/null
is "the copy's disk" "$(head -c 3 "$STATE"/guests/*/disk/disk0)" two

# Marked: what it writes is not seen by its disk's file, and goes back with its memory.
strata debug mark web >/dev/null
tell web w lost
has "written in memory" "$OUT" "wrote 4096"
tell web r
has "it sees it" "$OUT" "read 4096: lost"
is "the file" "$(head -c 3 disk)" two
fails 1 strata save web
has "its disk" "$OUT" "since it was marked is not in their files"
took=$(python3 - "$STRATA" "$STATE" <<'PY'
import subprocess, sys, time
best = 9
for _ in range(5):
    t = time.monotonic()
    subprocess.run([sys.argv[1], "--state", sys.argv[2], "debug", "rewind", "web"], check=True,
                   stdout=subprocess.DEVNULL)
    best = min(best, time.monotonic() - t)
print(int(best * 1000))
PY
)
echo "a rewind of 256 MB takes $took ms, the command included"
tell web r
has "its disk went back" "$OUT" "read 4096: two"

# A kernel that panics: it stands (pvpanic or not), is dumped, and goes back.
tell web p
strata debug dump web --file core >/dev/null
if command -v readelf >/dev/null; then
    readelf -lW core | grep -q 'LOAD.*0xffffffff8' || fail "no kernel in the core: $(readelf -lW core | head -20)"
fi
strata debug rewind web >/dev/null
is "it runs" "$(state web)" running
tell web r
has "after its crash" "$OUT" "read 4096: two"

# What was marked is thrown away at the end; the snapshot is the way back.
tell web w gone
strata kill web >/dev/null
strata wait web >/dev/null || true
is "thrown away" "$(head -c 3 disk)" two
strata snapshot restore web before >/dev/null
strata start web >/dev/null
tell web r
has "back in the snapshot" "$OUT" "read 4096: one"

# The copy, with a disk of its own, where the machine was when it was copied.
strata start twin >/dev/null
tell twin r
has "the copy" "$OUT" "read 4096: two"
tell twin w three
is "not the other's disk" "$(head -c 3 disk)" one
tell web t
for name in web twin; do strata delete --force $name >/dev/null; done
