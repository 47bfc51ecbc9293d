#!/bin/sh
# kill -9 of a machine's worker, of its keeper, of the command in front: all of it is freed.
# rows: OPS-01 SEC-03
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

kernel() { python3 "$TOP/tests/scenario/multiboot.py" "$@"; }
number() { strata inspect --json "$1" | grep -o "\"$2\": *[0-9]*" | head -n 1 | grep -o '[0-9]*$'; }
ended() { ! kill -0 "$1" 2>/dev/null; }
printed() { strata logs "$1" 2>/dev/null | grep -q "$2"; }
group_of() { find /sys/fs/cgroup -type d -name "$1" 2>/dev/null; }

cd "$WORK"
kernel spin 'say:up\n' spin
kernel hog fill:256 'say:full\n' spin

# The worker: its end is the guest's.
strata run -d --name web --as machine --kernel spin >/dev/null
within 10 printed web up
kill -9 "$(number web pid)"
is "code of a killed worker" "$(strata wait web)" 137
id=$(strata inspect --json web | grep -o '"id": *"[0-9a-f]*' | head -n 1 | grep -o '[0-9a-f]*$')
is "its group is gone" "$(group_of "$id")" ""

# The keeper: its worker dies with it, the next command says so and goes on.
strata start web >/dev/null
within 10 printed web up
pid=$(number web pid)
kill -9 "$(number web keeper)"
within 5 ended "$pid"
has "noticed" "$(strata list 2>&1)" "keeper died"
is "code of a lost guest" "$(strata wait web)" 137
is "its group is gone" "$(group_of "$id")" ""
strata start web >/dev/null
strata stop -t 0s web >/dev/null

# A paused one, too.
strata start web >/dev/null
pid=$(number web pid)
strata pause web >/dev/null
kill -9 "$(number web keeper)"
strata delete --force web >/dev/null 2>&1
within 5 ended "$pid"
is "a paused machine's group is gone" "$(group_of "$id")" ""

# --rm holds, whoever dies.
"$STRATA" --state "$STATE" run --rm --name tmp --as machine --kernel spin >/dev/null 2>&1 </dev/null &
front=$!
within 10 printed tmp up
kill -9 $front
strata kill tmp >/dev/null
gone() { [ -z "$(guests)" ]; }
within 5 gone

# Both, a little later each time.
for delay in 0 0.005 0.01 0.015 0.02 0.03 0.04 0.06 0.1; do
    "$STRATA" --state "$STATE" run --rm --name tmp --as machine --kernel spin >/dev/null 2>&1 </dev/null &
    front=$!
    sleep $delay
    kill -9 $front
    for k in $(pgrep -f "keeper id=.*run-dir=$STATE/"); do kill -9 "$k" 2>/dev/null || true; done
    sleep 0.1
    strata system reconcile >/dev/null 2>&1
    strata delete --force tmp >/dev/null 2>&1 || true
    is "after $delay" "$(guests)$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
done

# A machine that takes all its memory takes no more, and its neighbour does not notice.
strata run -d --name next --as machine --kernel spin >/dev/null
strata run -d --name hog --memory 288M --as machine --kernel hog >/dev/null
within 30 printed hog full
used=$(strata stats --json hog | grep -o '"memory_bytes": *[0-9]*' | grep -o '[0-9]*$')
[ "${used:-0}" -lt $((800 << 20)) ] || fail "a guest of 288M takes $used bytes"
has "the neighbour runs" "$(strata list)" running
strata delete --force hog next >/dev/null
