#!/bin/sh
# kill -9 at every step of making, starting and ending guests: the next command goes on.
# timeout: 1200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_crash.sh"

# Each check can fail: what a running guest has, and what killed ones leave, is seen.
seen() { # WHAT PIECE... - each piece is a new line
    what=$1
    shift
    rest >"$WORK/now"
    for piece in "$@"; do
        diff "$KEEP" "$WORK/now" | grep -q "^> .*$piece" || fail "$what: $piece is not seen"
    done
}
clear() {
    strata system reconcile >/dev/null
    strata delete --force g >/dev/null 2>&1 || true
    same "$1"
}
running
seen "a running guest" 'link sv' 'key /guests/' 'key /names/g' 'key /userns/' \
    'key /addresses/default/' 'key /owners/v/private' "elements = .*$PORT" "$STATE/guests/" \
    "$STATE/run/guests/" "$STATE/run/containers/" '[.]hosts:.* g # ' 'process ' 'guests g'
kill -9 "$(strata inspect --json g | grep -o '"keeper": *[0-9]*' | grep -o '[0-9]*$')"
seen "a killed keeper" 'key /guests/' "elements = .*$PORT" "$STATE/run/containers/" 'cgroup '
clear "a killed keeper"
kill_at guest.create.recorded create --name g -v v:/v busybox true
seen "a killed create" 'key /guests/' 'key /names/g' 'key /userns/' 'key /owners/v/private' \
    "$STATE/run/guests/"
clear "a killed create"

sweep create nothing create --name g -v v:/v busybox sleep 1000
sweep run nothing run --rm --name g busybox true
sweep run-detached nothing run -d --name g -p $PORT:80 -v v:/v busybox sleep 1000
sweep start made start g
sweep stop running stop -t 0s g
sweep restart running restart -t 0s g
sweep delete made delete g
sweep delete-running running delete --force g
sweep delete-paused stands delete --force g
