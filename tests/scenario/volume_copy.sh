#!/bin/sh
# Disks in and out of files, whole copies, from pool to pool, and where a byte of one lies:
# Debian's qemu-img reads what we wrote, and a loop device what we located.
# timeout: 300
# rows: STO-02 STO-03
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io python3 dd
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
kind() { strata volume inspect --json "$1" | sed -n 's/^ *"format": "\(.*\)",$/\1/p' | head -1; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
on_exit() {
    umount "$WORK/m" 2>/dev/null || true
    [ -z "${loop:-}" ] || losetup -d "$loop" 2>/dev/null || true
}

# A disk with something in several places, in every format.
truncate -s 40M "$WORK/flat.raw"
for at in 0 1 7 31 39; do
    head -c 65536 /dev/urandom | dd of="$WORK/flat.raw" bs=1M seek=$at conv=notrunc 2>/dev/null
done
for format in raw qcow2 vmdk vdi; do
    qemu-img convert -f raw -O $format "$WORK/flat.raw" "$WORK/in.$format"
    strata volume import "$WORK/in.$format" "from-$format" >/dev/null
    qemu-img compare -q -f raw -F raw "$WORK/flat.raw" "$(path from-$format)" || fail "import $format"
    [ $format != vdi ] || continue # is read only
    strata volume export --file "$WORK/out.$format" "from-$format" >/dev/null
    qemu-img compare -q -f raw -F $format "$WORK/flat.raw" "$WORK/out.$format" || fail "export $format"
done
strata volume export --file "$WORK/packed.qcow2" --compress from-raw >/dev/null
qemu-img check -q "$WORK/packed.qcow2"
qemu-img compare -q -f raw "$WORK/flat.raw" "$WORK/packed.qcow2" || fail "packed"

# Mistakes leave nothing.
fails 1 strata volume export --file "$WORK/out.raw" from-raw
has "there is one" "$OUT" "File exists"
fails 1 strata volume import "$WORK/in.qcow2" broken --format vmdk
fails 1 strata volume import "$WORK/in.raw" from-raw
has "there is one" "$OUT" "volume 'from-raw' exists already"
is "no layer is left" "$(find "$STATE/pool/layers" -type f | wc -l)" 4

# A header that a guest wrote into a raw disk stays bytes.
cp "$WORK/in.qcow2" "$WORK/trap"
strata volume import "$WORK/trap" trap >/dev/null
cmp -n "$(stat -c %s "$WORK/trap")" "$WORK/trap" "$(path trap)" || fail "a header was believed"

# Whole copies share nothing.
strata volume snapshot from-raw then >/dev/null
qemu-io -f qcow2 -c 'write -P 5 1M 64k' "$(path from-raw)" >/dev/null
strata volume clone --full from-raw now >/dev/null
strata volume clone --full from-raw@then before >/dev/null
qemu-img compare -q -f raw -F raw "$WORK/flat.raw" "$(path before)" || fail "the copy of a snapshot"
qemu-img compare -q -F raw "$(path from-raw)" "$(path now)" || fail "the copy"
is "alone" "$(qemu-img info --backing-chain "$(path now)" | grep -c '^image')" 1

# Grown, checked, moved; the name stays.
strata volume resize from-raw 64M >/dev/null
is "grown" "$(qemu-img info --output json "$(path from-raw)" | field virtual-size)" 67108864
strata volume check from-raw >/dev/null
has "check" "$(strata volume check from-raw)" ok
strata pool create rack --member "$WORK/rack" >/dev/null
fails 1 strata volume move from-raw rack
has "snapshots" "$OUT" "it has snapshots"
strata volume clone from-raw moving >/dev/null
strata volume move moving rack >/dev/null
has "moved" "$(path moving)" "$WORK/rack/layers/"
qemu-img compare -q -F raw "$(path from-raw)" "$(path moving)" || fail "moved"
is "alone" "$(qemu-img info --backing-chain "$(path moving)" | grep -c '^image')" 1
fails 1 strata volume move moving nosuch
has "no pool" "$OUT" "pool 'nosuch' does not exist"

# Deleting a snapshot shortens the chain, and the disk reads as before.
strata volume snapshot moving one >/dev/null
qemu-io -f qcow2 -c 'write -P 6 3M 64k' "$(path moving)" >/dev/null
strata volume snapshot moving two >/dev/null
qemu-io -f qcow2 -c 'write -P 7 4M 64k' "$(path moving)" >/dev/null
qemu-img convert "$(path moving)" "$WORK/want.raw"
strata volume snapshot --delete moving one >/dev/null
is "shorter" "$(qemu-img info --backing-chain "$(path moving)" | grep -c '^image')" 2
qemu-img compare -q -F raw "$(path moving)" "$WORK/want.raw" || fail "merged"
strata volume snapshot --delete moving two >/dev/null
is "one" "$(qemu-img info --backing-chain "$(path moving)" | grep -c '^image')" 1
qemu-img compare -q -f "$(kind moving)" -F raw "$(path moving)" "$WORK/want.raw" || fail "merged twice"

# Damage is found.
qemu-io -f qcow2 -c 'write -P 9 20M 64k' "$(path from-raw)" >/dev/null
python3 - "$(path from-raw)" <<'PY'
import struct, sys
with open(sys.argv[1], "r+b") as f:  # a reference count of a cluster in use becomes 0
    f.seek(48)
    table, = struct.unpack(">Q", f.read(8))
    f.seek(table)
    block, = struct.unpack(">Q", f.read(8))
    f.seek(block + 2 * 4)
    f.write(b"\0\0")
PY
fails 1 strata volume check from-raw
has "damaged" "$OUT" damaged
strata volume check --repair from-raw >/dev/null
qemu-img check -q "$(path from-raw)" || fail "not repaired"

# Where does it lie?  Read on the device under the file system.
has "a hole" "$(strata volume locate moving 50M)" "state: "
if command -v mkfs.ext4 >/dev/null && command -v losetup >/dev/null; then
    truncate -s 64M "$WORK/device"
    mkfs.ext4 -qF "$WORK/device"
    loop=$(losetup -f --show "$WORK/device" 2>/dev/null) || skip "needs a loop device"
    mkdir "$WORK/m"
    mount "$loop" "$WORK/m"
    strata pool create disks --member "$WORK/m/pool" >/dev/null
    strata volume create --size 16M --pool disks --format qcow2 d >/dev/null
    qemu-io -f qcow2 -c 'write -P 42 5M 64k' "$(path d)" >/dev/null
    sync
    place=$(strata volume locate --json d 5250000)
    is "the device" "$(echo "$place" | field device)" "$loop"
    is "its bytes" "$(dd if="$loop" bs=512 skip=$(($(echo "$place" | field device_offset) / 512)) count=1 \
        iflag=direct 2>/dev/null | od -An -tu1 -v | tr -s ' \n' ' ' | tr ' ' '\n' | sort -u | tr -d '\n')" 42
    is "the file's bytes" "$(dd if="$(echo "$place" | field path)" bs=1 count=1 \
        skip="$(echo "$place" | field path_offset)" 2>/dev/null | od -An -tu1 | tr -d ' ')" 42
    fails 1 strata volume locate d 16M
    has "behind" "$OUT" "ends before that"
    strata volume delete d >/dev/null
    strata pool delete disks >/dev/null

    # The device itself as a volume; what stands on it lies in the usual pool.
    fails 1 strata volume create --device "$loop" dev
    has "mounted" "$OUT" "busy"
    umount "$WORK/m"
    fails 1 strata volume create --device "$WORK/device" dev
    has "a file" "$OUT" "no block device"
    losetup -d "$loop" # another one: a mount may live on in somebody's namespace
    truncate -s 64M "$WORK/second"
    mkfs.ext4 -qF "$WORK/second"
    loop=$(losetup -f --show "$WORK/second")
    strata volume create --device "$loop" dev >/dev/null
    is "its size" "$(strata volume inspect --json dev | sed -n 's/^ *"size_bytes": \([0-9]*\),$/\1/p' | head -1)" 67108864
    fails 1 strata volume resize dev 128M
    has "a device" "$OUT" "it is a device of the host"
    strata volume snapshot dev clean >/dev/null
    qemu-io -f qcow2 -c 'write -P 3 0 1M' "$(path dev)" >/dev/null
    strata volume clone dev@clean twin >/dev/null
    qemu-img compare -q -F raw "$(path twin)" "$loop" || fail "a clone of a device"
    strata volume snapshot --restore dev clean >/dev/null
    strata volume delete --snapshots dev >/dev/null
    strata volume delete twin >/dev/null
    e2fsck -fn "$loop" >/dev/null 2>&1 || fail "the device was changed"
fi
for name in $(strata volume list --quiet); do
    strata volume delete --snapshots "$name" >/dev/null
done
is "nothing is left" "$(ls "$STATE/pool/layers" "$WORK/rack/layers")" "$WORK/rack/layers:

$STATE/pool/layers:"
