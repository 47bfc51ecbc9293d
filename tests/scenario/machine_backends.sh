#!/bin/sh
# Hosted: a machine's disks are a file, a file in memory and a block device that the host makes while it runs; its network
# is a tap or the user-mode one; the host goes on with its own devices and programs meanwhile.
# rows: HYP-05 HYP-06
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_root
need_cmd losetup ip
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"
memory=/dev/shm/strata-scenario-$$
loop=
on_exit() {
    [ -z "$loop" ] || losetup -d "$loop" 2>/dev/null || true
    rm -f "$memory"
}
inside() { strata exec box sh -c "$1"; }
device() { inside "basename \$(dirname \$(grep -lx $1 /sys/block/vd?/serial))"; }
has_it() { [ -n "$(device "$1" 2>/dev/null)" ]; }

truncate -s 1M file "$memory" image
loop=$(losetup --find --show image 2>/dev/null) || skip "this host gives no loop devices"
losetup -d "$loop"
loop=

strata network create blue --subnet 10.85.0.0/24 >/dev/null
strata run -d --name box --as machine --network blue --kernel "$linux" --disk "file,serial=file" --disk "$memory,serial=memory" \
    busybox sh -c 'while :; do sleep 1000; done' >/dev/null
within 60 inside true

# The host's devices and programs while the guest runs: a link comes and goes, a disk is made, a program computes.
ip link add strata-test type bridge
ip link set strata-test up
is "the host's link" "$(ip -o link show up dev strata-test | grep -c UP)" 1
ip link delete strata-test
is "the host's program" "$(seq 1 100000 | sha256sum | cut -c 1-8)" "$(inside 'seq 1 100000 | sha256sum | cut -c 1-8')"
loop=$(losetup --find --show image)
strata attach box --disk "$loop,serial=device" >/dev/null
within 20 has_it device

# What the guest writes is there on each of them, and what the host has there the guest reads.
for name in file memory device; do
    inside "echo written to $name | dd of=/dev/$(device $name) bs=512 conv=sync,fsync 2>/dev/null"
done
is "a file" "$(head -n 1 file)" "written to file"
is "memory" "$(head -n 1 "$memory")" "written to memory"
is "a device" "$(dd if="$loop" bs=512 count=1 iflag=direct 2>/dev/null | head -n 1)" "written to device"
is "read again" "$(inside "echo 3 >/proc/sys/vm/drop_caches; head -n 1 /dev/$(device device)")" "written to device"
strata detach box device >/dev/null
losetup -d "$loop"
loop=

# Its card is a tap of the host's bridge; another one's that of the user-mode network.
inside 'ping -c 1 -W 5 10.85.0.1' >/dev/null || fail "it does not reach the host"
strata stop -t 1s box >/dev/null
strata delete box >/dev/null
is "the user-mode network" "$(strata run --rm --as machine --network user --kernel "$linux" busybox sh -c \
    'ip -4 -o address show dev eth0 | tr -s " " | cut -d " " -f 4; ping -c 1 -W 5 10.0.2.2 >/dev/null && echo reached' </dev/null)" "10.0.2.100/24
reached"
