#!/bin/sh
# Networks: own addresses, names of neighbours, TCP ports.
# rows: OSL-06
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 ip
need_busybox

serve='while :; do echo from-$(hostname) | nc -l -p 80; done'
answer() { # FAMILY TYPE HOST PORT - what comes back
    python3 -c "import socket, sys
s = socket.socket(socket.AF_INET6 if '$1' == '6' else socket.AF_INET, socket.SOCK_$2)
s.settimeout(2)
s.connect(('$3', $4))
s.send(b'x\n')
print(s.recv(100).decode().strip())" 2>/dev/null || true
}
answers() { [ "$(answer "$1" "$2" "$3" "$4")" = "$5" ]; }

# Two guests bind the same port; each can be reached, also by the other's name.
strata run -d --name one busybox sh -c "$serve" >/dev/null
strata run -d --name two busybox sh -c "$serve" >/dev/null
ip1=$(strata exec one hostname -i | cut -d' ' -f1)
ip2=$(strata exec two hostname -i | cut -d' ' -f1)
[ -n "$ip1" ] && [ "$ip1" != "$ip2" ] || fail "addresses: '$ip1' '$ip2'"
within 5 answers 4 STREAM "$ip1" 80 from-one
within 5 answers 4 STREAM "$ip2" 80 from-two
is "by name" "$(strata exec one sh -c 'nc two 80 </dev/null')" from-two
is "from the host's side only its own" "$(strata exec one ip -o addr | grep -c "$ip2")" 0

# Names follow: rename, delete, a guest that came later.
strata rename two second >/dev/null
is "new name" "$(strata exec one sh -c 'nc second 80 </dev/null')" from-two
fails 1 strata exec one sh -c 'nc -w 2 two 80 </dev/null'
strata run -d --name late busybox sh -c "$serve" >/dev/null
within 5 sh -c '[ "$("$STRATA" --state "$STATE" exec one nc late 80 </dev/null)" = from-late ]'
strata delete --force second late >/dev/null
fails 1 strata exec one sh -c 'nc -w 2 second 80 </dev/null'

# Published ports.
strata run -d --name pub -p 28480:80 -p 127.0.0.1:28481:80 busybox \
    sh -c "$serve" >/dev/null
within 5 answers 4 STREAM 127.0.0.1 28480 from-pub
within 5 answers 4 STREAM 127.0.0.1 28481 from-pub
has "shown" "$(strata list | grep pub)" 28480
fails 125 strata run --rm -p 28480:80 busybox true
has "a taken port names its owner" "$OUT" 28480
strata stop -t 0s pub >/dev/null
is "closed with the guest" "$(answer 4 STREAM 127.0.0.1 28480)" ""
strata start pub >/dev/null
within 5 answers 4 STREAM 127.0.0.1 28480 from-pub

is "no network" "$(strata run --rm --network none busybox ip -o link | grep -vc LOOPBACK)" 0
is "the host's network" "$(strata run --rm --network host busybox cat /proc/net/dev | wc -l)" \
    "$(wc -l </proc/net/dev)"
fails 125 strata run --rm --network nosuch busybox true
