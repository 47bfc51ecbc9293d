#!/bin/sh
# Published ports over every loopback address, by the kernel's rules and without them; who
# has a port is told; nothing is left of the forwarder.
# rows: OSL-06 NET-08 NET-10
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 perl
need_busybox

web='mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'
tcp() {
    python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
s.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
got = b""
while True:
    piece = s.recv(4096)
    if not piece: break
    got += piece
print(got.decode().split("\r\n\r\n")[-1].strip())' "$1" "$2" 2>/dev/null || true
}
serves() { [ "$(tcp "$1" "$2")" = "$3" ]; }
echoes() {
    python3 -c 'import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b"this")
sys.exit(s.recv(100) != b"got this")' "$1" "$2" 2>/dev/null
}
forwarders() { pgrep -f "^forward .*$STATE'" || true; }
gone() { [ -z "$(forwarders)" ]; }
udp_guest() {
    strata run -d --name "$1" -p "$2:53/udp" -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro \
        busybox /usr/bin/perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 53,
        Proto => "udp"); while (1) { $s->recv($m, 512); $s->send("got $m"); }' >/dev/null
}
here=127.0.0.1
[ -e /proc/sys/net/ipv6 ] && here="127.0.0.1 ::1"

check_both() { # FIRST-PORT
    tcp=$1 udp=$(($1 + 1)) v4only=$(($1 + 2))
    strata run -d --name web -p $tcp:80 busybox sh -c "$web" >/dev/null
    udp_guest echo $udp
    strata run -d --name four -p $v4only:80 busybox sh -c "${web%-p 80*}-p 0.0.0.0:80 -h /www" >/dev/null
    for at in $here; do
        within 5 serves $at $tcp web
        within 10 echoes $at $udp
        within 5 serves $at $v4only four # also where the guest listens on IPv4 alone
    done

    # A taken port: by a guest, by another state directory's, by a program, twice by one.
    fails 125 strata run --rm -p $tcp:80 busybox true
    has "the port" "$OUT" "port $tcp/tcp"
    has "its guest by name" "$OUT" "'web'"
    fails 125 "$STRATA" --state "$WORK/other" run --rm -p $tcp:80 busybox true
    has "the port of another state directory" "$OUT" "port $tcp/tcp"
    has "its state directory" "$OUT" "$STATE"
    python3 -c "import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', $((tcp + 3)))); s.listen(); time.sleep(60)" &
    program=$!
    sleep 0.5
    fails 125 strata run --rm -p $((tcp + 3)):80 busybox true
    has "a program is named" "$OUT" "program 'python3' (process $program)"
    kill $program
    fails 125 strata create -p $((tcp + 4)):80 -p 127.0.0.1:$((tcp + 4)):81 busybox true
    has "twice by one guest" "$OUT" "$((tcp + 4))"

    # Again and again: a port is free as soon as its guest has stopped.
    for i in 1 2 3; do
        strata stop -t 0s web >/dev/null
        is "closed with the guest" "$(tcp 127.0.0.1 $tcp)" ""
        strata start web >/dev/null
        within 5 serves 127.0.0.1 $tcp web
    done

    # The keeper is killed: neither guest nor forwarder stays, and the port is free.
    kill -9 "$(strata inspect --json web | grep -o '"keeper": *[0-9]*' | grep -o '[0-9]*$')"
    within 5 strata start web >/dev/null
    within 5 serves 127.0.0.1 $tcp web
    strata delete --force web echo four >/dev/null
    within 3 gone
}

"$STRATA" --state "$WORK/other" image import "$WORK/.busybox.tar" busybox >/dev/null
on_exit() {
    for net in $("$STRATA" --state "$WORK/other" network list --quiet 2>/dev/null); do
        "$STRATA" --state "$WORK/other" network delete "$net" >/dev/null 2>&1
    done
}
check_both 28500
export STRATA_FAULT=fail:network.nft # a host that withholds nf_tables
check_both 28520
has "said" "$(strata run --rm -p 28530:80 busybox true 2>&1)" "no nf_tables"
