#!/bin/sh
# Networks: own addresses on one port, names of neighbours, published ports TCP and UDP over
# IPv4 and IPv6.
# rows: OSL-06
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 curl perl
need_busybox

web='mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'
field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
get() { curl -s -g --max-time 2 "http://$1/" || true; }
serves() { [ "$(get "$1")" = "$2" ]; }
sees() { [ "$(strata exec "$1" wget -q -O - "http://$2/" 2>/dev/null)" = "$3" ]; }

# Two guests bind the same port; each can be reached, also by the other's name.
strata run -d --name one busybox sh -c "$web" >/dev/null
strata run -d --name two busybox sh -c "$web" >/dev/null
ip1=$(field one '["addresses"][0]') ip2=$(field two '["addresses"][0]')
[ "$ip1" != "$ip2" ] || fail "both have $ip1"
within 5 serves "$ip1" one
within 5 serves "$ip2" two
within 5 serves "[$(field one '["addresses"][1]')]" one
within 5 sees one two two

# Names follow: rename, delete, a guest that came later.
strata rename two second >/dev/null
within 5 sees one second two
strata run -d --name late busybox sh -c "$web" >/dev/null
within 5 sees one late late
strata delete --force second late >/dev/null
fails 1 strata exec one sh -c 'grep -q -w -e second -e late /etc/hosts'

# Published ports.
strata run -d --name pub -p 28480:80 -p 127.0.0.1:28481:80 busybox sh -c "$web" >/dev/null
within 5 serves 127.0.0.1:28480 pub
within 5 serves 127.0.0.1:28481 pub
gateway6=$(strata network inspect --json default | python3 -c 'import json,sys; print(next((g for g in json.load(sys.stdin)[0]["gateways"] if ":" in g), ""))')
[ -z "$gateway6" ] || within 5 serves "[$gateway6]:28480" pub
has "shown" "$(strata list | grep pub)" 28480
fails 125 strata run --rm -p 28480:80 busybox true
has "a taken port is named" "$OUT" 28480
strata stop -t 0s pub >/dev/null
is "closed with the guest" "$(get 127.0.0.1:28480)" ""
strata start pub >/dev/null
within 5 serves 127.0.0.1:28480 pub

# UDP: an echo in the guest, by the host's perl, asked through the host.
strata run -d --name echo -p 28453:53/udp -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro busybox \
    /usr/bin/perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 53, Proto => "udp");
    while (1) { $s->recv($m, 512); $s->send("got $m"); }' >/dev/null
echoes() {
    python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(b"this", ("127.0.0.1", 28453))
sys.exit(s.recv(100) != b"got this")' 2>/dev/null
}
within 10 echoes

is "no network" "$(strata run --rm --network none busybox ip -o link | grep -vc LOOPBACK)" 0
is "the host's network" "$(strata run --rm --network host busybox readlink /proc/self/ns/net)" \
    "$(readlink /proc/self/ns/net)"
fails 125 strata run --rm --network nosuch busybox true
