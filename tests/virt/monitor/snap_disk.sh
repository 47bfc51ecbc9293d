#!/bin/sh
# snap_disk.sh CHAIN IMAGE COMPILER - a Linux that writes to its disk is moved from engine to engine; what it wrote is
# there.
#
# rows: OPS-08
set -eu
chain=$1
image=$2
compiler=$3
here=$(dirname "$0")
. "$here/../../linux.sh"
linux_find virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# shellcheck disable=SC2086
$compiler -D_GNU_SOURCE -O2 -static -o "$dir/init" "$here/disk.c"
# shellcheck disable=SC2086
python3 "$here/cpio.py" "$dir/init" "$dir/initrd" $modules
elf=$(echo "{\"state\":\"$dir\",\"file\":\"$linux\"}" | "$image" kernel | sed 's/.*"kernel":"\([^"]*\)".*/\1/')
run() { # NAME CPUS STEP APPEND
    DISK="$dir/raw" timeout 400 "$chain" "$elf" "$dir/initrd" "console=ttyS0 quiet panic=-1 $4" "$2" "$$" "$3" \
        translate interpret >"$dir/out" 2>"$dir/err" || { cat "$dir/out" "$dir/err"; exit 1; }
    cat "$dir/err"
    if grep -E 'FAILED|BUG:|WARNING: CPU|I/O error|stall' "$dir/out"; then
        cat "$dir/out"
        exit 1
    fi
}
for cpus in 1 2; do
    truncate -s 0 "$dir/raw"
    truncate -s 16M "$dir/raw"
    run pattern $cpus 1200 ''
    grep -q 'vda: written and read' "$dir/out" || { cat "$dir/out"; exit 1; }
    python3 "$here/pattern.py" "$dir/raw" $cpus
done
if command -v mke2fs >/dev/null; then
    truncate -s 0 "$dir/raw"
    truncate -s 64M "$dir/raw"
    mke2fs -q -t ext4 "$dir/raw"
    run files 2 1200 '-- files'
    grep -q 'vda: 64 files' "$dir/out" || { cat "$dir/out"; exit 1; }
    fsck.ext4 -fn "$dir/raw" >"$dir/fsck" 2>&1 || { cat "$dir/fsck"; exit 1; }
fi
