#!/bin/sh
# Pause and resume: nothing runs meanwhile; streams, memory and clock go on as they were.
# rows: OPS-05 OPS-06
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

stat() { strata stats --json web | python3 -c "import json, sys; print(json.load(sys.stdin)[0]['$1'])"; }
strata run -d --name web busybox sh -c \
    'head -c 4000000 /dev/urandom >/dev/shm/data; i=0; while :; do i=$((i+1)); done' >/dev/null
within 10 strata exec web sh -c '[ "$(stat -c %s /dev/shm/data)" = 4000000 ]'
state() { # what must not change: memory, and which process it is since when
    strata exec web sh -c 'sha256sum /dev/shm/data; cut -d " " -f 1,22 /proc/1/stat'
}
before=$(state)

# A stream of bytes is under way, both ways, when the guest is paused.
head -c 60000000 /dev/urandom >"$WORK/sent"
{ head -c 20000000; sleep 1; cat; } <"$WORK/sent" |
    "$STRATA" --state "$STATE" exec -i web cat >"$WORK/back" &
stream=$!
within 10 test -s "$WORK/back"
strata pause web >/dev/null
used=$(stat cpu_ns)
got=$(stat_of() { wc -c <"$WORK/back"; }; sleep 0.5; stat_of)
sleep 2
is "no processor is used" "$(stat cpu_ns)" "$used"
is "no byte comes" "$(wc -c <"$WORK/back")" "$got"
kill -0 $stream || fail "the stream broke"
fails 125 strata exec web true
fails 1 strata pause web
strata resume web >/dev/null
wait $stream || fail "the stream ended badly"
cmp "$WORK/sent" "$WORK/back" || fail "bytes were lost"

is "its memory is the same" "$(state)" "$before"
now=$(strata exec web date +%s)
[ $(($(date +%s) - now)) -le 2 ] || fail "its clock stood still"
[ "$(stat cpu_ns)" -gt "$used" ] || fail "it does not go on"
fails 1 strata resume web
strata stop -t 0s web >/dev/null

# Paused, then stopped: it ends all the same.
strata start web >/dev/null
strata pause web >/dev/null
strata stop -t 1s web >/dev/null
has "ended" "$(strata list)" stopped
