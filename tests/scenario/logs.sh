#!/bin/sh
# Logs: both streams, tail, since, until, follow, rotation, very short guests.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

strata run --name two busybox sh -c 'echo out; echo err >&2' >/dev/null 2>&1
is "standard output" "$(strata logs two 2>/dev/null)" out
is "standard error" "$(strata logs two 2>&1 >/dev/null)" err
strata run --name nl busybox printf 'no newline' >/dev/null
is "unfinished line" "$(strata logs nl)" "no newline"

for i in 1 2 3 4 5 6 7 8; do # the log of a guest that ends at once is whole
    strata run -d --name q$i busybox echo quick >/dev/null
done
for i in 1 2 3 4 5 6 7 8; do
    is "code of guest $i" "$(strata wait q$i)" 0
    is "log of guest $i" "$(strata logs q$i)" quick
done

strata run -d --name slow busybox sh -c 'echo early; sleep 2; echo late; sleep 1; echo end' >/dev/null
is "follow ends with the guest" "$(strata logs --follow slow | tr '\n' ' ')" "early late end "
is "tail" "$(strata logs --tail 2 slow | tr '\n' ' ')" "late end "
at=$(strata logs --timestamps slow | awk '/late/ { print $1 }')
is "since a time" "$(strata logs --since "$at" slow | tr '\n' ' ')" "late end "
is "until a time" "$(strata logs --until "$at" slow | head -n 1)" early
is "since a duration" "$(strata logs --since 1h slow | wc -l)" 3

strata run --name big --log-size 4096 --log-count 2 busybox \
    sh -c 'for i in $(seq 1 1000); do echo line $i; done' >/dev/null
is "the end is there" "$(strata logs --tail 1 big)" "line 1000"
first=$(strata logs big | head -n 1)
[ "$first" != "line 1" ] || fail "nothing was rotated away"
n=${first#line }
is "without a gap" "$(strata logs big | wc -l)" $((1001 - n))
[ "$(find "$STATE"/guests/*/logs -name 'log.3' | wc -l)" = 0 ] || fail "too many files are kept"

strata start nl >/dev/null # a second run goes on in the same log
strata wait nl >/dev/null
is "both runs" "$(strata logs nl | grep -o 'no newline' | wc -l)" 2

# A reader that stands still while the log is exchanged many times gets every line, once.
strata run -d --name fast --log-size 4096 --log-count 200 busybox sh -c \
    'echo line 0; until [ -e /go ]; do sleep 0.1; done; for i in $(seq 1 5000); do echo line $i; done
    sleep 1' >/dev/null
"$STRATA" --state "$STATE" logs --follow fast >"$WORK/followed" &
follower=$!
within 5 grep -q 'line 0' "$WORK/followed"
kill -STOP $follower
strata exec fast touch /go
within 10 sh -c '"$STRATA" --state "$STATE" logs --tail 1 fast | grep -q "line 5000"'
kill -CONT $follower
wait $follower
seq 0 5000 | sed 's/^/line /' | cmp - "$WORK/followed" || fail "the follower lost or doubled lines"
strata logs fast | cmp - "$WORK/followed" || fail "the whole log is not the same"
