#!/bin/sh
# Limits hold, are changed on a running guest, and a greedy guest does not hurt others.
# rows: OSL-09 OPS-14 SEC-05 PRO-07
# alone
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
strata doctor --json 2>/dev/null | grep -q '"memory limits"' || :

field() { strata stats --json "$1" | python3 -c "import json,sys; print(int(json.load(sys.stdin)[0]['$2']))"; }
strata run -d --name calm busybox sh -c 'i=0; while :; do i=$((i+1)); echo $i >/tick.new; mv /tick.new /tick; sleep 0.2; done' >/dev/null
strata run -d --name greedy --memory 32M --cpus 0.25 --pids 20 busybox sleep 1000 >/dev/null
is "report equals the order" "$(strata inspect --json greedy | python3 -c \
    'import json,sys; l=json.load(sys.stdin)[0]["limits"]; print(l["memory_bytes"], l["cpu_millis"], l["pids"])')" \
    "33554432 250 20"

# Memory: a hog is killed, the guest and its neighbour are not.
fails 137 strata exec greedy sh -c 'exec tail /dev/zero'
is "it goes on" "$(strata exec greedy echo alive)" alive
[ "$(field greedy oom_kills)" -ge 1 ] || fail "no kill was counted"

# Processes: a fork bomb stays below its limit.
strata exec greedy sh -c 'i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done' >/dev/null 2>&1 || :
[ "$(field greedy pids)" -le 20 ] || fail "$(field greedy pids) processes"
strata exec --detach greedy true 2>/dev/null || :
strata restart --timeout 0s greedy >/dev/null

# Processor: never over a quarter of one.  How much of it a busy host leaves is not ours;
# that the limit and nothing else holds it back is seen from the throttled time.
held=$(field greedy throttled_ns)
strata exec --detach greedy sh -c 'while :; do :; done'
a=$(field greedy cpu_ns) t=$(date +%s%N)
sleep 3
used=$((($(field greedy cpu_ns) - a) * 1000 / ($(date +%s%N) - t)))
[ "$used" -ge 80 ] && [ "$used" -le 285 ] || fail "used $used thousandths, not 250"
[ "$(field greedy throttled_ns)" -gt "$held" ] || fail "it was never throttled"
strata resize greedy --cpus 0.5 --memory 64M >/dev/null
a=$(field greedy cpu_ns) t=$(date +%s%N)
sleep 3
used=$((($(field greedy cpu_ns) - a) * 1000 / ($(date +%s%N) - t)))
[ "$used" -ge 150 ] && [ "$used" -le 560 ] || fail "used $used thousandths, not 500"
is "memory limit now" "$(field greedy memory_limit_bytes)" 67108864

# The neighbour kept ticking.
one=$(strata exec calm cat /tick) && sleep 1 && two=$(strata exec calm cat /tick)
[ "$two" -gt "$one" ] || fail "the neighbour stands still"
kill -9 "$(strata inspect --json greedy | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["pid"])')"
one=$(strata exec calm cat /tick) && sleep 1 && two=$(strata exec calm cat /tick)
[ "$two" -gt "$one" ] || fail "the neighbour died, too"
