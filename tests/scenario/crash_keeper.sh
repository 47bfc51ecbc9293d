#!/bin/sh
# kill -9 of a keeper at every step of it: its guest ends with it, the next command goes on.
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_crash.sh"

KEEPER=$(dirname "$STRATA")/keeper
[ -x "$KEEPER" ] || skip "needs the keeper beside the program"
DIED=$WORK/died

# Whether a guest's keeper is in the list of processes; a killed one is not.
keeper_gone() { ! pgrep -f "keeper id=.*run-dir=$STATE/" >/dev/null; }
first_pid() { strata inspect --json g 2>/dev/null | sed -n 's/.*"pid": *\([1-9][0-9]*\).*/\1/p' | head -n 1; }

# after STEP - the state is whole again, whatever the keeper left.
after() {
    within 10 keeper_gone
    strata system reconcile >/dev/null || fail "$1: reconcile"
    case $(strata list --json) in
    *'"state": "running"'* | *'"state": "restarting"'*) fail "$1: still said to run: $(strata list)" ;;
    esac
    strata start g >/dev/null 2>"$WORK/err" || fail "$1: start again: $(cat "$WORK/err")"
    is "$1: it works again" "$(strata exec g echo yes)" yes
    strata stop -t 0s g >/dev/null || fail "$1: stop"
    strata delete --force g >/dev/null || fail "$1: delete"
    same "$1"
    echo "$1" >>"$DIED"
}

# guest STEP OPTIONS... - run a guest whose keeper dies at that step.
guest() {
    dies_at=$1
    shift
    strata delete --force g >/dev/null 2>&1 || true
    STRATA_FAULT=kill:$dies_at "$STRATA" --state "$STATE" run -d --name g -p $PORT:80 -v v:/v "$@" \
        >"$WORK/out" 2>&1 </dev/null || true
}

# At its start, at a guest's end, when a guest is to come back.
for step in executed begun status.written ended ended.decided ended.written ended.told \
    finish.begun finish.worker; do
    guest keeper.$step busybox sh -c 'test -e /again && exec sleep 1000; touch /again; sleep 0.2'
    after keeper.$step
done
for step in ended.told restart.begun restart.told; do
    guest keeper.$step --restart always busybox sh -c 'test -e /again && exec sleep 1000; touch /again'
    after "keeper.$step, coming back"
done
# Between two keepers: the worker that makes the guest again.
for step in worker.clean.container worker.container worker.network container.create.recorded; do
    strata create --name g --restart always -p $PORT:80 -v v:/v busybox \
        sh -c 'test -e /again && exec sleep 1000; touch /again; sleep 0.2' >/dev/null
    STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" start g >/dev/null 2>&1 || true
    after "$step, on the way"
done

# Asked to end: in time, and by force.
for step in viewer.accepted viewer.asked stop.heard stop.written stop.signalled; do
    guest keeper.$step busybox sleep 1000
    strata stop -t 1s g >/dev/null 2>&1 || true
    after keeper.$step
done
guest keeper.stop.killed busybox sh -c 'trap "" TERM; while :; do sleep 0.1; done'
within 5 strata exec g true
strata stop -t 0s g >/dev/null 2>&1 || true
strata delete --force g >/dev/null
strata create --name g busybox sleep 1000 >/dev/null
after keeper.stop.killed

# Output: lines written, logs exchanged, and the file that is left can be read.
for step in log.written log.renamed log.exchanged; do
    guest keeper.$step --log-size 4K --log-count 2 busybox \
        sh -c 'test -e /again && exec sleep 1000; touch /again; i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i + 1)); done; sleep 1000'
    within 10 keeper_gone
    strata logs g >"$WORK/lines" || fail "keeper.$step: logs"
    ! grep -v '^line [0-9]*$' "$WORK/lines" || fail "keeper.$step: a line is not whole"
    after keeper.$step
done

# Health checks.
for step in health.forked health.reaped health.told; do
    guest keeper.$step --health-cmd true --health-interval 50ms busybox sleep 1000
    within 10 keeper_gone
    after keeper.$step
done

# In front of a user: the command does not hang, cleans up and gives a code.
for step in executed status.written ended ended.told finish.begun finish.told; do
    code=0
    STRATA_FAULT=kill:keeper.$step timeout 20 "$STRATA" --state "$STATE" run --name g busybox \
        sh -c 'test -e /again && exec sleep 1000; touch /again; exit 3' >"$WORK/out" 2>&1 </dev/null || code=$?
    case $code in
    3 | 125 | 137) ;;
    *) fail "keeper.$step, in front: code $code: $(cat "$WORK/out")" ;;
    esac
    after "keeper.$step, in front"
done
code=0
echo typed | STRATA_FAULT=kill:keeper.input.taken timeout 20 "$STRATA" --state "$STATE" run -i --name g \
    busybox sh -c 'test -e /again && exec sleep 1000; touch /again; cat; sleep 1000' >"$WORK/out" 2>&1 || code=$?
is "keeper.input.taken: code" "$code" 125
has "and why" "$(cat "$WORK/out")" "its keeper is gone"
after keeper.input.taken

# Every step that the program has was one of these.
grep -ao 'keeper\.[a-z]*\.*[a-z]*' "$KEEPER" | sort -u >"$WORK/names"
cut -d, -f1 "$DIED" | sort -u >"$WORK/done"
for name in $(cat "$WORK/names"); do
    case $name in keeper.? | *.) continue ;; esac # names of files
    grep -qx "$name" "$WORK/done" || fail "the step $name is not swept"
done
