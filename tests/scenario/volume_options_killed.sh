#!/bin/sh
# Commands that give a disk a cache, checksums, equal blocks once or tiers, or take them, are
# killed at each of their steps: what was flushed is there, and no layer is left over.
# timeout: 900
# rows: STO-08 STO-09 STO-12
# long
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-io
"$STRATA" --state "$STATE" volume list >/dev/null
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
serve() { # serve VOLUME
    rm -f "$WORK/out"
    "$STRATA" --state "$STATE" volume export "$1" --nbd "$WORK/s" >"$WORK/out" 2>&1 &
    server=$!
    servers="$servers $server"
    within 20 grep -qs nbd+unix "$WORK/out" || fail "serve $1: $(cat "$WORK/out")"
}
is_free() { ! strata volume inspect --json "$1" | grep -q '"in use"'; }
unserve() { # unserve VOLUME
    kill "$server"
    wait "$server" || true
    within 10 is_free "$1"
}
io() {
    said=$(qemu-io -f raw "$@" "nbd:unix:$WORK/s") || fail "$*: $said"
    case $said in *"verification failed"*) fail "$*: $said" ;; esac
}
files() { find "$STATE/pool/layers" "$WORK/quick/layers" -type f 2>/dev/null | wc -l; }
# kill -9 of the process that has the store of the cache
kill_worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$WORK"/quick/layers/*)
            p=${fd#/proc/}
            kill -9 "${p%%/*}"
            return
            ;;
        esac
    done
    fail "nobody has the store"
}
# sweep WHAT PREPARE LOOK COMMAND... - kill COMMAND at its first, second, ... step.
sweep() {
    what=$1 prepare=$2 look=$3
    shift 3
    for n in $(seq 1 60); do
        $prepare
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 || code=$?
        strata volume create --size 1M next >/dev/null || fail "$what, step $n: the next command"
        strata volume delete next >/dev/null
        $look "$what, step $n"
        for name in $(strata volume list --quiet); do
            strata volume delete --snapshots "$name" >/dev/null || fail "$what, step $n: delete"
        done
        is "$what, step $n: nothing is left" "$(files)" 0
        [ $code != 0 ] || return 0
    done
    fail "$what: more than 60 steps"
}
# steps WHAT PREPARE LOOK "STEP..." COMMAND... - kill COMMAND at each of these steps, and at none.
steps() {
    what=$1 prepare=$2 look=$3 names=$4
    shift 4
    for step in $names none; do
        $prepare
        code=0
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 || code=$?
        case $step in none) is "$what" $code 0 ;; *) is "$what, killed at $step" $code 137 ;; esac
        strata volume create --size 1M next >/dev/null || fail "$what, $step: the next command"
        strata volume delete next >/dev/null
        $look "$what, $step"
        for name in $(strata volume list --quiet); do
            strata volume delete --snapshots "$name" >/dev/null || fail "$what, $step: delete"
        done
        is "$what, $step: nothing is left" "$(files)" 0
    done
}
nothing() { :; }
none() { :; }
disk() { strata volume create --size 8M d >/dev/null; }
# A cache with writes that went no further: its server was killed.
dirty() {
    strata volume create --size 8M --cache quick --cache-size 8M --cache-mode write-back d >/dev/null
    serve d
    io -c 'write -P 1 0 4M' -c flush
    strata volume snapshot d s >/dev/null
    io -c 'write -P 2 1M 1M' -c flush -c 'write -P 3 3M 64k'
    kill_worker
    wait "$server" 2>/dev/null || true
}
reads_the_last() {
    serve d
    io -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 1 2M 1M' -c 'write -P 5 7M 64k'
    unserve d
    strata volume clone d@s c >/dev/null || fail "$1: a clone"
    serve c
    io -c 'read -P 1 0 4M' -c 'read -P 0 4M 4M'
    unserve c
}
# All there was is what it was then, or what it is now.
reads_either() {
    serve d
    said=$(qemu-io -f raw -r -c 'read -P 2 1M 1M' "nbd:unix:$WORK/s") || true
    case $said in *"verification failed"*) io -c 'read -P 1 0 4M' ;; *) io -c 'read -P 1 2M 1M' ;; esac
    io -c 'write -P 6 7M 64k' -c 'read -P 6 7M 64k'
    unserve d
}
works() {
    serve d
    io -c 'read -P 0 0 8M' -c 'write -P 7 0 1M' -c 'read -P 7 0 1M'
    unserve d
}

strata pool create quick --member "$WORK/quick,class=fast" --member "$WORK/slow" >/dev/null
sweep create nothing none volume create --size 8M --cache quick --cache-size 8M d
for how in --checksum --dedup "--tier 16M --pool quick"; do
    # shellcheck disable=SC2086
    sweep "create $how" nothing none volume create --size 8M $how d
done
steps "a cache comes" disk works "layer.made cache.filled cache.recorded volume.set.recorded" \
    volume set --cache quick --cache-size 8M d
steps "a cache goes" dirty reads_the_last "release.announced release.recorded cache.left" volume set --cache none d
steps "a snapshot over a cache" dirty reads_the_last "layer.made snapshot.recorded" volume snapshot d t
steps "an older disk under a cache" dirty reads_either "cache.left layer.made release.recorded" \
    volume snapshot --restore d s
steps "another size under a cache" dirty reads_the_last "cache.left volume.resized volume.resize.recorded" \
    volume resize d 16M
steps "delete" dirty none "release.recorded" volume delete --snapshots d
