#!/bin/sh
# Many at once: twenty in parallel, and commands that race for one guest.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    (code=0
    strata run --rm busybox sh -c "echo got $i; exit $i" >"$WORK/out$i" 2>&1 || code=$?
    echo $code >"$WORK/code$i") &
done
wait
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    is "output $i" "$(cat "$WORK/out$i")" "got $i"
    is "code $i" "$(cat "$WORK/code$i")" $i
done
is "nothing is left" "$(guests)$(ls "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""

# count WORD... - run the command twice at once; how often it succeeded.
twice() {
    (strata "$@" >/dev/null 2>&1 && echo yes) >"$WORK/a" &
    (strata "$@" >/dev/null 2>&1 && echo yes) >"$WORK/b" &
    wait
    cat "$WORK/a" "$WORK/b" | wc -l
}
for round in 1 2 3 4 5; do
    is "one create wins" "$(twice create --name same busybox sleep 1000)" 1
    is "one guest" "$(guests)" same
    is "one start wins" "$(twice start same)" 1
    is "one process" "$(strata exec same ps | grep -c 'sleep 1000')" 1
    strata list >/dev/null &
    strata stop -t 0s same >/dev/null 2>&1 &
    strata delete --force same >/dev/null 2>&1 || true
    wait
    strata delete --force same >/dev/null 2>&1 || true
    is "stop and delete" "$(guests)" ""
    strata run -d --name same busybox sleep 1000 >/dev/null
    is "both deletes end it" "$(twice delete --force same | tr 2 1)" 1
    is "deleted" "$(guests)" ""
done
is "no files are left" "$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""

# Looking on disturbs nobody.
(while [ ! -e "$WORK/enough" ]; do strata list >/dev/null; done) &
for i in 1 2 3 4 5 6 7 8 9 10; do
    strata run --name busy busybox true || fail "run while others look"
    strata start busy >/dev/null || fail "start while others look"
    is "code while others look" "$(strata wait busy)" 0
    strata delete busy >/dev/null || fail "delete while others look"
done
touch "$WORK/enough"
wait
