#!/bin/sh
# The life of a machine: create, start, stop by the power button, kill, pause, restart, logs, delete.
# rows: OPS-01 OPS-02 OPS-05 OPS-06
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

kernel() { python3 "$TOP/tests/scenario/multiboot.py" "$@"; }
state() { strata list --json | python3 -c "import json, sys
for guest in json.load(sys.stdin):
    if guest['name'] == '$1': print(guest['state'])"; }
printed() { strata logs "$1" | grep -q "$2"; }

cd "$WORK"
kernel button 'say:up\n' button 'say:down\n' off
strata create --name web --as machine --kernel button >/dev/null
is "created" "$(state web)" created
has "its kind" "$(strata list)" machine
cd / # the kernel is found from anywhere
is "start prints the name" "$(strata start web)" web
is "running" "$(state web)" running
fails 1 strata start web
has "start twice" "$OUT" running
within 10 printed web up
strata stop web >/dev/null
is "stopped" "$(state web)" stopped
is "its own code" "$(strata wait web)" 0
has "it heard the button" "$(strata logs web)" down

# One that hears nothing is killed when patience ends.
cd "$WORK"
kernel deaf 'say:deaf\n' spin
strata run -d --name deaf --as machine --kernel deaf --network none --stop-timeout 1s >/dev/null
within 10 printed deaf deaf
strata pause deaf >/dev/null
sleep 0.3 # its worker goes to rest behind its answer
is "paused" "$(state deaf)" paused
fails 1 strata pause deaf
used() { strata stats --json deaf | grep -o '"cpu_ns": *[0-9]*' | grep -o '[0-9]*$'; }
before=$(used)
sleep 0.3
is "a paused machine uses no processor" "$(used)" "$before"
strata resume deaf >/dev/null
is "resumed" "$(state deaf)" running
strata stop deaf >/dev/null
is "killed after its patience" "$(strata wait deaf)" 137
strata restart deaf >/dev/null # of a stopped guest: a start
is "restarted" "$(state deaf)" running
strata pause deaf >/dev/null
strata stop -t 0s deaf >/dev/null
is "stopped while paused" "$(state deaf)" stopped
strata start deaf >/dev/null
strata kill deaf >/dev/null
is "killed" "$(strata wait deaf)" 137
strata rename deaf mute >/dev/null
is "renamed" "$(state mute)" stopped
strata start mute >/dev/null
fails 1 strata delete mute
has "delete while it runs" "$OUT" "stop it first"
strata delete --force mute >/dev/null

# What a machine does not have is said so.
kernel gone exit:0
strata create --name plain --as machine --kernel gone >/dev/null
rm gone
fails 1 strata start plain
has "its kernel is gone" "$OUT" "cannot start guest 'plain': cannot open kernel '$WORK/gone': No such file"
is "it did not start" "$(state plain)" stopped
fails 1 strata cp plain:/etc/passwd -
has "no files" "$OUT" "it is a machine"
kernel gone 'say:ready\n' echo:Z say:end exit:3
strata start plain >/dev/null
within 10 printed plain ready
fails 125 strata exec plain true
has "no exec" "$OUT" "machine"

# The console: who comes later types, too, and hears the end.
printf 'one' | timeout 10 "$STRATA" --state "$STATE" console plain >"$WORK/first" || true
code=0
printf 'twoZ' | strata console plain >"$WORK/second" || code=$?
is "the guest's code" "$code" 3
has "what the second heard" "$(cat "$WORK/second")" end
has "both were heard" "$(strata logs plain)" onetwoend

# Restart policy: anew after a failure, and no more.
kernel fail 'say:again\n' exit:5
strata run -d --name again --as machine --kernel fail --restart on-failure:2 >/dev/null
within 20 sh -c "'$STRATA' --state '$STATE' list | grep -q 'again .*stopped'"
is "three runs" "$(strata logs again | grep -c again)" 3
is "the last code" "$(strata wait again)" 5
for name in web plain again; do strata delete $name >/dev/null; done
is "no files are left" "$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
