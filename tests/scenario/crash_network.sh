#!/bin/sh
# kill -9 at every step of making, deleting and pruning networks, and of pausing, resuming,
# signalling, executing in and copying to guests: the next command goes on.
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_crash.sh"

net_made() { strata network create n >/dev/null; }
net_used() { net_made && strata run --rm --network n busybox true; }
nobody() { [ -z "$(guests)" ]; } # who removed a guest may have been killed, too

# network NAME PREPARE COMMAND... - as `sweep`, then a network of that name works and can go.
network() {
    what=$1 prepare=$2
    shift 2
    n=1
    while [ $n -le $STEPS_MOST ]; do
        $prepare
        kill_at $n "$@"
        strata system reconcile >/dev/null || fail "$what, step $n: reconcile"
        strata network inspect n >/dev/null 2>&1 || strata network create n >/dev/null ||
            fail "$what, step $n: create"
        is "$what, step $n: a guest in it" \
            "$(strata run --rm --network n busybox sh -c 'ip -o -4 addr show eth0 | grep -c inet')" 1
        strata delete --force g >/dev/null 2>&1 || true
        within 10 nobody
        strata network delete n >/dev/null || fail "$what, step $n: delete"
        same "$what, step $n"
        [ $code != 0 ] || return 0
        onward
    done
    fail "$what: more than $STEPS_MOST steps"
}
network create nothing network create n
network delete net_made network delete n
network delete-used net_used network delete n
network prune net_used network prune
network first-guest net_made run --rm --name g --network n busybox true

sweep pause running pause g
sweep resume stands resume g
sweep kill running kill g
sweep exec running exec g true
echo data >"$WORK/data"
sweep cp-to running cp "$WORK/data" g:/data
sweep cp-from running cp g:/bin/busybox "$WORK/from"
sweep cp-stopped made cp "$WORK/data" g:/data
