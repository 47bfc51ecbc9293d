#!/bin/sh
# A machine that stands still, and goes on; the reset button; a machine that resets itself.
# rows: OPS-05 OPS-06
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

kernel() { python3 "$TOP/tests/scenario/multiboot.py" "$@"; }
part() { # GUEST KEY - of what its worker tells
    strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine'].get('$2'))"
}
printed() { strata logs "$1" | grep -q "$2"; }

# Its own time stands with it: what takes it two seconds takes longer by the pause, whichever
# engine; a clock that ran on would let it catch up.
cd "$WORK"
kernel clock 'say:up\n' ticks:30 'say:\nend\n' off
for engine in translate interpret; do
    began=$(date +%s%N)
    strata run -d --name clock --as machine --kernel clock --engine $engine >/dev/null
    within 10 printed clock up
    strata pause clock >/dev/null
    is "its worker knows" "$(part clock state)" paused
    has "a paused machine" "$(strata list)" paused
    before=$(strata logs clock | wc -c)
    sleep 3
    is "nothing was printed ($engine)" "$(strata logs clock | wc -c)" "$before"
    strata resume clock >/dev/null
    is "the code" "$(strata wait clock)" 0
    took=$((($(date +%s%N) - began) / 1000000))
    [ "$took" -ge 4800 ] || fail "its clock ran on: $took ms with engine $engine"
    has "all dots" "$(strata logs clock)" ..............................
    is "how it ended" "$(part clock end)" off
    strata delete clock >/dev/null
done

# One whose worker does not answer is stopped from outside.
kernel spins 'say:up\n' spin
strata run -d --name deaf --as machine --kernel spins --stop-timeout 1s >/dev/null
within 10 printed deaf up
mv "$STATE"/run/guests/*/machine "$WORK/away"
strata pause deaf >/dev/null
has "stopped from outside" "$(strata list)" paused
mv "$WORK/away" "$(ls -d "$STATE"/run/guests/*)/machine"
has "it still is" "$(strata list)" paused
strata resume deaf >/dev/null
has "it runs" "$(strata list)" running

# The reset button, also of a paused one; a container has none.
strata reset deaf >/dev/null
within 10 sh -c "[ \$('$STRATA' --state '$STATE' logs deaf | grep -c up) = 2 ]"
strata pause deaf >/dev/null
strata reset deaf >/dev/null
strata resume deaf >/dev/null
within 10 sh -c "[ \$('$STRATA' --state '$STATE' logs deaf | grep -c up) = 3 ]"
strata stop -t 0s deaf >/dev/null
fails 1 strata reset deaf
has "no button" "$OUT" "cannot reset guest 'deaf': it is stopped"
strata delete deaf >/dev/null

# One that resets itself starts again, or ends with a code of its own.
kernel again 'say:up\n' reset
code=0
timeout 60 "$STRATA" --state "$STATE" run --rm --as machine --kernel again --no-reboot >"$WORK/out" </dev/null || code=$?
is "a reset is the end" "$code $(grep -c up "$WORK/out")" "129 1"
strata run -d --name again --as machine --kernel again >/dev/null
within 10 sh -c "[ \$('$STRATA' --state '$STATE' logs again | grep -c up) -ge 3 ]"
strata delete --force again >/dev/null
fails 125 strata run --no-reboot busybox
has "of machines" "$OUT" "cannot use --no-reboot with a container"

# How it ended is kept.
kernel panics panic spin
strata run -d --name panics --as machine --kernel panics >/dev/null
is "a panic" "$(strata wait panics)" 134
is "it is told" "$(part panics end)" "the guest panicked"
strata delete panics >/dev/null
