# lib_turn.sh - sourced after lib.sh by the scenarios in which a disk that is served leaves one layer for
# another while a client writes, and command and server are both killed at each step of it: what was
# flushed is there.
#
# Whoever sources it says with `layers` how many layers lie on the members, and with `rest` what is
# left there.

servers= # processes, ended at the end
loops=   # devices that are members
turn_on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
on_exit() { turn_on_exit; }
# The process that has the disks of this state open.
worker() {
    for fd in /proc/[0-9]*/fd/*; do
        place=$(readlink "$fd" 2>/dev/null) || continue
        case $place in
        "$WORK"/*/layers/*) ;;
        /dev/loop*) case " $loops " in *" $place "*) ;; *) continue ;; esac ;;
        *) continue ;;
        esac
        p=${fd#/proc/}
        echo "${p%%/*}"
        return
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
    within 20 grep -qs nbd+unix "$WORK/out" || fail "serve: $(cat "$WORK/out")"
}
# Layers that the store knows.
records() {
    python3 - "$STATE/store.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(sum(k.startswith("/layers/") for k, in db.execute("select item.key from item join event using (id) where version > 0")))
PY
}

# turn WHAT STEP WORKER-STEP COMMAND... - there are $count layers afterwards, if nobody was killed
turn() {
    what="$1, killed at ${2:-none}, its server at ${3:-any time}"
    step=$2
    killed=$3
    serve "$3"
    rm -f "$WORK/map" "$WORK/map.on"
    client write "$WORK/map" &
    writer=$!
    servers="$servers $writer"
    within 20 test -e "$WORK/map.on"
    shift 3
    STRATA_FAULT=${step:+kill:$step} "$STRATA" --state "$STATE" "$@" >"$WORK/said" 2>&1 || true
    [ -n "$step$killed" ] || is "$what: layers in use" "$(layers)" "$count"
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
    is "$what: layers" "$(layers)" "$(records)"
    strata volume delete --snapshots d >/dev/null
    is "$what: nothing is left" "$(rest)$(find "$STATE/turns" -type f 2>/dev/null)" ""
}
