#!/bin/sh
# Care of pools: a member is emptied and given back, another takes its place, copies are
# compared; what is killed on the way is run again, and nothing that was written is missing.
# timeout: 300
# long
# rows: STO-06 STO-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-img qemu-io python3 mount umount
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
empty() { is "$2" "$(find "$WORK/$1" -mindepth 1 2>/dev/null)" ""; }
killed=
knows_kills && killed=yes
for i in 1 2 3 4 5 6; do mkdir "$WORK/m$i"; done

# ---- plain files: a tree of layers leaves a member ----
head -c 8388608 /dev/urandom >"$WORK/a"
cp "$WORK/a" "$WORK/b"
dd if=/dev/urandom of="$WORK/b" bs=1M seek=2 count=1 conv=notrunc status=none
strata pool create --member "$WORK/m1" p >/dev/null
strata volume import --pool p "$WORK/a" r >/dev/null
strata volume create --pool p --size 8M --format qcow2 q >/dev/null
python3 - "$WORK" <<'PY'
import sys
for name in "ab":
    open(sys.argv[1] + "/" + name + ".2m", "wb").write(open(sys.argv[1] + "/" + name, "rb").read()[2 << 20:3 << 20])
PY
io q -c "write -s $WORK/a 0 8M"
strata volume snapshot q one >/dev/null
strata volume clone q@one c >/dev/null
io q -c "write -s $WORK/b.2m 2M 1M"
fails 1 strata pool remove p 1
has "the only one" "$OUT" "it is the only one"
strata pool add p --member "$WORK/m2" >/dev/null
fails 1 strata pool remove p 7
has "no such" "$OUT" "has no member '7'"
fails 1 strata pool remove --lost p 1
has "there" "$OUT" "it is there"
fails 1 strata pool remove default 1
if [ -n "$killed" ]; then
    # At each step, and again where it was; in between all is right, and written on.
    for step in leaving made copied recorded removed; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove p 1 >/dev/null 2>&1 || true
        same r "$WORK/a" "$step"
        same q "$WORK/b" "$step"
        same c "$WORK/a" "$step"
        io c -c "write -s $WORK/a 0 8M"
        strata volume create --pool p --size 1M "new.$step" >/dev/null
        has "not where it is left" "$(path "new.$step")" /m2/
        strata volume delete "new.$step" >/dev/null
    done
    is "leaving" "$(pool p '[m.get("leaving", False) for m in p["members"]]')" "[True, False]"
fi
strata pool remove p "$WORK/m1" >/dev/null
empty m1 "given back"
is "members" "$(pool p '[m["id"] for m in p["members"]]')" "[2]"
same r "$WORK/a" after
same q "$WORK/b" after
same c "$WORK/a" after
# Other tools find what stands on what.
qemu-img compare -q -f qcow2 -F raw "$(path q)" "$WORK/b" || fail "q by its path"
qemu-img compare -q -f raw -F raw "$(path r)" "$WORK/a" || fail "r by its path"
is "nothing is left over" "$(find "$WORK/m2/layers" -type f | wc -l)" 4

# ---- replaced while it is there; a second command has to wait ----
if [ -n "$killed" ]; then
    STRATA_FAULT=kill:care.labelled "$STRATA" --state "$STATE" pool replace p 2 "$WORK/m1" >/dev/null 2>&1 || true
    for step in taken-in copied recorded forgotten; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool replace p 2 "$WORK/m1" >/dev/null 2>&1 || true
        same q "$WORK/b" "replace, $step"
    done
    fails 1 strata pool replace p 2 "$WORK/m1" # the last one had done it all
    is "members" "$(pool p '[(m["id"], m["path"][-2:]) for m in p["members"]]')" "[(3, 'm1')]"
else
    strata pool replace p 2 "$WORK/m1" >/dev/null
    empty m2 "replaced"
fi
same r "$WORK/a" replaced
same q "$WORK/b" replaced
same c "$WORK/a" replaced
strata volume delete --snapshots c >/dev/null
strata volume delete --snapshots q r >/dev/null
strata pool delete p >/dev/null
rm -rf "$WORK/m2" "$WORK/m1"
mkdir "$WORK/m1" "$WORK/m2"

# ---- what would be lost is said, and nothing is changed ----
for i in 1 2 3; do
    mkdir "$WORK/t$i"
    mount -t tmpfs -o size=96M pool "$WORK/t$i"
