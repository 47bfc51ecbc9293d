#!/bin/sh
# kill -9 of keeper, of the command in front, and of both, at random times.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

keeper() { strata inspect --json "$1" | grep -o '"keeper": *[0-9]*' | grep -o '[0-9]*$'; }
stopped() { strata list | grep -q stopped; }

# The keeper: its guest dies with it, the next command says so and goes on.
strata run -d --name web busybox sleep 1000 >/dev/null
pid=$(strata inspect --json web | grep -o '"pid": *[0-9]*' | head -n 1 | grep -o '[0-9]*$')
kill -9 "$(keeper web)"
within 5 sh -c "! kill -0 $pid 2>/dev/null"
has "noticed" "$(strata list 2>&1)" "keeper died"
stopped || fail "not stopped"
is "code of a killed guest" "$(strata wait web)" 137
strata stop web >/dev/null
strata start web >/dev/null
is "it works again" "$(strata exec web echo yes)" yes
strata stop -t 0s web >/dev/null

# The command in front, while the guest goes on.
"$STRATA" --state "$STATE" start --attach web >/dev/null &
front=$!
within 5 strata exec web true
kill -9 $front
sleep 0.2
is "the guest goes on" "$(strata exec web echo yes)" yes
strata delete --force web >/dev/null

# --rm holds, whoever dies.
"$STRATA" --state "$STATE" run --rm --name tmp busybox sleep 1000 >/dev/null &
front=$!
within 5 strata exec tmp true 2>/dev/null
kill -9 $front
strata kill tmp >/dev/null
gone() { [ -z "$(guests)" ]; }
within 5 gone

# Both, a little later each time.
for delay in 0 0.005 0.01 0.015 0.02 0.03 0.04 0.06 0.1; do
    "$STRATA" --state "$STATE" run --rm --name tmp busybox sleep 1000 >/dev/null 2>&1 &
    front=$!
    sleep $delay
    kill -9 $front
    for k in $(pgrep -f "keeper id=.*run-dir=$STATE/"); do kill -9 "$k" 2>/dev/null || true; done
    sleep 0.1
    strata system reconcile >/dev/null 2>&1
    strata delete --force tmp >/dev/null 2>&1 || true
    is "after $delay" "$(guests)$(ls -A "$STATE/guests" "$STATE/run/guests" "$STATE/run/containers" |
        grep -v ':$' | tr -d '\n')" ""
    is "runs again" "$(strata run --rm --name tmp busybox echo yes)" yes
done

# A paused guest whose keeper is killed: frozen processes end, too; with the run directory
# or, as after a restart of the host that did not end them, without it.
pid_of() { strata inspect --json web | grep -o '"pid": *[0-9]*' | head -n 1 | grep -o '[0-9]*$'; }
ended() { ! kill -0 "$1" 2>/dev/null; }
port=$((20000 + $$ % 20000))
for after in start delete; do
    for run in kept gone; do
        strata run -d --name web -p $port:80 busybox sleep 1000 >/dev/null
        strata pause web >/dev/null
        pid=$(pid_of)
        id=$(strata list --json | grep -o '"id": *"[0-9a-f]*' | grep -o '[0-9a-f]*$')
        kill -9 "$(keeper web)"
        [ $run = kept ] || rm -rf "$STATE/run"
        if [ $after = start ]; then
            strata start web >/dev/null 2>"$WORK/err" || fail "start, $run: $(cat "$WORK/err")"
            is "$after, run directory $run" "$(strata exec web echo yes)" yes
        fi
        strata delete --force web >/dev/null 2>"$WORK/err" || fail "delete, $run: $(cat "$WORK/err")"
        within 5 ended "$pid"
        is "$after, run directory $run: groups" "$(find /sys/fs/cgroup -type d -name "$id")" ""
        ! nft list ruleset 2>/dev/null | grep -q "$port :" ||
            fail "$after, run directory $run: the port is still published"
    done
done
