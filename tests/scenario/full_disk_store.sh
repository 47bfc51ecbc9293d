#!/bin/sh
# A full disk while an image is built, committed or imported, a file copied, a guest cloned:
# a clear error, nothing half made, and the same command goes on when there is room.
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
mkdir -p "$STATE"
mount -t tmpfs -o size=32m,nr_inodes=6000 none "$STATE" 2>/dev/null || skip "cannot mount a tmpfs"
on_exit() {
    rm -f "$STATE/fill"
    umount "$STATE"
}
need_busybox

mkdir "$WORK/src"
head -c 1500000 /dev/urandom >"$WORK/src/data"
printf 'FROM busybox\nCOPY data /data\nRUN cat /data /data >/more\n' >"$WORK/src/Containerfile"
strata run -d --name keep busybox sh -c 'echo kept >/file; sleep 1000' >/dev/null
within 5 strata exec keep test -s /file
strata create --name still busybox true >/dev/null
strata cp "$WORK/src/data" still:/data

fill() { # LEAVE-KIB
    rm -f "$STATE/fill"
    free=$(df -k --output=avail "$STATE" | tail -n 1)
    [ "$free" -le "$1" ] || head -c $(((free - $1) * 1024)) /dev/zero >"$STATE/fill"
}
# What is there, one a line: names, guests, blobs and layers; what only a cache holds is cleared.
there() {
    strata image prune --cache >/dev/null || fail "$1: prune"
    strata image list --quiet | sort
    guests | sort
    find "$STATE/images" "$STATE/layers" "$STATE/guests" -mindepth 1 -maxdepth 2 \
        ! -path '*/fs/*' ! -name '*.lock' ! -name boot ! -name 'store.db*' | sort
    strata exec keep ls -A / /tmp
}
undo() {
    strata exec keep rm -f /data
    strata delete --force copy >/dev/null 2>&1 || :
    strata image delete made >/dev/null 2>&1 || :
}
same() {
    undo
    there "$1" >"$WORK/now"
    cmp -s "$WORK/before" "$WORK/now" || fail "$1 left: $(diff "$WORK/before" "$WORK/now")"
}
data() { is "$1: what was copied" "$(strata exec keep sha256sum </dev/null /data | cut -c1-64)" "$SUM"; }
runs() { is "$1: it runs" "$(strata run --rm --network none made sha256sum /data | cut -c1-64)" "$SUM"; }
disk() { strata start copy >"$WORK/start" 2>&1 || echo "start: $(cat "$WORK/start")"; is "$1: its disk" "$(strata cp copy:/data - | tar -xO | sha256sum | cut -c1-64)" "$SUM"; }
SUM=$(sha256sum <"$WORK/src/data" | cut -c1-64)
there before >"$WORK/before"

# full NAME CHECK COMMAND... - at each amount of room: done, or refused without a trace.
full() {
    what=$1 check=$2
    shift 2
    refused=0
    for kib in 0 16 64 400 1200 1600 2400 3200 5000; do
        at="$what with $kib KiB"
        fill $kib
        code=0
        strata "$@" >"$WORK/out" 2>&1 </dev/null || code=$?
        rm -f "$STATE/fill"
        if [ $code = 0 ]; then
            $check "$at"
        else
            is "$at: code" "$code" 1
            grep -Eq 'No space left|disk is full|disk full' "$WORK/out" || fail "$at: $(cat "$WORK/out")"
            refused=$((refused + 1))
        fi
        strata image verify >/dev/null || fail "$at: the store does not verify"
        is "$at: the neighbour" "$(strata exec keep cat /file)" kept
        same "$at"
    done
    [ $refused -gt 0 ] || fail "$what: the disk was never full"
    strata "$@" >/dev/null || fail "$what: with room"
    $check "$what"
    same "$what"
}
full build runs image build --quiet "$WORK/src" --tag made
full commit runs image commit still made
full cp data cp "$WORK/src/data" keep:/data
full clone disk clone still copy
