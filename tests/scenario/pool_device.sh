#!/bin/sh
# Pools of block devices: many thin disks on one device, with snapshots and clones; a device is
# known again by its label, what holds something is not taken, and room comes back.
# timeout: 300
# rows: STO-06 STO-07
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3 losetup
free() { member p "$one" free_bytes; }

device 64M one.img
one=$dev
device 64M two.img
two=$dev

# What holds something is not taken, unless one says so; what is another pool's never.
printf 'something' | dd of="$one" bs=512 seek=8 conv=notrunc 2>/dev/null
fails 1 strata pool create --member "$one" p
has "holds something" "$OUT" "it holds something"
truncate -s 1M "$WORK/file"
fails 1 strata pool create --member "$WORK/file" p
has "a file" "$OUT" "it is no directory and no device"
strata pool create --force --member "$one" p >/dev/null
fails 1 strata pool create --force --member "$one" q
has "another's" "$OUT" "it is one of pool 'p'"
is "state" "$(member p "$one" kind) $(member p "$one" state)" "device ok"
whole=$(free)
[ "$whole" -gt 60000000 ] || fail "room: $whole"

# A disk takes what is written to it, and gives back what is discarded.
strata volume create --pool p --size 1G d >/dev/null
is "thin" "$(free)" "$whole"
io d -c 'write -P 1 0 8M' -c 'write -P 2 900M 4M'
io d -c 'read -P 1 0 8M' -c 'read -P 2 900M 4M' -c 'read -P 0 8M 892M'
is "used" "$(field d used_bytes)" 12582912
[ "$(free)" -le $((whole - 12582912)) ] || fail "room: $(free) of $whole"
io d -c 'discard 0 8M'
io d -c 'read -P 0 0 8M' -c 'read -P 2 900M 4M'
is "given back" "$(field d used_bytes)" 4194304

# Snapshots and clones, which are images on the device.
strata volume snapshot d one >/dev/null
io d -c 'write -P 3 900M 1M' -c 'write -P 4 0 64k'
strata volume clone d@one c >/dev/null
io c -c 'read -P 2 900M 4M' -c 'read -P 0 0 1M' -c 'write -P 5 1M 1M'
io d -c 'read -P 3 900M 1M' -c 'read -P 2 901M 3M' -c 'read -P 4 0 64k' -c 'read -P 0 1M 1M'
is "checked" "$(strata volume check --json d | grep -c '"state": "ok"')" 2
strata volume snapshot --restore d one >/dev/null
io d -c 'read -P 2 900M 4M' -c 'read -P 0 0 64k'
strata volume resize d 2G >/dev/null
io d -c 'read -P 2 900M 4M' -c 'write -P 6 1900M 64k' -c 'read -P 6 1900M 64k'

# Another device at the path is not taken for it, and nothing is written to it.
losetup -d "$one"
within 10 losetup "$one" "$WORK/two.img"
is "another" "$(member p "$one" state)" lost
fails 1 strata volume create --pool p --size 1M no
has "says so" "$OUT" "there is no store on it"
has "its volumes" "$(strata volume inspect d)" "state: lost"
losetup -d "$one"
is "none" "$(member p "$one" state)" lost
is "untouched" "$(tr -d '\0' <"$WORK/two.img" | wc -c)" 0
within 10 losetup "$one" "$WORK/one.img"
is "back" "$(member p "$one" state)" ok
io c -c 'read -P 2 900M 4M' -c 'read -P 5 1M 1M'

# All goes, and the device is as it was.
strata volume delete c >/dev/null
strata volume delete --snapshots d >/dev/null
is "all room is back" "$(free)" "$whole"
strata pool delete p >/dev/null
strata pool create --member "$one" p >/dev/null
strata pool delete p >/dev/null
