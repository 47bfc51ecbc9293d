#!/bin/sh
# Care of pools of devices: one is emptied and given back, dies, is replaced and compared, also
# under a writer and killed on the way; what was written is there, and the device is free again.
# timeout: 300
# long
# rows: STO-06 STO-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-img qemu-io python3 losetup
killed=
knows_kills && killed=yes
for i in 1 2 3 4; do
    device 96M "$i.img"
    eval "d$i=$dev"
done
head -c 8388608 /dev/urandom >"$WORK/a"
cp "$WORK/a" "$WORK/b"
dd if=/dev/urandom of="$WORK/b" bs=1M seek=2 count=1 conv=notrunc status=none
for name in a b; do dd if="$WORK/$name" of="$WORK/$name.2m" bs=1M skip=2 count=1 status=none; done
# Whoever wants it gets the device, without --force.
is_given_back() {
    strata pool create --member "$1" back >/dev/null || fail "$2: it is not given back"
    strata pool delete back >/dev/null
}

# ---- plain disks leave a device, while one of them is written ----
strata pool create --member "$d1" p >/dev/null
strata volume import --pool p "$WORK/a" r >/dev/null
strata volume create --pool p --size 8M --format qcow2 q >/dev/null
io q -c "write -s $WORK/a 0 8M"
strata volume snapshot q one >/dev/null
strata volume clone q@one c >/dev/null
io q -c "write -s $WORK/b.2m 2M 1M"
fails 1 strata pool remove p 1
strata pool add p --member "$d2" >/dev/null
if [ -n "$killed" ]; then
    for step in leaving made copied recorded removed; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove p 1 >/dev/null 2>&1 || true
        same r "$WORK/a" "$step"
        same q "$WORK/b" "$step"
        same c "$WORK/a" "$step"
    done
fi
serve_at "$WORK/live" q
live_at "$WORK/live" -c "write -s $WORK/a.2m 2M 1M" -c flush
strata pool remove p "$d1" >/dev/null || fail "remove under a writer"
is_given_back "$d1" "removed"
live_at "$WORK/live" -c "write -s $WORK/b.2m 2M 1M" -c flush
stop "$server"
within 10 is_free q
for pair in "r a" "q b" "c a"; do same "${pair% *}" "$WORK/${pair#* }" "after remove"; done
serve_at "$WORK/live" r
live_at "$WORK/live" -c "read 0 1M"
strata pool replace p "$d2" "$d1" >/dev/null || fail "replace under a reader"
is_given_back "$d2" "replaced"
live_at "$WORK/live" -c "write -s $WORK/b.2m 2M 1M" -c flush
stop "$server"
within 10 is_free r
for pair in "r b" "q b" "c a"; do same "${pair% *}" "$WORK/${pair#* }" "after replace"; done
losetup -d "$d1"
fails 1 strata pool remove --lost p "$d1"
strata pool add p --member "$d2" >/dev/null
fails 1 strata pool remove --lost p "$d1"
has "what is lost" "$OUT" "would be lost"
fails 1 strata pool remove p "$d1"
has "it is lost" "$OUT" "it is lost"
within 10 losetup "$d1" "$WORK/1.img"
for name in c q r; do strata volume delete --snapshots "$name" >/dev/null; done
strata pool delete p >/dev/null

