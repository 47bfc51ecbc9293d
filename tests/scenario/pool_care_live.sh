#!/bin/sh
# Care of pools under load: members are emptied, die and are replaced while clients write to
# volumes; who wrote finds all of it, and the members that were given back can be unmounted.
# timeout: 300
# long
# rows: STO-06 STO-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-img qemu-io fio python3 mount umount
# load NAME - random writes to all but the first 8 MiB, verified at the end; its process in $writer
load() {
    fio --name="$1" --ioengine=nbd --uri="nbd+unix:///?socket=$WORK/$1.sock" --rw=randwrite --bs=4k --iodepth=4 \
        --offset=8M --size=16M --loops=1000 --rate_iops=2000 --time_based --runtime="$2" --verify=crc32c --do_verify=1 --verify_fatal=1 \
        --verify_backlog=256 --verify_state_save=0 --output="$WORK/$1.fio" >/dev/null 2>&1 &
    writer=$!
    servers="$servers $writer"
    sleep 1
}
# The load has seen no error, and read what it wrote.
loaded() {
    wait "$writer" || fail "$1: $(cat "$WORK/$1.fio")"
    grep -q "err= 0" "$WORK/$1.fio" || fail "$1: $(cat "$WORK/$1.fio")"
}
killed=
knows_kills && killed=yes
head -c 8388608 /dev/urandom >"$WORK/a"
for i in 1 2 3 4; do
    mkdir "$WORK/t$i"
    mount -t tmpfs -o size=256M pool "$WORK/t$i"
done

# ---- a plain disk with snapshots and a clone leaves its member under load ----
strata pool create --member "$WORK/t1" p >/dev/null
strata volume create --pool p --size 32M d >/dev/null
serve_at "$WORK/d" d
d=$server
live_at "$WORK/d" -c "write -s $WORK/a 0 8M"
strata volume snapshot d one >/dev/null
strata volume clone d@one c >/dev/null
serve_at "$WORK/c" c
c=$server
strata pool add p --member "$WORK/t2" >/dev/null
load d 12
if [ -n "$killed" ]; then
    for step in leaving frozen made copied swapped recorded removed; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove p 1 >/dev/null 2>&1 || true
        live_at "$WORK/c" -r -c "read -P 0 20M 1M"
    done
fi
strata pool remove p 1 >/dev/null || fail "remove under load"
umount "$WORK/t1" || fail "somebody still has files of a member that was given back"
loaded d
live_at "$WORK/d" -c "write -P 4 0 1M" -c "read -P 4 0 1M"
stop "$d"
stop "$c"
qemu-img compare -q -f raw -F raw "$WORK/a" "$WORK/a"
strata volume clone d@one check >/dev/null
strata volume export check --file "$WORK/check.raw" >/dev/null
cmp -n 8388608 "$WORK/check.raw" "$WORK/a" || fail "the snapshot"
file=$(strata volume inspect --json d | sed -n 's/^ *"path": "\(.*\)",$/\1/p')
strata volume export d --file "$WORK/d.raw" >/dev/null
qemu-img compare -q -f qcow2 -F raw "$file" "$WORK/d.raw" || fail "what QEMU reads of it"
for name in check c d; do within 5 "$STRATA" --state "$STATE" volume delete --snapshots "$name" >/dev/null 2>&1; done
strata pool delete p >/dev/null
mount -t tmpfs -o size=256M pool "$WORK/t1"

