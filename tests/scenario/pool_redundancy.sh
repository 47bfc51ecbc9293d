#!/bin/sh
# Pools that keep each volume on several members: what was written is there when one of them
# is lost, and that one is made equal when it is back.  Disks that are larger than a member.
# rows: STO-06 STO-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3 mount umount
# The process that has a file of that directory open.
holder() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$1"/*)
            p=${fd#/proc/}
            echo "${p%%/*}"
            return
            ;;
        esac
    done
}
files() { find "$WORK"/m[0-9]*/layers -type f 2>/dev/null | wc -l; }

mkdir "$WORK/m1" "$WORK/m2" "$WORK/m3" "$WORK/m4"
fails 1 strata pool create --redundancy raid7 --member "$WORK/m1" p
has "kind" "$OUT" "there is no redundancy 'raid7'"
fails 1 strata pool create --redundancy raid5 --member "$WORK/m1" --member "$WORK/m2" p
has "few" "$OUT" "wants 3 members or more"
is "not claimed" "$(find "$WORK/m1" -mindepth 1)" ""
strata pool create --redundancy mirror --member "$WORK/m1" --member "$WORK/m2" p >/dev/null
strata volume create --pool p --size 32M d >/dev/null
is "a file each" "$(files)" 2
is "whole" "$(members d)" "ok ok ok"
io d -c 'write -P 1 0 4M'

# One is lost: it goes on, and both know afterwards who has what.
mv "$WORK/m2" "$WORK/away"
is "lost" "$(members d)" "degraded ok lost"
io d -c 'read -P 1 0 4M' -c 'write -P 2 1M 1M' -c 'write -P 3 20M 64k'
fails 1 strata volume snapshot d no
has "too few" "$OUT" "fewer than 2 members"
mv "$WORK/away" "$WORK/m2"
case $(members d) in "degraded "*returned*) ;; *) fail "back: $(members d)" ;; esac
# The one that came back gets what it lacks.
"$STRATA" --state "$STATE" volume check --repair d >/dev/null || fail "repair"
is "equal" "$(members d)" "ok ok ok"
mv "$WORK/m1" "$WORK/away"
io d -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 1 2M 2M' -c 'read -P 3 20M 64k'
mv "$WORK/away" "$WORK/m1"
strata volume check --repair d >/dev/null
is "equal again" "$(members d)" "ok ok ok"

# Snapshots and clones are as safe.
strata volume snapshot d one >/dev/null
io d -c 'write -P 4 0 1M'
strata volume clone d@one c >/dev/null
io c -c 'read -P 1 0 1M' -c 'write -P 5 2M 1M'
mv "$WORK/m1" "$WORK/away"
io c -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 5 2M 1M' -c 'read -P 1 3M 1M'
io d -c 'read -P 4 0 1M' -c 'read -P 2 1M 1M' -c 'write -P 6 8M 1M'
mv "$WORK/away" "$WORK/m1"
strata volume check --repair d >/dev/null
strata volume check --repair c >/dev/null
is "all equal" "$(members d), $(members c)" "ok ok ok, ok ok ok"
mv "$WORK/m2" "$WORK/away"
io d -c 'read -P 4 0 1M' -c 'read -P 6 8M 1M' -c 'read -P 3 20M 64k'
mv "$WORK/away" "$WORK/m2"
strata volume snapshot --restore d one >/dev/null
io d -c 'read -P 1 0 1M' -c 'read -P 0 8M 1M'
# An image over members has another size, too.
strata volume resize d 96M >/dev/null
io d -c 'read -P 1 0 1M' -c 'read -P 0 64M 32M' -c 'write -P 9 90M 6M' -c 'write -P 8 40M 50M'
mv "$WORK/m1" "$WORK/away"
io d -c 'read -P 9 90M 6M' -c 'read -P 8 40M 50M'
mv "$WORK/away" "$WORK/m1"
strata volume check --repair d >/dev/null
fails 1 strata volume resize d 16M
strata volume resize --shrink d 16M >/dev/null
strata volume resize d 64M >/dev/null
io d -c 'read -P 1 0 1M' -c 'read -P 0 16M 48M'
strata volume delete --snapshots c >/dev/null
strata volume delete --snapshots d >/dev/null
is "nothing is left" "$(files)" 0

