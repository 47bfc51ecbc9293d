#!/bin/sh
# A container and a machine with a stock kernel on one network: an address by DHCP, names, published
# ports, traffic both ways; nothing is left when worker or keeper is killed; a machine without a network.
# rows: MIO-05 NET-08 OPS-01
# timeout: 300
# release
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_linux.sh"
need_root
need_cmd curl ip
need_busybox
need_linux failover net_failover virtio_net

cd "$WORK"
cat >told <<'SH'
#!/bin/sh
[ "$1" = bound ] || exit 0
echo "told $ip/$mask via $router mtu $mtu host $hostname"
ip address add "$ip/$mask" dev "$interface"
[ -z "$router" ] || ip route add default via "$router"
SH
linux_initrd initrd told <<'SH'
chmod 755 /told
ip link set lo up
ip link set eth0 up 2>/dev/null || { echo "no card"; poweroff -f; }
echo "card $(cat /sys/class/net/eth0/address)"
udhcpc -f -i eth0 -n -q -t 10 -T 1 -s /told 2>/dev/null || echo "nobody answers"
[ -z "$1" ] || echo "heard $(wget -q -O - "http://$1/")"
mkdir -p /www
echo "from $2" >/www/index.html
httpd -p 80 -h /www
echo serving
while sleep 1; do :; done
SH
vm() { # NAME WORDS OPTION...
    name=$1 words=$2
    shift 2
    strata run -d --name "$name" --as machine --kernel "$LINUX" --initrd initrd --memory 128M \
        --append "console=ttyS0 quiet panic=-1 -- $words" "$@" >/dev/null
}
field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
said() { strata logs "$1" | tr -d '\r' | grep -q "^$2"; }
get() { curl -s -g --max-time 2 "http://$1/" || true; }
serves() { [ "$(get "$1")" = "$2" ]; }
sees() { [ "$(strata exec "$1" wget -q -O - "http://$2/" 2>/dev/null)" = "$3" ]; }
links() { ip -o link | grep -c "sv$1" || true; }

strata network create blue --subnet 10.77.0.0/24 --mtu 1400 >/dev/null
strata run -d --name web --network blue busybox sh -c \
    'mkdir /www; echo contained >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
vm one "$(field web '["addresses"][0]') one" --network blue --ip 10.77.0.50 -p 28580:80 --hostname first
within 60 said one serving
is "its address" "$(field one '["addresses"]')" "['10.77.0.50']"
said one "told 10.77.0.50/24 via 10.77.0.1 mtu 1400 host first" || fail "told: $(strata logs one)"
said one "card 02:53:0a:4d:00:32" || fail "its card: $(strata logs one)"
said one "heard contained" || fail "the container from the machine: $(strata logs one)"
sees web 10.77.0.50 "from one" || fail "the machine from the container"
sees web one "from one" || fail "... by its name"
sees web first "from one" || fail "... by its host name"
within 5 serves 127.0.0.1:28580 "from one"
has "shown" "$(strata list | grep one)" 28580
fails 125 vm again "" -p 28580:80
has "a port that is taken" "$OUT" "28580"
fails 125 vm again "" --network blue --ip 10.77.0.50
has "an address that is taken" "$OUT" "10.77.0.50"

# A second machine on it, and the first from there.
vm two "10.77.0.50 two" --network blue
within 60 said two serving
said two "heard from one" || fail "a machine from a machine: $(strata logs two)"

# Worker killed, keeper killed: link and port are free.
id=$(field one '["id"]')
is "its link" "$(links "$id")" 1
kill -KILL "$(field one '["pid"]')"
gone() { [ "$(links "$1")" = 0 ]; }
within 10 gone "$id"
is "closed with the guest" "$(get 127.0.0.1:28580)" ""
id=$(field two '["id"]')
kill -KILL "$(field two '["parts"]["layer"]["keeper"]')"
within 10 gone "$id"
strata delete --force two >/dev/null
strata start one >/dev/null
within 60 serves 127.0.0.1:28580 "from one"
sees web one "from one" || fail "the machine that was started again"
strata delete --force one >/dev/null
is "no link is left" "$(links "$id")" 0

# Words that are not for machines; and no network.
fails 125 vm none "" --network host
has "the host's" "$OUT" "it has a kernel of its own"
vm none "" --network none
within 60 said none "no card"
is "no address" "$(field none '["addresses"]')" "[]"
