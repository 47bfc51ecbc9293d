#!/bin/sh
# A machine that runs one command of an image, on a network: its address, names, ports and ways out are
# there when the command begins; the same for an ordinary user; inside an internal network; without one.
# rows: MIO-05 NET-08 OPS-01
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 400
. "$(dirname "$0")/lib.sh"
need_root
need_cmd curl setpriv
need_shared_programs
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"

machine() { # ARGUMENT...
    timeout 100 "$STRATA" --state "$STATE" run --rm --as machine --kernel "$linux" "$@" </dev/null
}
field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
get() { curl -s -g --max-time 2 "http://$1/" || true; }
serves() { [ "$(get "$1")" = "$2" ]; }
serve='mkdir -p /www; echo "from $(hostname)" >/www/index.html; exec httpd -f -p 80 -h /www'

strata network create blue --subnet 10.78.0.0/24 >/dev/null
strata network create shut --subnet 10.79.0.0/24 --internal >/dev/null
strata run -d --name web --network blue --hostname web busybox sh -c "$serve" >/dev/null

# Its first action is over the network: nothing has to settle.
is "a container by its name" "$(machine --network blue busybox wget -q -O - http://web/)" "from web"
is "its address and way" "$(machine --network blue --ip 10.78.0.60 busybox sh -c 'ip -4 -o address show dev eth0; ip route' |
    awk '{ print $1, $2, $3, $4, $5 }')" "2: eth0 inet 10.78.0.60/24 brd
default via 10.78.0.1 dev eth0
10.78.0.0/24 dev eth0 scope link"
is "its names" "$(machine --network blue --hostname one --name first --ip 10.78.0.61 busybox sh -c \
    'hostname; cat /etc/hostname; grep first /etc/hosts | cut -d " " -f 1-3; grep -c nameserver /etc/resolv.conf')" "one
one
10.78.0.61 first one
$(strata run --rm --network blue busybox grep -c nameserver /etc/resolv.conf)"
is "no way out of an internal one" "$(machine --network shut busybox sh -c 'ip route | grep -c default; ip route | grep -c eth0')" "0
1"
is "no network" "$(machine --network none busybox sh -c 'ls /sys/class/net; ip address show dev lo | grep -c 127.0.0.1/8')" "lo
1"

# Ports; a name server and a link in the image do not stand in the way.
strata run -d --name box --as machine --kernel "$linux" --network blue --hostname box -p 28581:80 busybox sh -c "$serve" >/dev/null
within 60 serves 127.0.0.1:28581 "from box"
is "from the container" "$(strata exec web wget -q -O - "http://$(field box '["addresses"][0]')/")" "from box"
strata exec box sh -c 'rm /etc/hosts; ln -s /planted /etc/hosts'
strata stop -t 1s box >/dev/null
strata start box >/dev/null
within 60 serves 127.0.0.1:28581 "from box"
is "again" "$(strata exec box sh -c 'grep -c box /etc/hosts; ls /planted 2>&1')" "1
ls: /planted: No such file or directory"
strata delete --force box web >/dev/null

# An ordinary user's.
setpriv --reuid 12345 --regid 12345 --clear-groups unshare -U test -r "$linux" 2>/dev/null ||
    skip "the rest: the host gives users no user namespaces, or no kernel to read"
mkdir home
cp .busybox.tar home/busybox.tar
chown -R 12345:12345 home
as_user() {
    (cd "$WORK/home" && timeout 100 setpriv --reuid 12345 --regid 12345 --clear-groups --bounding-set=-all \
        env HOME="$WORK/home" XDG_RUNTIME_DIR="$WORK/home" "$STRATA" --state "$WORK/home/state" "$@" </dev/null)
}
on_exit() { as_user delete --force vm >/dev/null 2>&1; }
as_user image import busybox.tar busybox >/dev/null
port=$((20000 + $$ % 10000))
as_user run -d --name vm --as machine --kernel "$linux" --hostname mine -p "127.0.0.1:$port:80" busybox sh -c "$serve" >/dev/null
within 60 serves "127.0.0.1:$port" "from mine"
is "its way out" "$(as_user exec vm sh -c 'ip -4 -o address show dev eth0 | tr -s " " | cut -d " " -f 4; ip route | grep default')" "10.0.2.100/24
default via 10.0.2.2 dev eth0 "
is "its names" "$(as_user exec vm sh -c 'grep -q nameserver /etc/resolv.conf && cat /etc/hostname')" mine
as_user delete --force vm >/dev/null
