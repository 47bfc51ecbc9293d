#!/bin/sh
# Pools of devices under stress: every redundancy over several of them, disks that move while
# they are written, devices that are full and that grow, commands that are killed at each step.
# timeout: 600
# long
# rows: STO-02 STO-03 STO-06 STO-10 STO-32
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3 losetup

for i in 1 2 3 4; do
    device 96M "$i.img"
    eval "d$i=$dev"
done

# Redundancy: one device is lost, nothing else is; it is made equal when it is back.
for kind in mirror raid5 raid6 raid10 raid0 span; do
    strata pool create --redundancy $kind --member "$d1" --member "$d2" --member "$d3" --member "$d4" p >/dev/null
    strata volume create --pool p --size 32M v >/dev/null
    io v -c 'write -P 1 0 4M' -c 'write -P 2 30M 1M'
    if [ $kind != raid0 ] && [ $kind != span ]; then
        losetup -d "$d2"
        has "$kind: lost" "$(members v)" "degraded"
        io v -c 'read -P 1 0 4M' -c 'read -P 2 30M 1M' -c 'write -P 3 1M 1M'
        within 10 losetup "$d2" "$WORK/2.img"
        strata volume check --repair v >/dev/null
        is "$kind: equal" "$(members v)" "ok ok ok ok ok"
        losetup -d "$d1"
        io v -c 'read -P 1 0 1M' -c 'read -P 3 1M 1M' -c 'read -P 2 30M 1M'
        within 10 losetup "$d1" "$WORK/1.img"
        strata volume check --repair v >/dev/null
    else
        io v -c 'write -P 3 1M 1M'
    fi
    strata volume snapshot v one >/dev/null
    io v -c 'read -P 1 0 1M' -c 'write -P 4 0 1M' -c 'read -P 3 1M 1M'
    strata volume clone v@one c >/dev/null
    io c -c 'read -P 1 0 1M' -c 'read -P 3 1M 1M' -c 'read -P 2 30M 1M'
    strata volume delete c >/dev/null
    strata volume delete --snapshots v >/dev/null
    is "$kind: nothing is left" "$(carved "$d1")$(carved "$d2")$(carved "$d3")$(carved "$d4")" ""
    strata pool delete p >/dev/null
done

# From device to directory and back while a client writes; locate says where on the device.
strata pool create --member "$d1" one >/dev/null
strata pool create --member "$WORK/dir" dir >/dev/null
strata volume create --pool one --size 32M v >/dev/null
io v -c 'write -P 66 5M 64k'
where=$(strata volume locate --json v 5M)
is "device" "$(echo "$where" | sed -n 's/^ *"device": "\(.*\)",*$/\1/p')" "$d1"
at=$(echo "$where" | sed -n 's/^ *"device_offset": \([0-9]*\),*$/\1/p')
is "its bytes" "$(dd if="$d1" bs=512 skip=$((at / 512)) count=1 2>/dev/null | tr -d B | wc -c)" 0
serve v
live -c 'write -P 7 8M 4M' -c flush
for pool in dir one dir one; do
    strata volume move v $pool >/dev/null
    live -c 'read -P 7 8M 4M' -c 'read -P 66 5M 64k'
    strata volume snapshot v now >/dev/null
    live -c 'write -P 9 20M 64k' -c flush
    strata volume clone v@now c >/dev/null
    strata volume delete c >/dev/null
    strata volume snapshot --delete v now >/dev/null
done
is "nothing stays" "$(ls "$WORK/dir/layers")" ""
strata volume snapshot v then >/dev/null
live -c 'write -P 10 21M 64k' -c flush
mkdir "$WORK/backup"
strata volume backup v "$WORK/backup" >/dev/null
live -c 'write -P 11 22M 64k' -c flush
strata volume backup v "$WORK/backup" >/dev/null
kill "$server"
wait "$server" || true
strata volume restore "$WORK/backup" back >/dev/null
io back -c 'read -P 7 8M 4M' -c 'read -P 10 21M 64k' -c 'read -P 11 22M 64k'
strata volume delete --snapshots v >/dev/null
strata volume delete --snapshots back >/dev/null
is "nothing is left" "$(carved "$d1")" ""

# Full: writers are told, what was there stays, and a device that grows is used.
strata volume create --pool one --size 1G big >/dev/null
io big -c 'write -P 1 0 64M'
serve big
qemu-io -f raw -c 'write -P 2 64M 64M' "nbd:unix:$WORK/served.sock" >/dev/null 2>&1 && fail "more than there is"
is "full" "$(member one "$d1" state)" full
live -c 'read -P 1 0 64M'
truncate -s 192M "$WORK/1.img"
losetup -c "$d1"
is "grown" "$(member one "$d1" state)" ok
live -c 'write -P 3 64M 64M' -c flush -c 'read -P 1 0 64M' -c 'read -P 3 64M 64M'
kill "$server"
wait "$server" || true
io big -c 'read -P 1 0 64M' -c 'read -P 3 64M 64M'
strata volume delete big >/dev/null

# Killed at each step: the next command goes on as if it had been done or never begun.
grep -qa STRATA_FAULT "$STRATA" || exit 0
sweep() {
    what=$1 prepare=$2
    shift 2
    for n in $(seq 1 40); do
        $prepare
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 || code=$?
        strata volume create --pool one --size 1M next >/dev/null || fail "$what, step $n: the next"
        strata volume delete next >/dev/null || fail "$what, step $n: the next but one"
        for name in $(strata volume list --quiet); do
            strata volume check "$name" >/dev/null || fail "$what, step $n: check of $name"
            strata volume delete --snapshots "$name" >/dev/null || fail "$what, step $n: delete"
        done
        is "$what, step $n: nothing is left" "$(carved "$d1")" ""
        [ $code != 0 ] || return 0
    done
    fail "$what: too many steps"
}
none() { :; }
plain() { strata volume create --pool one --size 4M v >/dev/null; }
kept() {
    plain
    strata volume snapshot v one >/dev/null
}
sweep "create" none volume create --pool one --size 4M v
sweep "snapshot" plain volume snapshot v one
sweep "clone" kept volume clone v@one c
sweep "forget" kept volume snapshot --delete v one
sweep "delete" kept volume delete --snapshots v
strata pool delete one >/dev/null