done
strata pool create l --member "$WORK/t1" --member "$WORK/t2" >/dev/null
strata volume import --pool l "$WORK/a" one >/dev/null
strata volume import --pool l "$WORK/a" two >/dev/null
at=$(path one)
at=$(dirname "$(dirname "$at")")
fails 1 strata pool remove --lost l "$at"
umount "$at"
fails 1 strata pool remove l "$at"
has "lost" "$OUT" "'--lost' removes it"
fails 1 strata pool remove --lost l "$at"
has "what" "$OUT" "would be lost: of 'one' layer"
has "how much" "$OUT" "(all of it)"
case $OUT in *two*) fail "named without a need: $OUT" ;; esac
fails 1 strata pool replace l "$at" "$WORK/t3"
has "replace" "$OUT" "would be lost: of 'one' layer"
is "named" "$(pool l '[p["lost"], [m["state"] for m in p["members"]].count("lost")]')" "[['one'], 1]"
is "nothing was claimed" "$(find "$WORK/t3" -mindepth 1)" ""
strata volume delete one >/dev/null
strata pool remove --lost l "$at" >/dev/null
same two "$WORK/a" "the other"
strata volume delete two >/dev/null
strata pool delete l >/dev/null
umount -l "$WORK"/t* 2>/dev/null || true

# ---- copies: a dead member is replaced, one that came back is made equal ----
copies() {
    kind=$1 count=$2 new=m6
    args=
    for i in $(seq "$count"); do args="$args --member $WORK/m$i"; done
    # shellcheck disable=SC2086
    strata pool create --force --redundancy "$kind" $args k >/dev/null
    strata volume create --pool k --size 8M --format qcow2 d >/dev/null
    io d -c "write -s $WORK/a 0 8M"
    strata volume snapshot d s >/dev/null
    io d -c "write -s $WORK/b.2m 2M 1M"
    is "$kind: well" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
    mv "$WORK/m2" "$WORK/away"
    is "$kind: degraded" "$(pool k '[p["state"], p.get("degraded"), p.get("lost")]')" "['lost', ['d'], None]"
    same d "$WORK/b" "$kind without one"
    io d -c "write -s $WORK/a.2m 2M 1M" # which the other one does not get
    mv "$WORK/away" "$WORK/m2"
    is "$kind: back" "$(pool k '[p["state"], p["members"][1]["state"], p["degraded"]]')" "['returned', 'returned', ['d']]"
    has "what to do" "$(pool k 'p["members"][1]["to_do"]')" "strata pool scrub --repair k"
    strata pool scrub --repair k >/dev/null || fail "$kind: scrub"
    is "$kind: equal" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
    mv "$WORK/m2" "$WORK/away"
    same d "$WORK/a" "$kind, without one"
    if [ -n "$killed" ]; then
        for step in taken-in made replaced recorded equal; do
            STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool replace k 2 "$WORK/$new" >/dev/null 2>&1 || true
            same d "$WORK/a" "$kind, killed at $step"
        done
    fi
    strata pool replace k 2 "$WORK/$new" >/dev/null || fail "$kind: replace"
    is "$kind: replaced" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
    # What it has is whole: any other one may go.
    mv "$WORK/m1" "$WORK/gone"
    same d "$WORK/a" "$kind: the new one counts"
    mv "$WORK/gone" "$WORK/m1"
    strata pool scrub k >/dev/null || fail "$kind: scrub"
    strata volume delete --snapshots d >/dev/null
    strata pool delete k >/dev/null
    rm -rf "$WORK/away"
    for i in 1 2 3 4 5 6; do
        rm -rf "$WORK/m$i"
        mkdir "$WORK/m$i"
    done
}
copies mirror 2
copies raid5 3
copies raid6 4
copies raid10 4

# A mirror whose member is gone for good has one copy until there is another member.
strata pool create --redundancy mirror --member "$WORK/m1" --member "$WORK/m2" k >/dev/null
strata volume create --pool k --size 8M d >/dev/null
io d -c "write -s $WORK/a 0 8M"
fails 1 strata pool remove k 2
has "nowhere" "$OUT" "has no other member that can take it"
rm -rf "$WORK/m2"
has "told" "$(strata pool remove --json --lost k 2)" "degraded until there is another member"
is "degraded" "$(pool k '[p["degraded"], len(p["members"])]')" "[['d'], 1]"
strata pool add k --member "$WORK/m3" >/dev/null
strata pool scrub --repair k >/dev/null
is "whole" "$(pool k '[p["state"], p.get("degraded")]')" "['ok', None]"
mv "$WORK/m1" "$WORK/gone"
same d "$WORK/a" "the second copy"
mv "$WORK/gone" "$WORK/m1"
strata pool scrub --repair k >/dev/null
strata pool add k --member "$WORK/m4" >/dev/null
strata pool remove k 1 >/dev/null
empty m1 "a mirror's member was given back"
same d "$WORK/a" "moved"