# While it is served: kept, cloned, its server killed in the middle of writes.
strata volume create --pool p --size 32M l >/dev/null
serve_at "$WORK/live" l
live_at "$WORK/live" -c 'write -P 1 0 8M'
strata volume snapshot l now >/dev/null
live_at "$WORK/live" -c 'read -P 1 0 8M' -c 'write -P 2 0 1M' -c flush
strata volume resize l 128M >/dev/null
live_at "$WORK/live" -c 'read -P 2 0 1M' -c 'read -P 0 32M 96M' -c 'write -P 3 32M 96M' -c 'read -P 3 32M 96M' -c flush
strata volume clone l@now lc >/dev/null
io lc -c 'read -P 1 0 8M'
worker=$(holder "$WORK/m1/layers")
kill -9 "$worker"
wait "$server" || true
io l -c 'read -P 2 0 1M' -c 'read -P 1 1M 7M'
mv "$WORK/m2" "$WORK/away"
io l -c 'read -P 2 0 1M' -c 'read -P 1 1M 7M'
mv "$WORK/away" "$WORK/m2"
strata volume delete lc >/dev/null
strata volume delete --snapshots l >/dev/null
is "live: nothing is left" "$(files)" 0

# A disk of its own can grow.
strata volume create --pool p --size 8M g >/dev/null
strata volume resize g 16M >/dev/null
io g -c 'write -P 7 12M 1M' -c 'read -P 0 0 8M'
strata volume delete g >/dev/null

# Killed at every step of its making, nothing is left by the next command.
if grep -qa STRATA_FAULT "$STRATA"; then
    for step in layer.announced layer.piece layer.arranged layer.made volume.create.recorded; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume create --pool p --size 1M k >/dev/null 2>&1 || true
        strata volume create --pool p --size 1M next >/dev/null
        strata volume delete next >/dev/null
        if strata volume inspect k >/dev/null 2>&1; then
            strata volume delete k >/dev/null
        fi
        is "$step" "$(files)" 0
    done
fi
strata pool delete p >/dev/null

# Arrays: any one member (of raid6 any two) may be lost.
array() {
    kind=$1 lost=$2
    strata pool create --force --redundancy "$kind" --member "$WORK/m1" --member "$WORK/m2" --member "$WORK/m3" \
        --member "$WORK/m4" q >/dev/null
    strata volume create --pool q --size 32M --format qcow2 a >/dev/null
    io a -c 'write -P 1 0 8M' -c 'write -P 2 3M 100k'
    for m in $lost; do mv "$WORK/m$m" "$WORK/away$m"; done
    io a -c 'read -P 1 0 3M' -c 'read -P 2 3M 100k' -c 'write -P 3 5M 1M'
    for m in $lost; do mv "$WORK/away$m" "$WORK/m$m"; done
    strata volume check --repair a >/dev/null
    strata volume snapshot a s >/dev/null
    [ -z "$lost" ] || mv "$WORK/m1" "$WORK/away1"
    io a -c 'read -P 1 0 3M' -c 'read -P 2 3M 100k' -c 'read -P 3 5M 1M' -c 'read -P 1 6M 2M'
    [ -z "$lost" ] || mv "$WORK/away1" "$WORK/m1"
    strata volume delete --snapshots a >/dev/null
    strata pool delete q >/dev/null
    is "$kind: nothing is left" "$(files)" 0
}
array raid5 2
array raid6 "2 3"
array raid10 "2 3"
array raid0 ""

# A span: a disk larger than any member, and a member that is lost takes only what lies there.
for i in 5 6; do
    mkdir "$WORK/m$i"
    mount -t tmpfs -o size=40M pool "$WORK/m$i"
done
strata pool create --redundancy span --member "$WORK/m5" --member "$WORK/m6" s >/dev/null
strata volume create --pool s --size 60M wide >/dev/null
is "two and two maps" "$(files)" 4
io wide -c 'write -P 1 0 30M' -c 'write -P 2 30M 30M'
io wide -c 'read -P 1 0 30M' -c 'read -P 2 30M 30M'
for i in 5 6; do
    used=$(du -sm "$WORK/m$i" | cut -f1)
    [ "$used" -ge 20 ] || fail "m$i has $used MiB only"
