#!/bin/sh
# A disk that is served leaves one layer for another (a move, the end of a snapshot) while a client
# writes, and command and server are both killed at each step of it: what was flushed is there.
# long
# timeout: 900
# rows: STO-02 STO-32 DC-21
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img python3
strata volume list >/dev/null
grep -qa STRATA_FAULT "$STRATA" || skip "needs a build with fault steps"
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
# The process that has the disks of this state open.
worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$WORK"/here/layers/* | "$WORK"/there/layers/*)
            p=${fd#/proc/}
            echo "${p%%/*}"
            return
            ;;
        esac
    done
}
cat >"$WORK/client.py" <<'PY'
import json, signal, sys, time
sys.path.insert(0, sys.argv[2])
import worker
uri = f"nbd+unix:///?socket={sys.argv[3]}"
if sys.argv[4] == "write":
    w = worker.Writer(uri, 8 << 20, flush_every=4)
    signal.signal(signal.SIGTERM, lambda *_: w.stop(True))
    while not w.flushed and not w.error:
        time.sleep(0.01)
    open(sys.argv[5] + ".on", "w")
    w.thread.join()
    json.dump([w.flushed, w.begun], open(sys.argv[5], "w"))
else:
    flushed, begun = ({int(k): v for k, v in m.items()} for m in json.load(open(sys.argv[5])))
    assert len(flushed) > 10
    w = worker.Writer.__new__(worker.Writer)
    w.begun = begun
    w.check(uri, flushed)
PY
client() { python3 "$WORK/client.py" x "$(dirname "$0")/../resource/storage/job" "$WORK/s" "$@"; }
# serve [STEP] - in the background; the worker is killed at that step
serve() {
    rm -f "$WORK/out"
    STRATA_FAULT=${1:+kill:$1} "$STRATA" --state "$STATE" volume export d --nbd "$WORK/s" >"$WORK/out" 2>&1 &
    server=$!
    servers="$servers $server"
    within 20 grep -qs nbd+unix "$WORK/out"
}

# turn WHAT STEP WORKER-STEP COMMAND...
turn() {
    what="$1, killed at ${2:-none}, its server at ${3:-any time}"
    step=$2
    serve "$3"
    rm -f "$WORK/map" "$WORK/map.on"
    client write "$WORK/map" &
    writer=$!
    servers="$servers $writer"
    within 20 test -e "$WORK/map.on"
    shift 3
    STRATA_FAULT=${step:+kill:$step} "$STRATA" --state "$STATE" "$@" >"$WORK/said" 2>&1 || true
    [ -n "$step$killed" ] || is "$what: served from one layer" \
        "$(find "$WORK/here/layers" "$WORK/there/layers" -type f | wc -l)" "$count"
    sleep 0.2 # it goes on being written where it is now
    pid=$(worker)
    [ -z "$pid" ] || kill -KILL "$pid"
    wait $writer || fail "$what: the client"
    wait $server || true
    serve
    client check "$WORK/map" || fail "$what: what was flushed"
    kill -TERM $server
    wait $server || true
    within 10 sh -c '"$STRATA" --state "$STATE" volume inspect d | grep -q "state: ok"'
    strata volume check d >/dev/null || fail "$what: check"
    files=$(find "$WORK/here/layers" "$WORK/there/layers" -type f | wc -l)
    is "$what: layers" "$files" "$(python3 - "$STATE/store.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(sum(k.startswith("/layers/") for k, in db.execute("select item.key from item join event using (id) where version > 0")))
PY
)"
    strata volume delete --snapshots d >/dev/null
    is "$what: nothing is left" "$(find "$WORK/here/layers" "$WORK/there/layers" "$STATE/turns" -type f)" ""
}

strata pool create here --member "$WORK/here" >/dev/null
strata pool create there --member "$WORK/there" >/dev/null
for killed in "" turn.alike turn.noted turn.done; do
    count=1 # of layers, afterwards
    for step in "" move.alike move.announced move.gone-over move.recorded; do
        strata volume create --size 8M --pool here d >/dev/null
        turn move "$step" "$killed" volume move d there
    done
    for step in "" release.recorded merge.alike merge.announced merge.gone-down merge.recorded merge.settled; do
        strata volume create --size 8M --pool here d >/dev/null
        strata volume snapshot d s >/dev/null
        turn "end of a snapshot" "$step" "$killed" volume snapshot --delete d s
    done
    count=2
    for step in "" merge.gone-down merge.settled; do # below the top
        strata volume create --size 8M --pool here d >/dev/null
        strata volume snapshot d s >/dev/null
        strata volume snapshot d t >/dev/null
        turn "end of the lower snapshot" "$step" "$killed" volume snapshot --delete d s
    done
done