# Silent damage is found, and mended where it is known what is right.
file=$(find "$WORK/m3/layers" -type f)
dd if=/dev/urandom of="$file" bs=4096 seek=700 count=1 conv=notrunc status=none
fails 1 strata pool scrub k
has "found" "$OUT" damaged
is "in the record" "$(pool k '[p["last_scrub"]["found"], p["last_scrub"]["mended"]]')" "[1, 0]"
strata pool scrub --repair k >/dev/null
is "mended" "$(pool k '[p["last_scrub"]["found"], p["last_scrub"]["mended"]]')" "[1, 1]"
strata pool scrub k >/dev/null

# ---- the schedule ----
strata pool scrub --due | grep -q k && fail "nothing was asked for"
strata pool set --scrub-every 1s k >/dev/null
within 5 sh -c '[ -n "$("$STRATA" --state "$STATE" pool scrub --due --json | tr -d "[]\n ")" ]'
strata pool set --scrub-every 7d k >/dev/null
is "shown" "$(pool k '[p["scrub_every"], p["scrub_due"]]')" "['7d0h', False]"
is "not due" "$(strata pool scrub --due --json | tr -d '[]\n ')" ""
fails 1 strata pool scrub
has "which" "$OUT" "say which pools"
strata pool scrub --all >/dev/null
strata pool scrub --unit timer | grep -q OnCalendar || fail "the timer"
strata pool scrub --unit service | grep -q "pool scrub --due" || fail "the service"
strata pool set --scrub-every none k >/dev/null
is "not any more" "$(pool k 'p.get("scrub_every")')" None
strata volume delete d >/dev/null
strata pool delete k >/dev/null

# ---- a span: its segments leave ----
for i in 1 2 3; do mount -t tmpfs -o size=48M pool "$WORK/t$i"; done
head -c 50331648 /dev/urandom >"$WORK/wide"
strata pool create --redundancy span --member "$WORK/t1" --member "$WORK/t2" s >/dev/null
strata volume create --pool s --size 48M w >/dev/null
io w -c "write -s $WORK/wide 0 48M"
umount "$WORK/t2"
fails 1 strata pool remove --lost s 2
has "how much" "$OUT" " of 12 parts, "
mount -t tmpfs -o size=96M pool "$WORK/t2"
strata volume delete w >/dev/null
strata pool remove --lost s 2 >/dev/null
strata pool add s --member "$WORK/t3" >/dev/null
strata volume create --pool s --size 48M w >/dev/null
io w -c "write -s $WORK/wide 0 48M"
strata pool add s --member "$WORK/t2" >/dev/null
if [ -n "$killed" ]; then
    for step in made replaced equal evacuated recorded; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove s 1 >/dev/null 2>&1 || true
        same w "$WORK/wide" "span, $step"
    done
fi
strata pool remove s 1 >/dev/null
is "t1 is free" "$(find "$WORK/t1" -mindepth 1)" ""
umount "$WORK/t1"
same w "$WORK/wide" "span"
io w -c "write -P 5 0 48M" -c "read -P 5 0 48M"
strata volume delete w >/dev/null
strata pool delete s >/dev/null
is "nothing is left" "$(find "$WORK/t2" "$WORK/t3" -mindepth 1)" ""

# Its map: whoever leaves or is lost, it stays, and has a second copy where there is a second
# member with a piece.
maps() { find "$WORK"/m[1-6]/layers -name '*.map' 2>/dev/null | cut -d/ -f4 | tr '\n' ' '; }
for i in 1 2 3 4; do
    rm -rf "$WORK/m$i"
    mkdir "$WORK/m$i"
done
strata pool create --redundancy span --member "$WORK/m1" --member "$WORK/m2" --member "$WORK/m3" s >/dev/null
strata volume create --pool s --size 48M w >/dev/null
is "two of three" "$(maps)" "m1 m2 "
rm -rf "$WORK/m1"
strata pool remove --lost s 1 >/dev/null # nothing but the map was there
is "made anew" "$(maps | tr ' ' '\n' | sort | tr '\n' ' ')" "m2 m3 "
io w -c "write -s $WORK/wide 0 48M"
strata pool remove s 2 >/dev/null
is "one of one" "$(maps)" "m3 "
empty m2 "given back"
same w "$WORK/wide" "one map"
is "not degraded" "$(pool s '[p["state"], p.get("degraded")]')" "['ok', None]"
strata pool add s --member "$WORK/m4" >/dev/null
if [ -n "$killed" ]; then
    for step in made replaced equal mapped evacuated recorded; do
        STRATA_FAULT=kill:care.$step "$STRATA" --state "$STATE" pool remove s 3 >/dev/null 2>&1 || true
        same w "$WORK/wide" "its map, $step"
    done
fi
strata pool remove s 3 >/dev/null
is "the only one left" "$(maps)" "m4 "
empty m3 "given back"
same w "$WORK/wide" "moved with its map"
strata volume delete w >/dev/null
strata pool delete s >/dev/null
is "no map is left" "$(maps)" ""
