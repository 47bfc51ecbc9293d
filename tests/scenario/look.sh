#!/bin/sh
# Look: list, inspect, rename, stats, resize while it runs, events, wait.
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

json() { python3 -c "import json, sys; print($1)"; }

strata run -d --name web --memory 32M --pids 40 --cpus 0.5 busybox sleep 1000 >/dev/null
strata create --name idle busybox true >/dev/null
is "running ones" "$(strata list -rq)" web
is "all" "$(strata list -q | sort | tr '\n' ' ')" "idle web "
is "inspect" "$(strata inspect --json web | json 'json.load(sys.stdin)[0]["name"]')" web
fails 1 strata inspect nobody
stat() { strata stats --json web | json "json.load(sys.stdin)[0]['$1']"; }
is "limit of memory" "$(stat memory_limit_bytes)" 33554432
is "one process" "$(stat pids)" 1
[ "$(stat memory_bytes)" -gt 0 ] || fail "no memory is used"

strata resize web --memory 64M --pids 7 >/dev/null
is "resized while it runs" "$(stat memory_limit_bytes)" 67108864
fails 2 strata resize web --memory sixty
fails 1 strata resize web --memory 1K
is "unchanged after a refusal" "$(stat memory_limit_bytes)" 67108864
has "processes are limited" "$(strata exec web sh -c \
    'for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; :' 2>&1)" "fork"
strata resize web --memory none --pids none >/dev/null
case $(strata stats --json web) in *67108864*) fail "the limit stayed" ;; esac
strata resize idle --memory 16M >/dev/null # also one that does not run
has "recorded" "$(strata inspect --json idle)" 16777216

strata rename web site >/dev/null
is "renamed" "$(strata list -rq)" site
fails 1 strata inspect web
fails 1 strata rename site idle
has "name is taken" "$OUT" taken
is "the old name is free" "$(strata create --name web busybox true >/dev/null; strata list -q |
    grep -c web)" 1
strata exec site true

strata wait site >"$WORK/code" &
waiter=$!
fails 1 strata wait --timeout 200ms site
strata wait --for running site
strata kill -s TERM --all site >/dev/null
strata stop -t 0s site >/dev/null
wait $waiter
is "wait" "$(cat "$WORK/code")" 137
is "wait again" "$(strata wait site)" 137

strata delete site >/dev/null
events=$(strata events)
for word in created started resized renamed stopped died deleted; do
    has "event" "$events" $word
done
is "events of one guest" "$(strata events idle | grep -c site)" 0
"$STRATA" --state "$STATE" events --follow >"$WORK/events" &
follower=$!
sleep 0.3
strata create --name new busybox true >/dev/null
within 5 grep -q new "$WORK/events"
kill $follower
