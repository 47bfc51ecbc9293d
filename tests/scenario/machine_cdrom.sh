#!/bin/sh
# A machine boots a disc by SeaBIOS and by OVMF before its disk, its kernel mounts that, and puts it out; a
# machine that is saved goes on with it under another engine.
# rows: MIO-04 FV-03
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 500
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/scenario/lib_linux.sh"
need_root
need_cmd grub-mkrescue xorriso gcc
need_linux scsi_common scsi_mod virtio_scsi cdrom sr_mod isofs
[ -e /usr/share/seabios/bios-256k.bin ] || skip "there is no SeaBIOS (Debian: seabios)"

printed() { strata logs "$1" | grep -q "$2"; }
ended() { [ "$(strata --json inspect "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["state"])')" = stopped ]; }

cd "$WORK"
mkdir -p disc/boot/grub
cp "$LINUX" disc/boot/vmlinuz
head -c 3000000 /dev/urandom >disc/data
cat >eject.c <<'C'
#include <fcntl.h>
#include <limits.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
int main(void)
{
    int fd = open("/dev/sr0", O_RDONLY | O_NONBLOCK);
    return ioctl(fd, CDROMEJECT) != 0 || ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) != CDS_TRAY_OPEN;
}
C
gcc -static -o eject eject.c
linux_initrd disc/boot/initrd "$WORK/eject" <<'WORDS'
mkdir -p /mnt
n=0
until [ -b /dev/sr0 ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done
mount -t iso9660 /dev/sr0 /mnt && echo "mounted: $(sha256sum </mnt/data)"
cat /sys/block/sr0/ro /sys/block/sr0/device/model /sys/block/sr0/size | tr '\n' ' '; echo
umount /mnt
[ -d /sys/firmware/efi ] && echo "by EFI" || echo "by BIOS"
/eject && echo "put out"
mount -t iso9660 /dev/sr0 /mnt && echo "shut again" # by the kernel
echo "end of the program"
WORDS
cat >disc/boot/grub/grub.cfg <<'WORDS'
set timeout=0
serial --unit=0
terminal_output serial
menuentry linux {
    linux /boot/vmlinuz console=ttyS0 quiet panic=-1
    initrd /boot/initrd
}
WORDS
grub-mkrescue -o disc.iso disc >mkrescue.log 2>&1 || fail "no disc: $(tail -3 mkrescue.log)"
sum=$(sha256sum <disc/data)

# A disk without anything on it, too: the disc comes first.
truncate -s 1M empty
strata run -d --name cd --as machine --firmware bios --cdrom disc.iso --disk empty --no-reboot --memory 512M >/dev/null
within 200 printed cd 'end of the program'
log=$(strata logs cd | tr -d '\r')
has "what is on it" "$log" "mounted: $sum"
has "the drive" "$log" "CD-ROM"
has "by which firmware" "$log" "by BIOS"
has "it opens" "$log" "put out"
has "it shuts" "$log" "shut again"
within 30 ended cd
strata delete --force cd >/dev/null

# Saved under one engine and on under another, in the midst of the disc.
linux_initrd initrd <<'WORDS'
mkdir -p /mnt
n=0
until [ -b /dev/sr0 ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done
mount -t iso9660 /dev/sr0 /mnt
echo ready
read -r word
echo 3 >/proc/sys/vm/drop_caches
echo "$word: $(sha256sum </mnt/data)"
read -r word
WORDS
strata run -d -i --name go --as machine --kernel "$LINUX" --initrd initrd --append "console=ttyS0 quiet panic=-1" \
    --cdrom disc.iso >/dev/null
within 60 printed go ready
strata save go >/dev/null
strata start go --engine interpret >/dev/null
printf 'saved\n' | timeout 1 "$STRATA" --state "$STATE" console go >/dev/null 2>&1 || true
within 100 printed go "saved: $sum"
strata delete --force go >/dev/null

# By UEFI, where there is one and GRUB for it.
if [ -e /usr/share/ovmf/OVMF.fd ] && [ -d /usr/lib/grub/x86_64-efi ] && command -v mformat >/dev/null; then
    strata run -d --name efi --as machine --firmware uefi --cdrom disc.iso --no-reboot --memory 512M >/dev/null
    within 200 printed efi 'end of the program'
    log=$(strata logs efi | tr -d '\r')
    has "what is on it" "$log" "mounted: $sum"
    has "by which firmware" "$log" "by EFI"
    strata delete --force efi >/dev/null
fi

# What is none.
fails 125 strata create --cdrom disc.iso busybox
has "a container" "$OUT" "cannot use --cdrom with a container"
fails 125 strata create --as machine --kernel "$LINUX" --cdrom none.iso
has "no file" "$OUT" "none.iso"
