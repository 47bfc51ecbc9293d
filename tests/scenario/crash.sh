#!/bin/sh
# kill -9 at every step of every operation: the next command goes on, nothing leaks.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
"$STRATA" --state "$STATE" list >/dev/null
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"
STEPS_MOST=40

keys() { # of the store that belong to one guest
    python3 -c "import sqlite3
for (key,) in sqlite3.connect('$STATE/store.db').execute('select distinct key from kv'):
    print(key)" 2>/dev/null | grep -E '^/(guests|names|userns|addresses|owners)/' || true
}
rest() {
    guests
    find "$STATE/guests" "$STATE/run/guests" "$STATE/run/containers" -mindepth 1 -maxdepth 1
    left
    ip -o link 2>/dev/null | grep -o 'gst[0-9a-f]*' || true
}

# sweep NAME PREPARE COMMAND... - kill COMMAND at its first, second, ... step.
sweep() {
    what=$1
    prepare=$2
    shift 2
    n=1
    while [ $n -le $STEPS_MOST ]; do
        $prepare
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 </dev/null || code=$?
        strata system reconcile >/dev/null || fail "$what, step $n: reconcile"
        strata delete --force g g2 >/dev/null 2>&1 || true
        strata create --name g busybox sleep 1000 >/dev/null || fail "$what, step $n: create"
        strata start g >/dev/null || fail "$what, step $n: start"
        strata exec g true || fail "$what, step $n: exec"
        strata delete --force g >/dev/null || fail "$what, step $n: delete"
        strata system reconcile >/dev/null
        found=$(rest)
        for wait in 1 2 3 4 5; do # other scenarios' groups come and go
            [ -z "$found" ] || found=$(sleep "$wait"; rest)
        done
        [ -z "$found" ] || fail "$what, step $n left: $found"
        [ $code != 0 ] || return 0
        n=$((n + 1))
    done
    fail "$what: more than $STEPS_MOST steps"
}

nothing() { :; }
made() { strata create --name g busybox sleep 1000 >/dev/null; }
running() { strata run -d --name g busybox sleep 1000 >/dev/null; }
kept() { made && strata snapshot create g one >/dev/null; }

sweep create nothing create --name g busybox sleep 1000
sweep run nothing run --rm --name g busybox true
sweep run-detached nothing run -d --name g -p 18090:80 busybox sleep 1000
sweep start made start g
sweep stop running stop -t 0s g
sweep restart running restart -t 0s g
sweep delete made delete g
sweep delete-running running delete --force g
sweep snapshot made snapshot create g one
sweep restore kept snapshot restore g one
sweep clone made clone g g2
