#!/bin/sh
# kill -9 at every step of an image import: nothing half made, and it works again.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"

is "works before" "$(strata run --rm busybox echo yes)" yes
n=1
while :; do
    code=0
    rm -rf "$STATE.2"
    STRATA_FAULT=kill:$n "$STRATA" --state "$STATE.2" image import "$WORK/.busybox.tar" busybox \
        >/dev/null 2>&1 || code=$?
    "$STRATA" --state "$STATE.2" system reconcile >/dev/null || fail "step $n: reconcile"
    "$STRATA" --state "$STATE.2" image import "$WORK/.busybox.tar" busybox >/dev/null ||
        fail "step $n: import again"
    is "step $n" "$("$STRATA" --state "$STATE.2" run --rm --network none busybox echo yes)" yes
    [ $code != 0 ] || break
    n=$((n + 1))
    [ $n -lt 60 ] || fail "no end of steps"
done
