#!/bin/sh
# firmware.sh MACHINE COMPILER - SeaBIOS on a machine, each engine; what it says of the machine, and what a disk's first
# sector gets of it.
#
# rows: FV-01
set -eu
machine=$1
compiler=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
here=$(dirname "$0")
bios=${STRATA_SEABIOS:-/usr/share/seabios/bios-256k.bin}
[ -e "$bios" ] || { echo "skipped: there is no $bios (Debian: seabios)"; exit 77; }

fail() {
    echo "failed: $*"
    cat "$dir/out" "$dir/log" 2>/dev/null || true
    exit 1
}

# shellcheck disable=SC2086
$compiler -m32 -nostdlib -no-pie -fno-pic -Wl,--build-id=none -Wl,--oformat=binary -Wl,-Ttext=0x7c00 \
    -o "$dir/disk" "$here/sector.S"
truncate -s 4M "$dir/disk"

run() { # ENGINE CPUS MEMORY
    code=0
    timeout -k 5 100 "$machine" --engine "$1" --cpus "$2" --memory "$3" --firmware "$bios" --log "$dir/log" \
        --disk "$dir/disk,read-only" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
    [ "$code" = 33 ] || fail "$1: exit code $code: $(cat "$dir/err")"
    for line in 'the first sector runs' 'the second sector was read' 'there is a memory map'; do
        [ "$(grep -c "$line" "$dir/out")" = 2 ] || fail "$1: not once before and once after a reset: '$line'"
    done
    for line in 'QEMU fw_cfg DMA interface supported' 'via xsdt' 'using q35 mmconfig at 0xb0000000' \
        "Found $2 cpu(s) max supported $2 cpu(s)" 'found virtio-blk at 00:01.0' 'using modern (1.0) virtio mode'; do
        [ "$(grep -c "$line" "$dir/log")" = 2 ] || fail "$1: SeaBIOS does not say '$line'"
    done
}
run interpret 1 64
run translate 1 64
run translate 4 3072
grep -q '0000000100000000 - 0000000140000000 = 1 RAM' "$dir/log" || fail 'memory above 4 GiB is not in the map'

# Files that are no firmware.
: >"$dir/err"
head -c 1000 "$bios" >"$dir/odd"
! "$machine" --firmware "$dir/odd" </dev/null >"$dir/out" 2>&1 || fail 'half a page was started'
grep -q 'not whole pages' "$dir/out" || fail 'no reason was given'
! "$machine" --firmware "$bios" --memory 8 </dev/null >"$dir/out" 2>&1 || fail 'a machine without room was started'
grep -q 'at least 16 MiB' "$dir/out" || fail 'no reason was given for little memory'
