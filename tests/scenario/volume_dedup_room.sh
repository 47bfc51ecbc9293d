#!/bin/sh
# A disk that keeps equal blocks once gives the room back that it does not need: after a discard, and
# after the end of a snapshot, while it is served or not.
# timeout: 180
# rows: STO-12
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3 mount umount
mkdir "$WORK/m1"
mount -t tmpfs -o size=200M pool "$WORK/m1"
on_exit() {
    pool_on_exit
    umount -l "$WORK/m1" 2>/dev/null || true
}
# What the file system of the member says: MiB
taken() { df -k "$WORK/m1" | awk 'NR == 2 { print int($3 / 1024) }'; }
# reclaimed - by the last scrub: MiB
reclaimed() {
    python3 -c 'import json, sys; print(sum(r.get("reclaimed", 0) for r in json.load(sys.stdin)) >> 20)' <"$WORK/rows"
}
scrub() { strata pool scrub --json "$@" p >"$WORK/rows" || fail "scrub: $(cat "$WORK/rows")"; }
head -c 25165824 /dev/urandom >"$WORK/a"
head -c 25165824 /dev/urandom >"$WORK/b"
strata pool create --member "$WORK/m1" p >/dev/null
strata volume create --pool p --size 64M --dedup d >/dev/null
serve_at "$WORK/d" d
live_at "$WORK/d" -c "write -s $WORK/a 0 24M" -c flush
full=$(taken)
[ "$full" -ge 24 ] || fail "24 MiB of different blocks take $full MiB"

# In use: what is discarded comes back by a scrub that mends, and by no other.
live_at "$WORK/d" -d unmap -c "discard 0 20M" -c flush
scrub
[ "$(taken)" -ge "$full" ] || fail "who only looks gave back: $full, $(taken)"
scrub --repair
[ "$(reclaimed)" -ge 19 ] || fail "20 MiB were discarded: $(cat "$WORK/rows")"
[ $((full - $(taken))) -ge 18 ] || fail "of $full MiB $(taken) are taken"
live_at "$WORK/d" -c "write -s $WORK/b 0 20M" -c "read -P 0 24M 8M" -c flush
scrub --repair
is "nothing to give" "$(reclaimed)" 0

# Nobody uses it.
live_at "$WORK/d" -d unmap -c "discard 0 16M" -c flush
stop "$server"
within 20 is_free d
full=$(taken)
scrub --repair
[ "$(reclaimed)" -ge 15 ] || fail "16 MiB were discarded: $(cat "$WORK/rows")"
[ $((full - $(taken))) -ge 14 ] || fail "of $full MiB $(taken) are taken, unused"
dd if="$WORK/a" of="$WORK/want" bs=1M skip=20 count=4 status=none
strata volume export d --file "$WORK/d.raw" >/dev/null
cmp -i 20971520:0 -n 4194304 "$WORK/d.raw" "$WORK/want" || fail "what was not discarded"
cmp -i 16777216 -n 4194304 "$WORK/d.raw" "$WORK/b" || fail "what was written last"
rm "$WORK/d.raw"

# The end of a snapshot: what was written over in it is room, without another word.
io d -c "write -s $WORK/a 0 24M" -c flush
strata volume snapshot d one >/dev/null
io d -c "write -s $WORK/b 0 24M" -c flush
both=$(taken)
strata volume snapshot --delete d one >/dev/null
[ $((both - $(taken))) -ge 20 ] || fail "of two times 24 MiB, $both, $(taken) are taken"
io d -c "read -P 0 24M 8M"
strata volume export d --file "$WORK/d.raw" >/dev/null
cmp -n 25165824 "$WORK/d.raw" "$WORK/b" || fail "after the end of the snapshot"
strata volume check d >/dev/null || fail "references"
strata volume delete d >/dev/null
strata pool delete p >/dev/null
