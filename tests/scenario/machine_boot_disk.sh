#!/bin/sh
# A machine that starts by the kernel on its own disk: one that was installed in it, with its modules; a newer
# one that only the journal knows of; back to that of its image; disks without a kernel, and hostile ones.
# rows: OPS-01
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 600
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_blk
cd "$WORK"

version=${linux##*/vmlinuz-}
changed() { echo "$version" | sed "s/^./$1/"; } # a version of the same length
inside() { strata exec box sh -c "$1"; }
now() { inside 'uname -r'; }
cut_power() {
    strata kill box >/dev/null
    strata wait box >/dev/null || true
}
install_kernel() { # VERSION
    python3 "$TOP/tests/scenario/other_kernel.py" "$linux" "$elf" "${linux%/boot/*}/lib/modules/$version" "$1" "$WORK/$1" \
        "$TOP/src/resource/image/kernel/wanted.rows.h"
    tar -C "$1" -cf - . | strata cp - box:/
}

strata run -d --name box --as machine --network none --kernel "$linux" busybox sh -c 'while :; do sleep 1000; done' >/dev/null
elf=$(ls "$STATE"/kernels/*.elf)
is "the host's kernel" "$(now)" "$version"
fails 1 strata start --boot disk box
has "it runs" "$OUT" "it is running"
strata stop -t 1s box >/dev/null
fails 1 strata start --boot disk box
has "no kernel" "$OUT" "cannot boot guest 'box' from its disk: there is no kernel (boot/vmlinuz-*)"
strata start --boot image box >/dev/null

# Another one is installed.
install_kernel "$(changed 7)"
strata stop -t 1s box >/dev/null
strata start --boot disk box >/dev/null
is "its own kernel" "$(now)" "$(changed 7)"
has "and its modules" "$(inside 'cat /proc/modules')" virtio_blk
made=$(ls "$STATE/kernels")
strata restart -t 1s box >/dev/null
is "the next time, too" "$(now)" "$(changed 7)"
is "found again" "$(ls "$STATE/kernels")" "$made"

# A newer one; the power is cut when the journal has it, and not yet the file system.
install_kernel "$(changed 8)"
inside "echo half >/boot/vmlinuz-$(changed 9).dpkg-new; sync"
cut_power
strata start box >/dev/null
is "the newest" "$(now)" "$(changed 8)"

# What is no kernel, and what leads elsewhere.
root=$(ls "$STATE"/guests/*/disk/root.qcow2)
refused() { # REASON SCRIPT - done in the guest, it does not start from its disk, which was only read
    inside "$2; sync"
    cut_power
    before=$(md5sum <"$root")
    fails 1 strata start --boot disk box
    has "$2" "$OUT" "$1"
    is "the disk, after $2" "$(md5sum <"$root")" "$before"
}
restored() { strata start --boot image box >/dev/null; }
refused "'boot/vmlinuz-99' is no file: links are not followed" 'ln -s /etc/shadow /boot/vmlinuz-99'
restored
refused "'boot/vmlinuz-99' is no file" 'rm /boot/vmlinuz-99; mkdir /boot/vmlinuz-99'
restored
refused "'boot/vmlinuz-99' is no kernel" 'rmdir /boot/vmlinuz-99; echo nonsense >/boot/vmlinuz-99'
restored
refused "there is no kernel" 'mv /boot /elsewhere; ln -s /elsewhere /boot'
restored
# A name of the host's in the place of a kernel that is taken as it is: nothing of the host is.
refused "cannot boot" 'rm /boot; mkdir /boot; head -c 100000 /dev/urandom >/boot/vmlinuz-99'
restored
refused "file system" 'for d in /dev/vd?; do dd if=/dev/zero of=$d bs=1k count=8; done 2>/dev/null'
strata delete --force box >/dev/null

# Where there is no disk of its own, or two kernels are named.
fails 125 strata run --rm --as machine --kernel "$linux" --boot disk busybox true
has "two kernels" "$OUT" "cannot use --boot and --kernel together"
fails 125 strata run --rm --as machine --kernel "$linux" --boot disk
has "no image" "$OUT" "cannot use --boot with a machine that has no image"
strata create --name bare --as machine --kernel "$linux" >/dev/null
fails 1 strata start --boot disk bare
has "none of its own" "$OUT" "it was not made from an image"