# ---- copies: a dead device is replaced, one that came back is made equal ----
# damage DEVICE - one block of the data of a on that device is changed
damage() {
    python3 - "$1" "$WORK/a" <<'PY'
import sys
want = open(sys.argv[2], "rb").read()[4096 * 1000:4096 * 1001]
with open(sys.argv[1], "r+b") as d:
    at = d.read().find(want)
    assert at >= 0
    d.seek(at)
    d.write(bytes(4096))
PY
}
copies() {
    kind=$1 count=$2
    args=
    for i in $(seq "$count"); do eval "args=\"\$args --member \$d$i\""; done
    # shellcheck disable=SC2086
    strata pool create --force --redundancy "$kind" $args k >/dev/null
    strata volume create --pool k --size 8M d >/dev/null
    io d -c "write -s $WORK/a 0 8M"
    strata volume snapshot d s >/dev/null
    io d -c "write -s $WORK/b.2m 2M 1M"
    losetup -d "$d2"
    is "$kind: degraded" "$(pool k '[p["state"], p.get("degraded")]')" "['lost', ['d']]"
    io d -c "write -s $WORK/a.2m 2M 1M" # which the other one does not get
    within 10 losetup "$d2" "$WORK/2.img"
    is "$kind: back" "$(pool k '[p["state"], p["degraded"]]')" "['returned', ['d']]"
    strata pool scrub --repair k >/dev/null || fail "$kind: scrub"
    is "$kind: equal" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
    losetup -d "$d2"
    if [ -n "$killed" ]; then
        for step in taken-in made replaced recorded equal; do
            STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool replace k 2 "$d4" >/dev/null 2>&1 || true
            same d "$WORK/a" "$kind, killed at $step"
        done
    fi
    serve_at "$WORK/live" d
    strata pool replace k 2 "$d4" >/dev/null || fail "$kind: replace under a writer"
    live_at "$WORK/live" -c "write -s $WORK/b.2m 2M 1M" -c flush
    strata pool scrub k >/dev/null || fail "$kind: scrub"
    stop "$server"
    within 10 is_free d
    within 10 losetup "$d2" "$WORK/2.img"
    is "$kind: replaced" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
    losetup -d "$d1"
    same d "$WORK/b" "$kind: the new one counts"
    within 10 losetup "$d1" "$WORK/1.img"
    strata pool scrub --repair k >/dev/null
    if [ "$kind" = mirror ]; then
        damage "$d4"
        fails 1 strata pool scrub k
        has "found" "$OUT" damaged
        strata pool scrub --repair k >/dev/null
        is "mended" "$(pool k '[p["last_scrub"]["found"], p["last_scrub"]["mended"]]')" "[1, 1]"
        # One that is gone for good leaves one copy until there is another device.
        losetup -d "$d4"
        has "told" "$(strata pool remove --json --lost k "$d4")" "degraded until there is another member"
        within 10 losetup "$d4" "$WORK/4.img"
        dd if=/dev/zero of="$d4" bs=1M count=96 status=none # it says that it is one of the pool
        strata pool add k --force --member "$d3" >/dev/null
        strata pool scrub --repair k >/dev/null
        is "whole" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
        strata pool scrub k >/dev/null
    fi
    same d "$WORK/b" "$kind: at last"
    strata volume delete --snapshots d >/dev/null
    strata pool delete k >/dev/null
}
copies mirror 2
copies raid5 3

# ---- a span: its segments and its map leave under a writer ----
head -c 67108864 /dev/urandom >"$WORK/wide"
strata pool create --force --redundancy span --member "$d1" --member "$d2" s >/dev/null
strata volume create --pool s --size 64M w >/dev/null
serve_at "$WORK/live" w
live_at "$WORK/live" -c "write -s $WORK/wide 0 64M" -c flush
strata pool add s --force --member "$d3" >/dev/null
if [ -n "$killed" ]; then
    for step in made replaced mapped recorded; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove s 1 >/dev/null 2>&1 || true
        live_at "$WORK/live" -c "write -s $WORK/wide 0 64M"
    done
fi
if strata pool inspect s | grep -q "$d1"; then
    strata pool remove s "$d1" >/dev/null || fail "the span"
fi
is_given_back "$d1" "span"
stop "$server"
within 10 is_free w
same w "$WORK/wide" "span"
losetup -d "$d2"
fails 1 strata pool remove --lost s 2
has "how much" "$OUT" " of 16 parts, "
within 10 losetup "$d2" "$WORK/2.img"
strata volume delete w >/dev/null
is "nothing is left" "$(carved "$d2")$(carved "$d3")" ""
strata pool delete s >/dev/null
