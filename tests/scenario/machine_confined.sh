#!/bin/sh
# Foreign code in the worker of a machine (tests/node/machine/breakout.c) gets nothing: no file, no network,
# no process, no right, no page to execute; as root, as an ordinary user, and on a host that lacks parts.
# rows: SEC-01 SEC-02
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
BREAKOUT=$(dirname "$STRATA")/../../tests/node/breakout
[ -x "$BREAKOUT" ] || skip "needs the test program 'breakout' of a build with tests"

# The programs, with the one that breaks out in place of the worker.
chmod 755 "$WORK"
mkdir "$WORK/bin"
for program in "$(dirname "$STRATA")"/*; do
    if [ -f "$program" ] && [ -x "$program" ]; then cp "$program" "$WORK/bin/"; fi
done
cp "$BREAKOUT" "$WORK/bin/machine"
kernel=$WORK/kernel
python3 "$TOP/tests/scenario/multiboot.py" "$kernel" say:hello echo:Z exit:7
chmod 644 "$kernel"

# broken WHAT COMMAND... - what it tried and said on standard error, the code in $code.
broken() {
    what=$1
    shift
    code=0
    (n=0; until grep -q 'all was tried' "$WORK/tried" || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done
        printf Z) | timeout 60 "$@" >"$WORK/out" 2>"$WORK/tried" || code=$?
    ! grep DONE "$WORK/tried" || fail "$what: the worker could do that"
}
refused() { grep -c "^refused $1:" "$WORK/tried"; }

: >"$WORK/tried"
broken "as root" "$WORK/bin/strata" --state "$STATE" run --rm --as machine --kernel "$kernel"
is "the guest ran beside it ($(tail -n 3 "$WORK/tried"))" "$code" 7
grep -q 'all was tried' "$WORK/tried" || fail "not all was tried: $(cat "$WORK/tried")"
for one in 'open a file' 'make an IPv4 socket' 'make a local socket' trace 'kill all' fork execute \
    'make data executable' 'map executable memory' 'be root' 'make namespaces'; do
    is "'$one', before the guest and beside it" "$(refused "$one")" 2
done

# As the host sees it: a user of its own, no capability, namespaces of its own, an empty root.
guest() { "$WORK/bin/strata" --state "$STATE" "$@"; }
guest run -d --name seen --as machine --kernel "$kernel" >/dev/null
pid=$(guest inspect --json seen | grep -o '"pid": *[0-9]*' | head -n 1 | grep -o '[0-9]*$')
of_status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status" | cut -f 1; }
[ "$(of_status Uid)" -ge 1048576 ] || fail "the worker of root runs as user $(of_status Uid)"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do is "$set" "$(of_status $set)" 0000000000000000; done
is "no new privileges" "$(of_status NoNewPrivs)" 1
is "a filter" "$(of_status Seccomp)" 2
for ns in mnt net pid ipc uts; do
    [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ] || fail "it is in our $ns namespace"
done
is "its root is empty" "$(find "/proc/$pid/root/" -mindepth 1)" ""
guest delete --force seen >/dev/null

for way in rings old-calls; do
    : >"$WORK/tried"
    broken "$way" env STRATA_FAULT=kill:$way "$WORK/bin/strata" --state "$STATE" run --rm --as machine \
        --kernel "$kernel"
    is "$way: code" "$code" 125
    code=0
    timeout 60 env STRATA_FAULT=kill:$way "$WORK/bin/machine" --kernel "$kernel" </dev/null 2>"$WORK/tried" || code=$?
    [ "$code" = 33 ] || [ "$code" = 159 ] || fail "$way: it ended with $code" # 159: by SIGSYS
    ! grep 'DONE' "$WORK/tried" || fail "$way: the worker could do that"
    [ $way != rings ] || ! grep -q 'a ring' "$WORK/tried" || is "$way: tried" "$(grep -c '^refused' "$WORK/tried")" 3
done

# An ordinary user.
if setpriv --reuid 12345 --regid 12345 --clear-groups unshare --user true 2>/dev/null; then
    : >"$WORK/tried"
    mkdir "$WORK/home"
    chown 12345 "$WORK/home"
    chmod 666 "$WORK/tried"
    broken "an ordinary user" setpriv --reuid 12345 --regid 12345 --clear-groups env HOME="$WORK/home" \
        "$WORK/bin/strata" --state "$WORK/home/state" run --rm --as machine --kernel "$kernel"
    is "the guest ran beside it ($(tail -n 3 "$WORK/tried"))" "$code" 7
    grep -q 'all was tried' "$WORK/tried" || fail "not all was tried"
fi

# Directly, as tests and instruments run it.
: >"$WORK/tried"
broken "directly" "$WORK/bin/machine" --kernel "$kernel"
is "directly: code" "$code" 7
grep -q 'all was tried' "$WORK/tried" || fail "not all was tried"
