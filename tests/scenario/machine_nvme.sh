#!/bin/sh
# Disks as NVMe controllers: Debian's kernel, SeaBIOS and OVMF drive them; they grow, come and go, and go on with
# a saved machine under another engine.
# rows: MIO-04 MIO-06 FV-01 OPS-04
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 500
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3 gcc debugfs e2fsck
need_busybox
linux_find

inside() { # SCRIPT
    strata exec web sh -c "$1"
}
device() { # SERIAL - how the guest calls it, if it has it
    inside "for d in /sys/block/nvme*; do if [ \"\$(tr -d ' ' <\$d/device/serial)\" = $1 ]; then basename \$d; fi; done"
}
has_it() { [ -n "$(device "$1" 2>/dev/null)" ]; }
lacks() { inside true && [ -z "$(device "$1" 2>/dev/null)" ]; }
has_sectors() { [ "$(inside "cat /sys/block/$(device "$1")/size")" = "$2" ]; }
rounds() { inside 'cat /rounds 2>/dev/null || echo 0'; }
goes_on() { [ "$(rounds)" -gt "$1" ]; }
uses() { # FILE - processes that have it open
    find /proc/[0-9]*/fd -lname "$1" 2>/dev/null | wc -l
}

cd "$WORK"
truncate -s 64M disk
truncate -s 8M work two
strata run -d --name web --as machine --kernel "$linux" --cpus 2 --disk disk,bus=nvme,serial=fast \
    --disk work,bus=nvme busybox sh -c 'while :; do sleep 1000; done' >/dev/null
is "inspect" "$(strata --json inspect web | python3 -c "import json, sys
print(*(d['bus'] for d in json.load(sys.stdin)[0]['machine']['disks']))")" "virtio nvme nvme"

# What it is.
fast=$(device fast)
is "its model" "$(inside "cat /sys/block/$fast/device/model" | sed 's/ *$//')" "Strata NVMe disk"
is "its queues" "$(inside "ls /sys/block/$fast/mq | wc -l")" 2
is "its blocks" "$(inside "cat /sys/block/$fast/queue/logical_block_size")" 512
is "its cache" "$(inside "cat /sys/block/$fast/queue/write_cache")" "write back"
has "one without a number is called after its slot" "$(inside 'cat /sys/block/nvme*/device/serial')" slot

# A file system, which the host reads.
sum=$(inside "mke2fs /dev/$fast >/dev/null && mkdir -p /mnt && mount -t ext4 /dev/$fast /mnt || mount -t ext2 /dev/$fast /mnt
    head -c 20000000 /dev/urandom >/mnt/data; sync; sha256sum </mnt/data; umount /mnt")
e2fsck -fn disk >fsck 2>&1 || fail "the host does not like the file system: $(cat fsck)"
debugfs -R "dump /data out" disk 2>/dev/null
is "what the guest wrote" "$(sha256sum <out)" "$sum"

# It grows.
strata resize web --disk fast=96M >/dev/null
within 10 has_sectors fast 196608

# Saved while it writes and reads back, on under other engines; nothing is lost and nothing fails.
work=$(inside 'cd /sys/block; ls -d nvme*' | grep -v "$fast")
inside "cat >/loop <<'LOOP'
n=0
while :; do
    head -c 65536 /dev/urandom >/want
    at=\$((n * 37 % 120))
    dd if=/want of=/dev/$work bs=64k seek=\$at oflag=direct conv=notrunc,fsync 2>/dev/null || echo write >>/failed
    dd if=/dev/$work bs=64k skip=\$at count=1 iflag=direct 2>/dev/null | cmp -s - /want || echo read >>/failed
    n=\$((n + 1))
    echo \$n >/rounds.new; mv /rounds.new /rounds
done
LOOP
sh /loop </dev/null >/dev/null 2>&1 &"
within 20 goes_on 5
for engine in interpret translate auto; do
    strata save web >/dev/null
    before=
    strata start web --engine $engine >/dev/null
    before=$(rounds)
    within 60 goes_on $((before + 3))
done
strata pause web >/dev/null
strata resume web >/dev/null
within 20 goes_on $(($(rounds) + 3))
is "what failed" "$(inside 'cat /failed 2>/dev/null || true')" ""
is "what the kernel says" "$(inside 'dmesg | grep -iE "nvme.*(timeout|abort|reset|error)" || true')" ""

# One comes, read only, and another; they go, and their files are nobody's.
strata attach web --disk two,bus=nvme,serial=two >/dev/null
within 10 has_it two
inside "echo hello | dd of=/dev/$(device two) bs=512 conv=sync,fsync 2>/dev/null"
is "what it wrote" "$(head -n 1 two)" hello
strata detach web two >/dev/null
lacks two || fail "the guest still has the disk"
is "open" "$(uses "$WORK/two")" 0
strata attach web --disk two,bus=nvme,read-only,serial=two >/dev/null
within 10 has_it two
is "read only" "$(inside "cat /sys/block/$(device two)/ro")" 1

# Killed in the midst of it; what was said to be durable is there.
inside "echo durable | dd of=/dev/$(device fast) seek=1000 bs=512 conv=sync,fsync 2>/dev/null"
strata kill web >/dev/null
strata wait web >/dev/null || true
is "after a kill" "$(dd if=disk bs=512 skip=1000 count=1 2>/dev/null | head -n 1)" durable
strata start web >/dev/null
within 60 has_it two
has_it fast || fail "the disk is not there after a start"
strata delete --force web >/dev/null

# By firmware: the first disk, whatever it is.
if [ -e /usr/share/seabios/bios-256k.bin ]; then
    gcc -m32 -nostdlib -no-pie -fno-pic -Wl,--build-id=none -Wl,--oformat=binary -Wl,-Ttext=0x7c00 -o sector \
        "$TOP/tests/virt/monitor/sector.S"
    truncate -s 4M sector
    truncate -s 1M empty
    for disks in "--disk sector,bus=nvme" "--disk sector,bus=nvme --disk empty" "--disk sector --disk empty,bus=nvme"; do
        code=0
        # shellcheck disable=SC2086
        timeout -k 5 60 "$STRATA" --state "$STATE" run --rm --as machine --firmware bios --memory 64M $disks \
            </dev/null >out 2>err || code=$?
        is "the first sector of $disks ($(cat err))" "$code" 33
        grep -q 'the second sector was read' out || fail "the second sector: $(cat out)"
    done
fi
if [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ]; then
    printf '%s\r\n' 'echo by EFI' 'reset -s' >script
    python3 "$TOP/tests/virt/monitor/fat.py" efi 32 STARTUP.NSH=script
    timeout -k 5 120 "$STRATA" --state "$STATE" run --rm --as machine --firmware uefi --network none --memory 256M \
        --disk efi,bus=nvme </dev/null >out 2>err || fail "by EFI: $(cat err)"
    grep -q 'by EFI' out || fail "the shell did not run the script: $(tail -n 20 out)"
fi

# What is none.
fails 125 strata run --as machine --kernel "$linux" --disk disk,bus=ide </dev/null
has "unknown" "$OUT" "bus=nvme"