done
strata volume resize wide 64M >/dev/null
io wide -c 'read -P 2 30M 30M' -c 'read -P 0 60M 4M'
strata volume delete wide >/dev/null
mkdir "$WORK/m7" "$WORK/m8"
strata pool create --redundancy span --member "$WORK/m7" --member "$WORK/m8" two >/dev/null
strata volume create --pool two --size 64M wide >/dev/null
io wide -c 'write -P 1 0 30M' -c 'write -P 2 30M 30M'
# Either member may be lost, the first one too: what lies on the other is there.
# segments PATTERN - how many of the first 28 MiB can be read, and have it
segments() {
    serve wide --once --read-only
    set --
    for at in 0 4 8 12 16 20 24; do set -- "$@" -c "read -P 1 ${at}M 4M"; done
    said=$(qemu-io -r -f raw "$@" "nbd:unix:$WORK/served.sock" 2>&1) || true
    wait "$server" || true
    case $said in *"verification failed"*) fail "other bytes: $said" ;; esac
    echo "$said" | grep -c '^read 4194304/4194304'
}
mv "$WORK/m7" "$WORK/away"
without_7=$(segments)
mv "$WORK/away" "$WORK/m7"
mv "$WORK/m8" "$WORK/away"
without_8=$(segments)
mv "$WORK/away" "$WORK/m8"
is "each segment is on one" $((without_7 + without_8)) 7
[ "$without_7" -gt 0 ] && [ "$without_8" -gt 0 ] || fail "$without_7 and $without_8 segments"
# What was written while the first one was lost is known to its copy of the map afterwards.
mv "$WORK/m7" "$WORK/away"
io wide -c 'write -P 4 60M 4M' -c flush
mv "$WORK/away" "$WORK/m7"
io wide -c 'read -P 4 60M 4M' -c 'write -P 4 60M 4k' -c flush
mv "$WORK/m8" "$WORK/away"
is "afterwards" "$(segments)" "$without_8"
mv "$WORK/away" "$WORK/m8"
io wide -c 'read -P 4 60M 4M' -c 'read -P 1 0 30M' -c 'read -P 2 30M 30M'
strata volume delete wide >/dev/null
# A span of an earlier version has one map, without a superblock.
strata volume create --pool two --size 16M wide >/dev/null
old=$(python3 - "$STATE/store.db" <<'PY'
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for key, event, value in db.execute("select item.key, event.rowid, value from item join event using (id) where version > 0").fetchall():
    if key.startswith("/layers/") and json.loads(value).get("maps"):
        old = json.loads(value)
        del old["maps"]
        db.execute("update event set value = ? where rowid = ?", (json.dumps(old), event))
        print(old["id"], old["pieces"][0])
db.commit()
PY
)
id=${old% *} first=$WORK/m$((6 + ${old#* }))
rm "$WORK/m7/layers/$id.map" "$WORK/m8/layers/$id.map"
: >"$first/layers/$id.map"
"$(dirname "$STRATA")/volume" arrange "node=map,file,path=$first/layers/$id.map" format=span size=16M \
    top=map pieces=2 segment=4M 3>&1 | grep -qx ok || fail "an old map"
io wide -c 'write -P 5 0 16M' -c 'read -P 5 0 16M'
io wide -c 'read -P 5 0 16M'
strata volume delete wide >/dev/null
strata volume create --pool s --size 20M --format qcow2 wide >/dev/null
io wide -c 'write -P 1 0 10M'
strata volume snapshot wide one >/dev/null
io wide -c 'write -P 2 5M 1M'
strata volume clone wide@one copy >/dev/null
io copy -c 'read -P 1 0 10M'
strata volume resize wide 60M >/dev/null
io wide -c 'read -P 1 0 5M' -c 'read -P 2 5M 1M' -c 'read -P 1 6M 4M' -c 'write -P 3 20M 40M' -c 'read -P 3 20M 40M'
strata volume delete copy >/dev/null
strata volume delete --snapshots wide >/dev/null
is "span: nothing is left" "$(files)" 0
if grep -qa STRATA_FAULT "$STRATA"; then
    for step in layer.piece layer.arranged; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume create --pool s --size 1M k >/dev/null 2>&1 || true
        strata volume create --pool s --size 1M next >/dev/null
        strata volume delete next >/dev/null
        is "span, $step" "$(files)" 0
    done
fi
strata pool delete s >/dev/null
