#!/bin/sh
# The host goes down once a snapshot of a disk on an array with parity is recorded, and before its server has
# gone over: what was flushed is in the journal of a layer that nobody will write to again.  Whoever reads it
# next finds it whole, also with as many members lost as the array can do without.
# timeout: 300
# rows: STO-06 STO-02
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io qemu-img python3
strata volume list >/dev/null
knows_kills || skip "needs a build with fault steps"
head -c 16777216 /dev/urandom >"$WORK/full"
worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$WORK/$1"1/layers/*)
            p=${fd#/proc/}
            echo "${p%%/*}"
            return
            ;;
        esac
    done
}
# power_cut LEVEL - command and server end at once; the disk is FULL, and reads so by nobody yet
power_cut() {
    strata volume create --pool "$1" --size 16M d >/dev/null
    serve d
    live -c "write -s $WORK/full 0 16M" -c flush
    STRATA_FAULT=kill:live.recorded "$STRATA" --state "$STATE" volume snapshot d s >/dev/null 2>&1 || true
    kill -9 "$(worker "$1")"
    wait "$server" || true
}
gone() {
    strata volume delete --snapshots d >/dev/null
    is "$1: nothing is left" "$(find "$WORK/$1"[0-9]*/layers -type f)" ""
}

# pass LEVEL MEMBERS SPARE
pass() {
    words=
    for i in $(seq "$2"); do
        mkdir "$WORK/$1$i"
        words="$words --member $WORK/$1$i"
    done
    # shellcheck disable=SC2086
    strata pool create --redundancy "$1" $words "$1" >/dev/null

    # Each who may be the first: a server, one that ends with its client, a copy, a scrub, a check, a mover.
    power_cut "$1"
    serve d
    qemu-img compare -q -f raw -F raw "$WORK/full" "nbd:unix:$WORK/served.sock" || fail "$1: served"
    stop "$server"
    within 10 is_free d
    gone "$1"
    power_cut "$1"
    same d "$WORK/full" "$1: once"
    strata volume check d >/dev/null || fail "$1: check"
    gone "$1"
    power_cut "$1"
    rm -f "$WORK/out.raw"
    strata volume export d --file "$WORK/out.raw" >/dev/null
    cmp "$WORK/out.raw" "$WORK/full" || fail "$1: a copy"
    gone "$1"
    power_cut "$1"
    strata volume clone --full d twin >/dev/null
    same twin "$WORK/full" "$1: a whole clone"
    strata volume delete twin >/dev/null
    gone "$1"
    power_cut "$1"
    strata pool scrub "$1" >"$WORK/rows" || fail "$1: scrub"
    grep -q skipped "$WORK/rows" && fail "$1: scrub: $(cat "$WORK/rows")"
    strata volume move d default >/dev/null
    same d "$WORK/full" "$1: moved"
    gone "$1"

    # With members lost, which come back; others are lost then.
    power_cut "$1"
    for i in $(seq "$3"); do mv "$WORK/$1$i" "$WORK/away$i"; done
    same d "$WORK/full" "$1: degraded"
    io d -c "write -P 7 0 1M"
    is "$1: seen" "$(members d | cut -d ' ' -f 1)" degraded
    for i in $(seq "$3"); do mv "$WORK/away$i" "$WORK/$1$i"; done
    strata volume check --repair d >/dev/null || fail "$1: repair"
    for i in $(seq "$3"); do mv "$WORK/$1$((i + 1))" "$WORK/away$i"; done
    io d -c "read -P 7 0 1M"
    rm -f "$WORK/out.raw"
    strata volume export d --file "$WORK/out.raw" >/dev/null
    cmp -i 1048576 "$WORK/out.raw" "$WORK/full" || fail "$1: the others"
    for i in $(seq "$3"); do mv "$WORK/away$i" "$WORK/$1$((i + 1))"; done
    gone "$1"

    # One too many is lost: refused in words, and nothing is made up.
    power_cut "$1"
    for i in $(seq $(($3 + 1))); do mv "$WORK/$1$i" "$WORK/away$i"; done
    rm -f "$WORK/out.raw"
    fails 1 strata volume export d --file "$WORK/out.raw"
    has "$1: too many" "$OUT" "too many"
    for i in $(seq $(($3 + 1))); do mv "$WORK/away$i" "$WORK/$1$i"; done
    same d "$WORK/full" "$1: all of them are back"
    gone "$1"
    strata pool delete "$1" >/dev/null
}
pass raid5 3 1
pass raid6 4 2
