#!/bin/sh
# disk.sh MACHINE COMPILER - disks of a machine, as Debian's kernel drives them.
#
# rows: MIO-06
set -eu
compiler=$2
here=$(dirname "$0")
. "$here/../../linux.sh"
machine=$(linux_program "$1")
linux_find virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    tail -n 40 "$dir/out" || true
    cat "$dir/err" || true
    exit 1
}

# shellcheck disable=SC2086
$compiler -D_GNU_SOURCE -O2 -static -o "$dir/init" "$here/disk.c"
# shellcheck disable=SC2086
python3 "$here/cpio.py" "$dir/init" "$dir/initrd" $modules

boot() { # CPUS APPEND OPTIONS...
    cpus=$1
    append=$2
    shift 2
    timeout 200 "$machine" --engine translate --cpus "$cpus" --kernel "$linux" --initrd "$dir/initrd" \
        --append "console=ttyS0 quiet panic=-1 $append" "$@" </dev/null >"$dir/out" 2>"$dir/err" ||
        fail "$cpus processors, $append: it ended with an error"
    grep -q '^done' "$dir/out" || fail "$cpus processors, $append: it did not end well"
    if grep -E 'FAILED|BUG:|WARNING: CPU|I/O error|Unknown symbol' "$dir/out"; then
        fail "$cpus processors, $append: the lines above"
    fi
}

want() {
    grep -q -- "$1" "$dir/out" || fail "it does not say '$1'"
}

# Raw and qcow2, through the page cache and past it; one that may only be read.
truncate -s 16M "$dir/raw" "$dir/direct"
truncate -s 4M "$dir/fixed"
qcow2=
if command -v qemu-img >/dev/null; then
    qemu-img create -q -f qcow2 "$dir/qcow2" 16M
    qcow2="--disk $dir/qcow2,format=qcow2"
fi
for cpus in 1 4; do
    # shellcheck disable=SC2086
    boot $cpus '' --disk "$dir/raw,serial=first-of-them" --disk "$dir/fixed,read-only" \
        --disk "$dir/direct,direct" $qcow2
    want "disk vda bytes=16777216 ro=0 queues=$cpus cache=write back serial=first-of-them"
    want "disk vdb bytes=4194304 ro=1 queues=$cpus"
    want 'vda: written and read'
    want 'vdb: not written'
    want 'vdc: written and read'
    for image in raw direct; do
        python3 "$here/pattern.py" "$dir/$image" $cpus || fail "$image: the host reads something else"
    done
    [ "$(tr -d '\0' <"$dir/fixed" | wc -c)" = 0 ] || fail 'a read-only disk was written'
    if [ -n "$qcow2" ]; then
        want 'vdd: written and read'
        qemu-img check -q "$dir/qcow2" || fail 'the image is damaged'
        qemu-img compare -q "$dir/raw" "$dir/qcow2" || fail 'the image holds something else'
    fi
    truncate -s 0 "$dir/raw" "$dir/direct"
    truncate -s 16M "$dir/raw" "$dir/direct"
done

# The bus beside that of another monitor.
if command -v qemu-system-x86_64 >/dev/null; then
    cp "$dir/out" "$dir/ours"
    timeout 200 qemu-system-x86_64 -accel tcg -machine q35 -m 256 -nodefaults -display none -serial stdio -no-reboot \
        -kernel "$linux" -initrd "$dir/initrd" -append 'console=ttyS0 quiet panic=-1' \
        -drive "file=$dir/raw,if=none,id=d,format=raw" -device virtio-blk-pci,drive=d,disable-legacy=on \
        </dev/null >"$dir/out" 2>"$dir/err" || fail 'the other monitor'
    python3 "$here/functions.py" "$dir/ours" "$dir/out" || fail 'functions of the bus look different'
fi

# By interrupt line.
boot 1 'pci=nomsi' --disk "$dir/raw"
want 'vda: written and read'
python3 "$here/pattern.py" "$dir/raw" 1 || fail 'by line: the host reads something else'

# A file system of the host, written by the guest, checked by the host.
if command -v mke2fs >/dev/null; then
    truncate -s 0 "$dir/raw"
    truncate -s 64M "$dir/raw"
    mke2fs -q -t ext4 "$dir/raw"
    boot 2 '-- files' --disk "$dir/raw"
    want 'vda: 64 files'
    fsck.ext4 -fn "$dir/raw" >"$dir/fsck" 2>&1 || { cat "$dir/fsck"; fail 'the file system is damaged'; }
    debugfs -R 'cat /d7/f' "$dir/raw" 2>/dev/null | cksum >"$dir/got"
    python3 -c 'import sys; sys.stdout.write("".join("line %d of 7\n" % i for i in range(2000)))' | cksum >"$dir/want"
    cmp "$dir/got" "$dir/want" || fail 'a file holds something else'
fi

# Killed while it writes: what a flush has covered is there.
kill_while_writing() { # IMAGE FORMAT
    : >"$dir/out"
    "$machine" --kernel "$linux" --initrd "$dir/initrd" --append 'console=ttyS0 quiet panic=-1 -- endless' \
        --disk "$dir/$1,format=$2" </dev/null >"$dir/out" 2>"$dir/err" &
    pid=$!
    n=0
    until [ "$(grep -c '^kept' "$dir/out")" -ge 300 ] || [ $n -ge 1200 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    kill -KILL $pid
    wait $pid 2>/dev/null || true
    [ $n -lt 1200 ] || fail "$2: the guest does not write"
}
truncate -s 0 "$dir/raw"
truncate -s 16M "$dir/raw"
kill_while_writing raw raw
python3 "$here/pattern.py" "$dir/raw" <"$dir/out" || fail 'killed, raw: a block is lost'
if [ -n "$qcow2" ]; then
    qemu-img create -q -f qcow2 "$dir/qcow2" 16M
    kill_while_writing qcow2 qcow2
    # The ring of a process that was killed goes a little later than it, and its lock with it.
    n=0
    until qemu-img info "$dir/qcow2" >"$dir/info" 2>&1 || [ $n -ge 100 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    # Leaked clusters: 3.
    qemu-img check -q "$dir/qcow2" || [ $? = 3 ] || fail "killed: the image is damaged"
    qemu-img convert -O raw "$dir/qcow2" "$dir/raw"
    python3 "$here/pattern.py" "$dir/raw" <"$dir/out" || fail 'killed, qcow2: a block is lost'
fi

# What cannot be is refused with its reason.
if "$machine" --kernel "$linux" --disk "$dir/none" </dev/null >"$dir/out" 2>&1; then
    fail 'a disk that is not there was taken'
fi
want "cannot open disk '.*none'"
if "$machine" --kernel "$linux" --disk "$dir/raw,format=cow" </dev/null >"$dir/out" 2>&1; then
    fail 'a format that nobody knows was taken'
fi
want "'format=cow' of a disk is not known"
