#!/bin/sh
# A service answers every request while its neighbour hogs memory, processors and processes,
# and while the neighbour's keeper is killed.
# rows: OSL-09 SEC-05
# alone
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
REQUESTS=30

strata run -d --name svc busybox sh -c \
    'mkdir /www; echo answer >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
strata run -d --name client busybox sleep 1000 >/dev/null
strata run -d --name greedy --memory 48M --pids 40 --cpus 0.5 busybox sleep 1000 >/dev/null

# Each request is a program of the client; none may fail or wait for ever.
answers() { # WHAT
    is "$1: answers" "$(strata exec client sh -c \
        "for i in \$(seq 1 $REQUESTS); do
            printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 $address 80 | tail -n 1; done" |
        grep -c answer)" "$REQUESTS"
    is "$1: new programs" "$(strata exec svc echo yes)" yes
}
address=$(strata inspect --json svc | grep -o '"addr4": *"[0-9.]*' | grep -o '[0-9.]*$')
within 10 strata exec client sh -c "nc -w 5 $address 80 </dev/null"
answers "in peace"

strata exec --detach greedy sh -c 'while :; do :; done'
strata exec --detach greedy sh -c 'while :; do :; done'
answers "processors are hogged"

strata exec --detach greedy sh -c 'f() { f | f & f; }; f' # bounded by --pids
sleep 1
answers "a fork bomb"
strata restart -t 0s greedy >/dev/null

strata exec --detach greedy sh -c 'while :; do tail /dev/zero; done'
answers "memory is hogged, again and again"
[ "$(strata stats --json greedy | grep -o '"oom_kills": *[0-9]*' | grep -o '[0-9]*$')" -ge 1 ] ||
    fail "nothing was hogged"

strata exec --detach greedy sh -c 'while :; do dd if=/dev/zero of=/big bs=1M count=64; done' 2>/dev/null
answers "the disk is written"

keeper=$(strata inspect --json greedy | grep -o '"keeper": *[0-9]*' | grep -o '[0-9]*$')
kill -9 "$keeper"
answers "the neighbour's keeper is killed"
strata list >/dev/null 2>&1
answers "it is cleaned up"