# ---- copies: a member dies under load, another takes its place, a third is given back ----
copies() {
    kind=$1 last=$2
    args=
    for i in $(seq "$last"); do args="$args --member $WORK/t$i"; done
    # shellcheck disable=SC2086
    strata pool create --force --redundancy "$kind" $args k >/dev/null
    strata volume create --pool k --size 32M d >/dev/null
    serve_at "$WORK/d" d
    d=$server
    live_at "$WORK/d" -c "write -s $WORK/a 0 8M"
    strata volume snapshot d one >/dev/null
    load d 12
    # Dead: its file system is gone, the worker's descriptors of it are cut off by a full one.
    rm -rf "$WORK/t2/layers" "$WORK/t2/.strata-pool"
    is "$kind: degraded" "$(pool k 'p["degraded"]')" "['d']"
    mkdir -p "$WORK/n$kind"
    mount -t tmpfs -o size=256M pool "$WORK/n$kind"
    servers_mounts="$WORK/n$kind"
    if [ -n "$killed" ]; then
        for step in made replaced recorded; do
            STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool replace k 2 "$WORK/n$kind" >/dev/null 2>&1 || true
        done
    fi
    strata pool replace k 2 "$WORK/n$kind" >/dev/null || fail "$kind: replace under load"
    is "$kind: whole" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
    # Scrubbed under load, no write is taken for a difference; slowly, it is interrupted.
    strata pool scrub k >/dev/null || fail "$kind: scrub under load: $(strata pool scrub k)"
    begin=$(date +%s)
    "$STRATA" --state "$STATE" pool scrub --rate 100K k >/dev/null 2>&1 &
    slow=$!
    sleep 1
    kill -INT $slow 2>/dev/null || true
    kill -TERM $slow 2>/dev/null || true
    wait $slow && fail "$kind: a scrub at 100 KiB/s of 32 MiB was done in a second"
    [ $(($(date +%s) - begin)) -le 5 ] || fail "$kind: a scrub does not end"
    loaded d
    # What the new one has is whole.
    live_at "$WORK/d" -c "write -P 9 0 1M" -c flush
    stop "$d"
    within 10 umount "$WORK/t1" # once the server has ended
    serve_at "$WORK/d" d
    live_at "$WORK/d" -r -c "read -P 9 0 1M"
    strata volume clone d@one check >/dev/null 2>&1 || true
    stop "$server"
    within 10 is_free d
    strata volume export d --file "$WORK/$kind.raw" >/dev/null
    cmp -i 1048576 -n 7340032 "$WORK/$kind.raw" "$WORK/a" || fail "$kind: the rest"
    for name in check d; do "$STRATA" --state "$STATE" volume delete --snapshots "$name" >/dev/null 2>&1 || true; done
    is "$kind: deleted" "$(pool k 'p["volumes"]')" "[]"
    strata pool delete k >/dev/null
    within 10 umount "$WORK/n$kind"
    rm -f "$WORK/$kind.raw"
    for i in 1 2 3 4; do
        umount "$WORK/t$i" 2>/dev/null || true
        mount -t tmpfs -o size=256M pool "$WORK/t$i"
    done
}
copies mirror 2
copies raid5 3
copies raid10 4

# ---- a span under load ----
head -c 67108864 /dev/urandom >"$WORK/wide"
for i in 1 2 3; do
    umount "$WORK/t$i"
    mount -t tmpfs -o size=80M pool "$WORK/t$i"
done
strata pool create --redundancy span --member "$WORK/t1" --member "$WORK/t2" s >/dev/null
strata volume create --pool s --size 64M d >/dev/null
serve_at "$WORK/d" d
d=$server
live_at "$WORK/d" -c "write -s $WORK/wide 0 64M" -c flush
strata pool add s --member "$WORK/t3" >/dev/null
load d 8
# The first member has a copy of the map, too.
if [ -n "$killed" ]; then
    for step in made replaced mapped recorded removed; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove s "$WORK/t1" >/dev/null 2>&1 || true
        live_at "$WORK/d" -r -c "read -P 0 0 0" >/dev/null 2>&1 || true
    done
fi
if strata pool inspect s | grep -q "$WORK/t1"; then
    strata pool remove s "$WORK/t1" >/dev/null || fail "the span"
fi
umount "$WORK/t1" || fail "somebody still has files of a member that was given back"
loaded d
stop "$d"
within 10 is_free d
strata volume export d --file "$WORK/d.whole" >/dev/null
cmp -n 8388608 "$WORK/d.whole" "$WORK/wide" || fail "span: what stands before the load"
cmp -i 25165824 "$WORK/d.whole" "$WORK/wide" || fail "span: what stands behind it"
strata volume delete d >/dev/null
strata pool delete s >/dev/null

# One that is lost and had nothing but a copy of the map: the worker puts nothing new there.
mount -t tmpfs -o size=80M pool "$WORK/t1"
strata pool create --redundancy span --member "$WORK/t1" --member "$WORK/t2" --member "$WORK/t3" s >/dev/null
strata volume create --pool s --size 64M d >/dev/null
serve_at "$WORK/d" d
d=$server
rm -rf "$WORK/t1/layers" "$WORK/t1/.strata-pool"
strata pool remove --lost s 1 >/dev/null || fail "a lost one"
umount "$WORK/t1" || fail "somebody still has files of a lost member"
live_at "$WORK/d" -c "write -s $WORK/wide 0 64M" -c flush
stop "$d"
within 10 is_free d
is "copies" "$(find "$WORK/t2" "$WORK/t3" -name '*.map' | cut -d/ -f4 | sort | tr '\n' ' ')" "t2 t3 "
rm -f "$WORK/d.whole"
strata volume export d --file "$WORK/d.whole" >/dev/null
cmp "$WORK/d.whole" "$WORK/wide" || fail "after a lost member"
strata volume delete d >/dev/null
strata pool delete s >/dev/null
