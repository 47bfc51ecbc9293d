#!/bin/sh
# A member leaves a span while a disk is served that stands on a snapshot: the segments of layers that
# do not change any more move, too, and so does the copy of their map; killed at each step of it.
# timeout: 300
# long
# rows: STO-06 STO-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-img qemu-io python3 mount umount
head -c 33554432 /dev/urandom >"$WORK/wide"
for i in 1 2 3; do
    mkdir "$WORK/t$i"
    mount -t tmpfs -o size=80M pool "$WORK/t$i"
done
strata pool create --redundancy span --member "$WORK/t1" --member "$WORK/t2" s >/dev/null
strata volume create --pool s --size 32M d >/dev/null
serve_at "$WORK/d" d
d=$server
live_at "$WORK/d" -c "write -s $WORK/wide 0 32M" -c flush
strata volume snapshot d one >/dev/null
live_at "$WORK/d" -c "write -P 2 0 1M" -c flush
stop "$d"
within 10 is_free d
serve_at "$WORK/d" d # the snapshot is opened for reading only
d=$server
strata pool add s --member "$WORK/t3" >/dev/null
if knows_kills; then
    for step in made replaced mapped recorded removed; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove s "$WORK/t1" >/dev/null 2>&1 || true
        live_at "$WORK/d" -c "read -P 2 0 1M" -c "write -P 3 1M 64k" -c "read -P 3 1M 64k"
    done
fi
if strata pool inspect s | grep -q "$WORK/t1"; then
    strata pool remove s "$WORK/t1" >/dev/null || fail "remove"
fi
umount "$WORK/t1" || fail "somebody still has files of a member that was given back"
live_at "$WORK/d" -c "write -P 4 2M 64k" -c "read -P 2 0 1M" -c "read -P 3 1M 64k" -c "read -P 4 2M 64k"
# Two that read it: neither knows what the other moves, so nothing does.
strata volume clone d@one c >/dev/null
mount -t tmpfs -o size=80M pool "$WORK/t1"
strata pool add s --member "$WORK/t1" >/dev/null
serve_at "$WORK/c" c
c=$server
fails 1 strata pool remove s "$WORK/t2"
has "said" "$OUT" "others read it, too"
stop "$c"
within 10 is_free c
strata pool remove s "$WORK/t2" >/dev/null || fail "remove the other one"
umount "$WORK/t2" || fail "somebody still has files of the other member"
# Its server is killed afterwards: another finds all of it where it is.
worker=
for fd in /proc/[0-9]*/fd/*; do
    case $(readlink "$fd" 2>/dev/null) in "$WORK/t3"/layers/*)
        worker=${fd#/proc/}
        worker=${worker%%/*}
        break
        ;;
    esac
done
kill -9 "$worker"
wait "$d" || true
within 10 is_free d
io d -c "read -P 2 0 1M" -c "read -P 3 1M 64k" -c "read -P 4 2M 64k"
strata volume export c --file "$WORK/c.raw" >/dev/null
cmp "$WORK/c.raw" "$WORK/wide" || fail "the snapshot"
strata pool scrub s >/dev/null || fail "scrub: $(strata pool scrub s)"
strata volume delete c >/dev/null
strata volume delete --snapshots d >/dev/null
is "nothing is left" "$(find "$WORK/t1/layers" "$WORK/t3/layers" -type f)" ""
strata pool delete s >/dev/null
