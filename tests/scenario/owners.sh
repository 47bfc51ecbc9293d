#!/bin/sh
# One owner at a time, whoever is quickest: private volumes, names, and deleting beside it.
# rows: OSL-21
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox
strata run --rm busybox true # unpacks the layers

owners() {
    python3 -c "import sqlite3
for (key,) in sqlite3.connect('file:$STATE/store.db?mode=ro', uri=True).execute(
        'select item.key from item join event using (id) where version > 0'):
    print(key)" | grep '^/owners/' || true
}

# Ten at once want the same private volume: one gets it, nine are told who has it.
for round in 1 2 3 4 5 6; do
    strata volume create --mode private mine >/dev/null
    for i in 0 1 2 3 4 5 6 7 8 9; do
        "$STRATA" --state "$STATE" create --name g$i -v mine:/data busybox true \
            >"$WORK/out$i" 2>"$WORK/err$i" &
        eval "pid$i=$!"
    done
    won=
    for i in 0 1 2 3 4 5 6 7 8 9; do
        eval "pid=\$pid$i"
        if wait "$pid"; then
            won="$won g$i"
        else
            has "round $round: told why" "$(cat "$WORK/err$i")" "volume 'mine' is private"
        fi
    done
    is "round $round: winners" "$(echo $won | wc -w)" 1
    is "round $round: guests" " $(guests)" "$won"
    is "round $round: claims" "$(owners)" /owners/mine/private
    fails 1 strata volume delete mine
    has "in use" "$OUT" "guest '${won# }' has it"
    strata delete $won >/dev/null
    is "round $round: given back" "$(owners)" ""
    strata volume delete mine >/dev/null
done

# A clone would be a second owner.
strata volume create --mode private mine >/dev/null
strata create --name g -v mine:/data busybox true >/dev/null
fails 1 strata clone g g2
strata delete g >/dev/null
strata volume delete mine >/dev/null

# Shared volumes may have many; and two paths in one guest.
strata volume create many >/dev/null
strata create --name a -v many:/x -v many:/y busybox true >/dev/null
strata create --name b -v many:/x busybox true >/dev/null
is "both" "$(owners | wc -l)" 2
strata delete a b >/dev/null
strata volume delete many >/dev/null

# Deleting beside creating: either the guest has its volume, or it is not made.
for round in 1 2 3 4 5 6 7 8 9 10; do
    strata volume create soon >/dev/null
    "$STRATA" --state "$STATE" create --name g -v soon:/data busybox true >/dev/null 2>&1 &
    guest=$!
    code=0
    strata volume delete soon >/dev/null 2>&1 || code=$?
    if wait $guest; then
        is "round $round: the volume stays" "$code" 1
        strata volume inspect soon >/dev/null
        strata delete g >/dev/null
        strata volume delete soon >/dev/null
    else
        is "round $round: the volume is gone" "$code" 0
    fi
    is "round $round: nothing is left" "$(owners)$(ls -A "$STATE/volumes")" ""
done

# A new volume has no files of an old one, whatever was killed on the way.
if grep -qa STRATA_FAULT "$STRATA"; then
    for step in volume.delete.forgotten volume.delete.away; do
        strata volume create old >/dev/null
        strata run --rm -v old:/data busybox sh -c 'echo secret >/data/f'
        STRATA_FAULT=kill:$step strata volume delete old >/dev/null 2>&1 || true
        strata volume create old >/dev/null
        is "$step" "$(strata run --rm -v old:/data busybox ls /data)" ""
        strata volume delete old >/dev/null
        strata system reconcile >/dev/null
        is "$step: nothing is left" "$(ls -A "$STATE/volumes")" ""
    done
    STRATA_FAULT=kill:volume.create.recorded strata volume create half >/dev/null 2>&1 || true
    is "half made" "$(strata run --rm -v half:/data busybox ls /data)" ""
    strata volume delete half >/dev/null
fi
