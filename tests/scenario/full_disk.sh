#!/bin/sh
# A full disk, no inodes, an unwritable state directory: a clear error, state intact.
. "$(dirname "$0")/lib.sh"
need_root
mkdir -p "$STATE"
mount -t tmpfs -o size=24m,nr_inodes=3000 none "$STATE" 2>/dev/null || skip "cannot mount a tmpfs"
on_exit() {
    rm -f "$STATE/fill"
    umount "$STATE"
}
need_busybox

strata run -d --name keep busybox sh -c 'echo kept >/file; sleep 1000' >/dev/null
within 5 strata exec keep test -s /file

# fill LEAVE-KIB: use up all but so much.
fill() {
    rm -f "$STATE/fill"
    free=$(df -k --output=avail "$STATE" | tail -n 1)
    head -c $(((free - $1) * 1024)) /dev/zero >"$STATE/fill"
}
intact() {
    rm -f "$STATE/fill"
    is "$1: running" "$(strata exec keep cat /file)" kept
    is "$1: listed" "$(guests)" keep
    is "$1: no rest" "$(ls "$STATE/guests" | wc -l)" 1
}
for kib in 0 4 8 12 16 20 24 32 40 48 64 96; do
    fill $kib
    code=0
    strata run -d --name more busybox sleep 1000 >"$WORK/out" 2>&1 || code=$?
    if [ $code != 0 ]; then
        is "code with $kib KiB" "$code" 125
        grep -Eq 'No space left|full' "$WORK/out" || fail "$kib KiB: $(cat "$WORK/out")"
    else
        rm -f "$STATE/fill"
        strata delete --force more >/dev/null
    fi
    intact "$kib KiB"
done
fill 0
fails 1 strata snapshot create keep one
strata list >/dev/null || fail "list on a full disk"
strata exec keep true || fail "exec on a full disk"
strata stop -t 0s keep >/dev/null || fail "stop on a full disk"
rm -f "$STATE/fill"
strata start keep >/dev/null
intact "after a stop on a full disk"

i=0
mkdir "$STATE/inodes"
while true 2>/dev/null >"$STATE/inodes/$i"; do i=$((i + 1)); done
fails 125 strata run --rm busybox true
has "no inodes" "$OUT" "No space left"
rm -rf "$STATE/inodes"
intact "after no inodes"

strata stop -t 0s keep >/dev/null
mount -o remount,ro "$STATE"
fails 125 strata run --rm busybox true
has "read-only" "$OUT" "Read-only"
fails 1 strata doctor
has "the host is examined all the same" "$OUT" "process namespace"
has "and the directory is a finding" "$OUT" "state directory "
mount -o remount,rw "$STATE"
strata start keep >/dev/null
intact "after read-only"
