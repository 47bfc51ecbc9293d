#!/bin/sh
# Restart policies: no, on-failure[:N], always, unless-stopped.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

lines() { strata logs "$1" | grep -c up; }
has_lines() { [ "$(lines "$1")" -ge "$2" ]; }

strata run -d --name twice --restart on-failure:2 busybox sh -c 'echo up; exit 5' >/dev/null
is "ends with its code" "$(strata wait twice)" 5
is "one start, two restarts" "$(lines twice)" 3

strata run -d --name fine --restart on-failure busybox sh -c 'echo up' >/dev/null
is "success is not restarted" "$(strata wait fine)" 0
is "one start" "$(lines fine)" 1

strata run -d --name again --restart always busybox sh -c 'echo up; sleep 0.2' >/dev/null
within 10 has_lines again 3
strata stop again >/dev/null
n=$(lines again)
sleep 1
is "a stop ends restarting" "$(lines again)" "$n"
has "it is stopped" "$(strata list)" stopped

# The writable disk stays over a restart by the policy.
strata run -d --name keep --restart always busybox sh -c \
    'echo x >>/count; echo up $(wc -l </count); sleep 0.1' >/dev/null
within 10 sh -c '"$STRATA" --state "$STATE" logs keep | grep -q "up 3"'
strata delete --force keep >/dev/null

# A host that is started anew: everything in the run directory is gone.
strata run -d --name back --restart always busybox sleep 100 >/dev/null
strata run -d --name away --restart unless-stopped busybox sleep 100 >/dev/null
strata run -d --name never busybox sleep 100 >/dev/null
strata stop -t 0s away >/dev/null
strata stop -t 0s never >/dev/null
keeper=$(strata inspect --json back | grep -o '"keeper": *[0-9]*' | grep -o '[0-9]*$')
kill -9 "$keeper"
sleep 0.5
rm -rf "$STATE/run"
has "stopped after the reboot" "$(strata list | grep back)" stopped
out=$(strata system autostart)
has "always comes back" "$out" back
case $out in *away* | *never*) fail "started too much: $out" ;; esac
has "it runs" "$(strata list | grep back)" running
