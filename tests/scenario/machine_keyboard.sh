#!/bin/sh
# A machine with a screen has a keyboard: a BIOS hands out what is typed on it, and so does Linux; also behind a pause, a
# save, a reset.
# rows: MIO-07
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_root
need_cmd gcc python3
. "$TOP/tests/scenario/lib_linux.sh"
[ -e /usr/share/seabios/vgabios-stdvga.bin ] || skip "needs the package seabios"
need_linux virtio_pci
cd "$WORK"

type() { # GUEST KEYS...
    guest=$1
    shift
    for keys; do strata screen "$guest" --key "$keys"; done
}
# said GUEST PATTERN - what it wrote so far, in one line.
said() {
    within 20 sh -c '"$STRATA" --state "$STATE" logs "$1" | tr -d "\000\r\n" | grep -q "$2"' - "$1" "$2" ||
        fail "$1 said otherwise: $(strata logs "$1" | od -c | tail -n 5)"
}

# By the BIOS: characters and codes.
gcc -m32 -nostdlib -no-pie -fno-pic -Wl,--build-id=none -Wl,--oformat=binary -Wl,-Ttext=0x7c00 -o sector \
    "$TOP/tests/virt/monitor/screen/picture.S"
printf k | dd of=sector bs=1 seek=508 conv=notrunc 2>/dev/null
truncate -s 1M sector
strata run -d --name bios --as machine --firmware bios --screen --memory 64M --disk sector >/dev/null
said bios shown
type bios a shift-b enter f10 down
said bios 'shown.*a>BP<dp$'
! strata screen bios --key nonsense 2>err || fail "a key that there is not"
grep -q "there is no key 'nonsense'" err || fail "refused otherwise: $(cat err)"
! strata screen bios --key a --file picture.png 2>err || fail "keys and a picture at once"
strata pause bios >/dev/null
type bios c
strata resume bios >/dev/null
said bios 'dpcN$'
strata save bios >/dev/null
strata start bios >/dev/null
type bios d
said bios 'cNd@$'
strata reset bios >/dev/null
within 20 sh -c '[ $("$STRATA" --state "$STATE" logs bios | grep -c shown) = 2 ]' || fail "it did not start again"
type bios e
said bios 'e2$'
strata kill bios >/dev/null

# By Linux, which finds it by ACPI, sets it up and reads words from it; the three keys that end everything, too.
linux_initrd initrd <<'INIT'
dmesg | grep -o 'i8042: PNP: .*'
grep -o 'AT .*keyboard' /proc/bus/input/devices
echo 0 >/proc/sys/kernel/ctrl-alt-del
trap 'echo "three keys"; poweroff -f' INT
echo ready
read words </dev/tty1
echo "words: $words"
while :; do sleep 1; done
INIT
for engine in translate interpret; do
    strata run -d --name linux --as machine --network none --screen --engine $engine --kernel "$LINUX" --initrd initrd \
        --append 'console=ttyS0 quiet panic=-1' >/dev/null
    within 60 sh -c '"$STRATA" --state "$STATE" logs linux | grep -q ready' || fail "Linux did not start on $engine"
    strata logs linux >out
    grep -q '^i8042: PNP: PS/2 Controller' out || fail "the controller was not found: $(cat out)"
    grep -q '^AT .*keyboard' out || fail "the keyboard was not found: $(cat out)"
    type linux shift-h i space 4 2 minus x backspace y enter
    said linux 'words: Hi 42-y'
    type linux ctrl-alt-delete
    said linux 'three keys'
    strata wait linux >/dev/null
    strata delete linux >/dev/null
done

# Who has no screen has none of it.
strata run -d --name blind --as machine --network none --kernel "$LINUX" --initrd initrd \
    --append 'console=ttyS0 quiet panic=-1' >/dev/null
within 60 sh -c '"$STRATA" --state "$STATE" logs blind | grep -q ready'
! strata screen blind --key a 2>err || fail "keys without a keyboard"
grep -q 'has no screen' err || fail "refused otherwise: $(cat err)"
! strata logs blind | grep -q 'keyboard' || fail "a keyboard without a screen"
strata kill blind >/dev/null
