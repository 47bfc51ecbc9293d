#!/bin/sh
# The back end with QEMU as the monitor: its firmware and, where a kernel is installed, Linux as
# drivers; killed under load and started again; another size while the machine runs.
# rows: STO-11
#
#     qemu.sh SERVE-PROGRAM BOOT-SOURCE [GUEST-INIT [PART...]]
#
# Without GUEST-INIT: the firmware alone, and the first may be the program `volume`.
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
set -eu
serve=$1
boot=$2
init=${3:-}
[ $# -lt 3 ] || shift 3
parts=${*:-works killed moves grows}
work=$(mktemp -d /var/tmp/vhost-qemu-XXXXXX)
server=
machine=
finish() {
    for pid in $machine $server; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAIL: $*" >&2
    cat "$work/guest.log" "$work/qemu.log" "$work/serve.log" >&2 2>/dev/null || true
    exit 1
}
for tool in qemu-system-x86_64 as ld; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done

# start_server WORD...
start_server() {
    : >"$work/serve.out"
    if [ "${serve##*/}" = volume ]; then
        "$serve" vhost-user socket="$work/s" file="$work/disk" "$@" 3>"$work/serve.out" 2>>"$work/serve.log" &
    else
        "$serve" "$work/s" "$work/disk" "$@" >"$work/serve.out" 2>>"$work/serve.log" &
    fi
    server=$!
    for i in $(seq 100); do
        grep -q listening "$work/serve.out" && return 0
        sleep 0.05
    done
    fail "the server does not listen"
}
stop_server() {
    kill "$1" "$server"
    wait "$server" 2>/dev/null || [ "$1" = -KILL ] || fail "the server ended badly"
    server=
}

# start_machine MEGABYTES DEVICE-OPTIONS WORD...: QEMU in the background
start_machine() {
    memory=$1
    device=$2
    shift 2
    timeout 150 qemu-system-x86_64 -machine q35,accel=tcg -nodefaults -display none -m "$memory" \
        -object "memory-backend-memfd,id=mem,size=${memory}M,share=on" -numa node,memdev=mem \
        -chardev "socket,id=c,path=$work/s,reconnect=1" \
        -device "vhost-user-blk-pci,chardev=c$device" "$@" >"$work/guest.log" 2>"$work/qemu.log" &
    machine=$!
}
end_of_machine() {
    wait "$machine" || [ $? -eq "$1" ] || fail "QEMU ended badly"
    machine=
}

# ---- the firmware ----
as --32 -o "$work/boot.o" "$boot"
ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$work/boot.bin" "$work/boot.o"
for option in "" ",disable-legacy=on,num-queues=4" ",disable-modern=on"; do
    rm -f "$work/disk"
    truncate -s 1M "$work/disk"
    dd if="$work/boot.bin" of="$work/disk" conv=notrunc status=none
    dd if=/dev/urandom of="$work/disk" bs=512 seek=8 count=16 conv=notrunc status=none
    start_server
    start_machine 64 ",bootindex=1$option" -debugcon "file:$work/debug.log" \
        -device isa-debug-exit,iobase=0xf4,iosize=1
    end_of_machine $((79 * 2 + 1)) # 'O'
    stop_server -TERM
    [ "$(cat "$work/debug.log")" = O ] || fail "the boot sector with '$option'"
    dd if="$work/disk" bs=512 skip=8 count=16 status=none |
        LC_ALL=C tr '\000-\376\377' '\001-\377\000' >"$work/want"
    dd if="$work/disk" bs=512 skip=64 count=16 of="$work/have" status=none
    cmp "$work/want" "$work/have" || fail "what the boot sector wrote with '$option'"
done

# ---- Linux ----
[ -n "$init" ] || exit 0
root=${STRATA_LINUX:-}
kernel=$(find "$root/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
drivers=$root/lib/modules/${kernel##*/vmlinuz-}/kernel/drivers
if [ -z "$kernel" ] || [ ! -f "$drivers/block/virtio_blk.ko" ] || ! command -v busybox >/dev/null; then
    echo "skipped: no Linux kernel with its modules is installed"
    exit 77
fi
mkdir -p "$work/tree/m"
cp "$init" "$work/tree/init"
n=0
for name in virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev \
    virtio/virtio_pci block/virtio_blk; do
    cp "$drivers/$name.ko" "$work/tree/m/$n.ko"
    n=$((n + 1))
done
(cd "$work/tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"

# boot_linux TASK DEVICE-OPTIONS WORD...
boot_linux() {
    task=$1
    disk=$2
    shift 2
    start_machine 256 "$disk" -serial stdio -kernel "$kernel" -initrd "$work/initrd" -no-reboot \
        -append "console=ttyS0 quiet panic=-1 task=$task" "$@"
}
wait_for() {
    for i in $(seq 600); do
        grep -q "GUEST $1" "$work/guest.log" && return 0
        grep -q 'GUEST failed' "$work/guest.log" && fail "the guest"
        kill -0 "$machine" 2>/dev/null || fail "QEMU has ended"
        sleep 0.1
    done
    fail "the guest does not say '$1'"
}
new_disk() {
    rm -f "$work/disk"
    truncate -s 64M "$work/disk"
}

works() {
    for option in "" ",packed=on,num-queues=4" ",event_idx=off,indirect_desc=off"; do
        new_disk
        start_server
        boot_linux rw "$option"
        wait_for "all is well"
        end_of_machine 0
        stop_server -TERM
    done
}

# killed under load, again and again: the guest must not see more than a pause
killed() {
    for option in "" ",num-queues=4"; do
        new_disk
        start_server delay-ms=1
        boot_linux rw "$option"
        wait_for ready
        for round in 1 2 3 4 5; do
            sleep 0.7
            stop_server -KILL
            start_server delay-ms=1
        done
        stop_server -KILL
        start_server
        wait_for "all is well"
        end_of_machine 0
        stop_server -TERM
    done
}

# a machine that moves under load: its pages that the back end writes are in the log, or it
# would find old ones
monitor() {
    echo "$1" | nc -U -N -w 30 "$work/monitor" >"$work/said" 2>&1 || true
}
moves() {
    for option in "" ",packed=on,num-queues=2"; do
        new_disk
        start_server
        boot_linux rw "$option" -monitor "unix:$work/monitor,server=on,wait=off"
        wait_for ready
        monitor "migrate_set_parameter max-bandwidth 30M"
        monitor "migrate -d exec:cat>$work/state"
        for i in $(seq 400); do
            monitor "info migrate"
            grep -q 'Migration status: completed' "$work/said" && break
            grep -q 'Migration status: failed' "$work/said" && fail "the migration: $(cat "$work/said")"
            sleep 0.1
        done
        grep -q 'Migration status: completed' "$work/said" || fail "the migration does not end"
        monitor quit
        end_of_machine 0
        grep -q 'all is well' "$work/guest.log" && fail "the guest was ready before it moved"
        boot_linux rw "$option" -incoming "exec:cat $work/state"
        wait_for "all is well"
        end_of_machine 0
        stop_server -TERM
    done
}

grows() {
    new_disk
    start_server
    boot_linux size ""
    wait_for ready
    kill -USR1 "$server"
    wait_for "all is well"
    end_of_machine 0
    stop_server -TERM
}

for part in $parts; do
    [ "$part" != moves ] || command -v nc >/dev/null || continue
    "$part"
done
echo "firmware and Linux: all is well"
