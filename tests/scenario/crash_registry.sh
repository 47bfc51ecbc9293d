#!/bin/sh
# kill -9 at steps all through pulling an image from a registry: the same
# command goes on, the store verifies, nothing is left over.
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd docker-registry curl
need_busybox
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"
STEPS_MOST=3000

at=127.0.0.1:$((20000 + $$ % 20000))
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' \
    "$WORK/registry" "$at" >"$WORK/registry.yml"
docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
server=$!
on_exit() { kill $server 2>/dev/null || :; wait $server 2>/dev/null || :; }
within 10 curl -so "$WORK/answer" "http://$at/v2/"
strata image push --quiet --plain-http busybox "$at/box:1" >/dev/null

stored() {
    strata image prune --cache >/dev/null || fail "$1: prune"
    strata image list --quiet | sort
    find "$STATE/images" "$STATE/layers" -mindepth 1 -maxdepth 3 \
        ! -path '*/fs/*' ! -name '*.lock' ! -name boot ! -name index.json | sort
}
# sweep NAME PREPARE CHECK COMMAND... - from a state of its own each time
sweep() {
    what=$1 prepare=$2 check=$3
    shift 3
    n=1
    while [ $n -le $STEPS_MOST ]; do
        $prepare
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 </dev/null || code=$?
        strata image verify >"$WORK/out" 2>&1 || fail "$what, step $n: verify: $(cat "$WORK/out")"
        strata "$@" >"$WORK/out" 2>&1 || fail "$what, step $n: again: $(cat "$WORK/out")"
        $check "$what, step $n"
        [ $code != 0 ] || break
        n=$((n + 1 + n / 8)) # each piece of a blob is a step: the later ones are alike
    done
    [ $n -gt 1 ] || fail "$what: no step was there to die at"
    [ $n -le $STEPS_MOST ] || fail "$what: more than $STEPS_MOST steps"
}
empty() {
    for name in $(strata image list --quiet); do
        strata image delete "$name" >/dev/null
    done
    strata image prune --cache >/dev/null
}
pulled() {
    is "$1: it runs" "$(strata run --rm --network none "$at/box:1" echo yes)" yes
    stored "$1" >"$WORK/now"
    cmp -s "$WORK/before" "$WORK/now" || fail "$1 left: $(diff "$WORK/before" "$WORK/now")"
}
empty
strata image pull --quiet --plain-http "$at/box:1" >/dev/null
is "it runs" "$(strata run --rm --network none "$at/box:1" echo yes)" yes
stored before >"$WORK/before"
sweep pull empty pulled image pull --quiet --plain-http "$at/box:1"
