#!/bin/sh
# A computer on the desk: a machine with the hardware that was chosen boots a disc, installs a distribution's kernel with a
# boot loader on its empty disk, starts from that, shows it on its screen, takes keys, and goes back to a snapshot.
# rows: SYS-07
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/scenario/lib_linux.sh"
need_root
need_cmd grub-mkrescue grub-mkimage xorriso gcc
need_linux scsi_common scsi_mod virtio_scsi cdrom sr_mod isofs failover net_failover virtio_net
font=/usr/share/seabios/vgabios-stdvga.bin
[ -e "$font" ] || skip "needs the package seabios"
[ -e /usr/lib/grub/i386-pc/boot.img ] || skip "needs the package grub-pc-bin"
cd "$WORK"

printed() { strata logs desk | tr -d '\r' | grep -q "$1"; }
shows() {
    strata screen desk >shot.png && python3 "$TOP/tests/scenario/picture.py" text shot.png "$font" >shot && grep -q "$1" shot
}
type() { for key; do strata screen desk --key "$key"; done; }

# The disc: its kernel asks for no more than what is on it, and a disk of 128 MiB.
mkdir -p disc/boot/grub
cp "$LINUX" disc/boot/vmlinuz
cp /usr/lib/grub/i386-pc/boot.img disc/boot/boot.img
grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o disc/boot/core.img biosdisk part_msdos ext2 linux normal
cat >eject.c <<'C'
#include <fcntl.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
int main(void)
{
    return ioctl(open("/dev/sr0", O_RDONLY | O_NONBLOCK), CDROMEJECT) != 0;
}
C
gcc -static -o eject eject.c
linux_initrd disc/boot/initrd "$WORK/eject" <<'WORDS'
mkdir -p /mnt /disc
disk=/dev/nvme0n1
if grep -q install /proc/cmdline; then
    n=0
    until [ -b /dev/sr0 ] && [ -b $disk ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done
    mount -t iso9660 /dev/sr0 /disc
    dd if=/disc/boot/boot.img of=$disk bs=440 count=1
    dd if=/disc/boot/core.img of=$disk bs=512 seek=1
    printf '\200\000\000\000\203\000\000\000\000\010\000\000\000\370\003\000' | dd of=$disk bs=1 seek=446
    printf '\125\252' | dd of=$disk bs=1 seek=510
    blockdev --rereadpt $disk
    sleep 1
    mke2fs ${disk}p1 && mount -t ext2 ${disk}p1 /mnt || mount -t ext4 ${disk}p1 /mnt
    mkdir -p /mnt/boot/grub /mnt/etc
    cp /disc/boot/vmlinuz /disc/boot/initrd /mnt/boot
    echo 'set timeout=0
menuentry system {
    linux /boot/vmlinuz console=ttyS0 console=tty1 quiet panic=-1
    initrd /boot/initrd
}' >/mnt/boot/grub/grub.cfg
    echo "as it was installed" >/mnt/etc/release
    umount /mnt /disc
    /eject && echo "it is installed" >/dev/ttyS0
    reboot -f
fi
mount -t ext4 ${disk}p1 /mnt
exec >/dev/ttyS0 2>&1
echo "hardware: $(nproc) processors, $(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1000 / 64 * 64)) MB and less than 64, $(cat /sys/block/nvme0n1/size) sectors of $(tr -d ' ' </sys/block/nvme0n1/device/model), $(ls /sys/class/net | grep -c eth) cards"
while :; do
    echo "system: $(cat /mnt/etc/release)"
    printf '\n\nThe system is %s.\n' "$(cat /mnt/etc/release)" >/dev/tty1
    read -r word </dev/tty1
    [ "$word" = off ] && break
    echo "$word" >/mnt/etc/release
    sync
done
umount /mnt
WORDS
cat >disc/boot/grub/grub.cfg <<'WORDS'
set timeout=0
menuentry install {
    linux /boot/vmlinuz console=ttyS0 quiet panic=-1 install
    initrd /boot/initrd
}
WORDS
grub-mkrescue -o disc.iso disc >mkrescue.log 2>&1 || fail "no disc: $(tail -3 mkrescue.log)"

# The order, and what comes of it.
truncate -s 128M desk.img
strata run -d --name desk --as machine --firmware bios --cpus 2 --memory 256M --disk desk.img,bus=nvme --cdrom disc.iso \
    --screen --network user >/dev/null
within 100 printed 'it is installed'
within 60 printed 'system: as it was installed'
has "the hardware that was ordered" "$(strata logs desk | tr -d '\r')" \
    "hardware: 2 processors, 192 MB and less than 64, 262144 sectors of StrataNVMedisk, 1 cards"
within 20 shows 'The system is as it was installed'
is "the order" "$(strata inspect --json desk | python3 -c 'import json, sys
g = json.load(sys.stdin)[0]; print(g["state"], g["config"]["cpus"], g["config"]["memory"] >> 20)')" "running 2000 256"

# Kept, spoiled, brought back: memory, screen and disk.
strata snapshot create desk good >/dev/null
type s p o i l t enter
within 20 printed 'system: spoilt'
within 20 shows 'The system is spoilt'
strata kill desk >/dev/null
strata wait desk >/dev/null || true
strata snapshot restore desk good >/dev/null
strata start desk >/dev/null
within 20 shows 'The system is as it was installed'
! grep -q spoilt shot || fail "what came later is on the screen"
is "it went on, and was installed once" "$(strata logs desk | grep -c 'it is installed')" 1

# It is used on, switched off by its own, and what it wrote is on its disk: seen when it starts from that, without a disc.
type m i n e enter
within 20 shows 'The system is mine'
type o f f enter
is "switched off" "$(strata wait desk)" 0
strata delete desk >/dev/null
strata run -d --name desk --as machine --firmware bios --disk desk.img,bus=nvme --screen >/dev/null
within 60 printed 'system: mine'
