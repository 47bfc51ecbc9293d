#!/bin/sh
# Stop: the guest's own signal and patience, then the kill.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

seconds() { date +%s; }
stubborn='trap "" TERM; echo ready; while :; do sleep 0.1; done'

strata run -d --name deaf --stop-timeout 1s busybox sh -c "$stubborn" >/dev/null
within 5 sh -c '"$STRATA" --state "$STATE" logs deaf | grep -q ready'
begin=$(seconds)
strata stop deaf >/dev/null
[ $(($(seconds) - begin)) -le 4 ] || fail "stop was not quick"
is "killed after its patience" "$(strata wait deaf)" 137

strata start deaf >/dev/null
begin=$(seconds)
strata stop -t 0s deaf >/dev/null
[ $(($(seconds) - begin)) -le 1 ] || fail "stop -t 0s waited"

strata run -d --name polite --stop-signal USR1 busybox \
    sh -c 'trap "echo bye; exit 7" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null
within 5 sh -c '"$STRATA" --state "$STATE" logs polite | grep -q ready'
strata stop polite >/dev/null
is "ended by its own signal" "$(strata wait polite)" 7
is "last words are in the log" "$(strata logs --tail 1 polite)" bye

strata start polite >/dev/null
strata stop polite deaf >/dev/null # several, one of them stopped already
is "both stopped" "$(strata list --json | grep -c '"stopped"')" 2
