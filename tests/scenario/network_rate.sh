#!/bin/sh
# The rate of a guest's network, at its start, while it runs, and taken off.
# rows: OPS-14
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

# Bytes that come from a guest in half a second.
speed() {
    timeout 0.5 busybox nc "$(strata inspect --json web | grep -o '"10[0-9.]*"' | head -1 | tr -d '"')" 80 </dev/null 2>/dev/null | wc -c
}
below() { [ "$(speed)" -lt "$1" ]; }
above() { [ "$(speed)" -gt "$1" ]; }
tbf() { tc qdisc show 2>/dev/null | grep -c '^qdisc tbf 5354: ' || true; }
need_cmd tc

strata run -d --name web --network-rate 1M busybox sh -c 'while true; do nc -l -p 80 -e cat /dev/zero; done' >/dev/null ||
    skip "this kernel has no token bucket"
within 5 above 50000
is "set at the start" "$(below 1500000 && echo slow)" slow
strata restart -t 0s web >/dev/null
within 5 above 50000
is "kept over a restart" "$(below 1500000 && echo slow)" slow
strata resize web --network-rate none >/dev/null
within 5 above 5000000
strata resize web --network-rate 2M >/dev/null
within 5 above 50000
is "set while it runs" "$(below 2500000 && echo slow)" slow
