#!/bin/sh
# rows: OSL-06
# The user-mode network, whole, as an ordinary user: out, in, both families, both
# protocols, and gone with its guest.  Everything happens in a namespace of the test.
#   usernet_test.sh USERNET tap|packet|frames [BRIDGE]
set -u
usernet=$1
bridge=${3:-}
client="python3 $(dirname "$0")/usernet_client.py"
if [ "${4:-}" != inside ]; then
    unshare -n true 2>/dev/null || { echo "skipped: cannot make network namespaces"; exit 77; }
    for tool in setpriv busybox ip python3; do
        command -v $tool >/dev/null || { echo "skipped: no $tool"; exit 77; }
    done
    exec unshare -n -m --propagation private "$0" "$usernet" "$2" "$bridge" inside
fi

# The program forbids itself what the leak checker does at the end.
export ASAN_OPTIONS=detect_leaks=0

dir=$(mktemp -d)
chmod 777 "$dir"
holder= up= server= carrier=
cleanup() {
    for p in $carrier $holder $up $server; do kill "$p" 2>/dev/null; done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' TERM INT
fail() { echo "FAILED: $*"; cat "$dir"/*.log 2>/dev/null; exit 1; }
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"

# The device file as most hosts have it, or as this one might: for root alone.
option=
if [ "$2" != packet ]; then
    { mknod "$dir/tun" c 10 200 && chmod 666 "$dir/tun" &&
      mount --bind "$dir/tun" /dev/net/tun; } 2>/dev/null ||
        { echo "skipped: no tap devices"; exit 77; }
    (exec 3<>/dev/net/tun) 2>/dev/null || { echo "skipped: no tap devices"; exit 77; }
else
    option=--no-tap
fi

# The host: an address outside loopback (a guest does not reach the host's 127.0.0.1).
ip link set lo up
ip link add up0 type veth peer name up1
ip address add 192.0.2.1/24 dev up0
ip -6 address add 2001:db8::1/64 dev up0 nodad
ip link set up0 up
ip link set up1 up

$nobody unshare -Urn sleep 1000 >/dev/null 2>&1 &
holder=$!
i=0
until [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/self/ns/net)" ] &&
      [ "$(cat /proc/$holder/comm)" = sleep ]; do
    i=$((i + 1)); [ $i -lt 100 ] || fail "no guest"; sleep 0.05
done

guest="nsenter -t $holder -U -n --preserve-credentials"

mkfifo "$dir/ready"
if [ "$2" = frames ]; then
    "$bridge" $holder eth0 $nobody "$usernet" --ready-fd=3 --publish=8080:1080 --publish=8053:1053/udp \
        --publish=127.0.0.1:8090-8091:1090-1091 3>"$dir/ready" 2>"$dir/usernet.log" &
    carrier=$!
else
    $nobody "$usernet" --pid=$holder --ready-fd=3 --publish=8080:1080 --publish=8053:1053/udp \
        --publish=127.0.0.1:8090-8091:1090-1091 $option 3>"$dir/ready" 2>"$dir/usernet.log" &
    up=$!
fi
said=$(cat "$dir/ready")
[ "$said" = 1 ] || fail "not ready: $said"
if [ "$2" = frames ]; then # a machine, which asks for its address
    up=$(cat /proc/$carrier/task/$carrier/children)
    up=${up% }
    admin="nsenter -t $holder -U -n"
    $admin sh -ec 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra
        ip link set lo up; ip link set eth0 mtu 65520 up
        ip -6 address add fd00::100/64 dev eth0 nodad; ip -6 route add default via fd00::2'
    printf '#!/bin/sh\n[ "$1" != bound ] || { ip address add $ip/24 dev eth0; ip route add default via $router; echo $ip $dns; }\n' \
        >"$dir/bound"
    chmod 755 "$dir/bound"
    said=$($admin busybox udhcpc -i eth0 -n -q -t 5 -s "$dir/bound" 2>>"$dir/usernet.log")
    [ "$said" = "10.0.2.100 10.0.2.3" ] || fail "DHCP: $said"
fi

# It gave up its privileges.
grep -q '^NoNewPrivs:.*1' /proc/$up/status || fail "may gain privileges"
grep -q '^Seccomp:.*2' /proc/$up/status || fail "all system calls allowed"
grep -q '^CapEff:.*0000000000000000' /proc/$up/status || fail "has capabilities"

# Outwards: 200 kB by TCP, IPv4 and IPv6, and UDP.
head -c 200000 /dev/urandom >"$dir/data"
mkdir "$dir/www" && cp "$dir/data" "$dir/www/data"
busybox httpd -f -p 192.0.2.1:9000 -h "$dir/www" & server="$server $!"
busybox httpd -f -p '[2001:db8::1]:9000' -h "$dir/www" & server="$server $!"
$client echo 192.0.2.1 9001 & server="$server $!"
sleep 0.7
$guest $client get http://192.0.2.1:9000/data "$dir/got" || fail "TCP out, IPv4"
cmp -s "$dir/data" "$dir/got" || fail "TCP out, IPv4: other bytes"
$guest $client get 'http://[2001:db8::1]:9000/data' "$dir/got" || fail "TCP out, IPv6"
cmp -s "$dir/data" "$dir/got" || fail "TCP out, IPv6: other bytes"
[ "$($guest $client ask 192.0.2.1 9001 question)" = question ] || fail "UDP out"

# The host's loopback stays the host's.
busybox httpd -f -p 127.0.0.1:9002 -h "$dir/www" & server="$server $!"
sleep 0.7
$client echo 127.0.0.1 9003 & server="$server $!"
sleep 0.7
for at in 10.0.2.2 10.0.2.7 127.0.0.1; do
    $guest $client get http://$at:9002/data /dev/null 2>/dev/null &&
        fail "reached the host's loopback at $at by TCP"
    $guest $client ask $at 9003 spy >/dev/null 2>&1 &&
        fail "reached the host's loopback at $at by UDP"
done

# Inwards: published ports, on every address and on loopback, IPv4 and IPv6.
$guest busybox httpd -f -p 1080 -h "$dir/www" & server="$server $!"
$guest busybox httpd -f -p 1091 -h "$dir/www" & server="$server $!"
$guest $client echo 0.0.0.0 1053 & server="$server $!"
sleep 0.7
for at in 127.0.0.1:8080 192.0.2.1:8080 '[::1]:8080' '[2001:db8::1]:8080' 127.0.0.1:8091; do
    $client get "http://$at/data" "$dir/got" || fail "TCP in at $at"
    cmp -s "$dir/data" "$dir/got" || fail "TCP in at $at: other bytes"
done
$client get http://192.0.2.1:8091/data /dev/null 2>/dev/null &&
    fail "a port of 127.0.0.1 answers elsewhere"
$guest $client echo :: 1053 & server="$server $!"
sleep 0.7
for at in 127.0.0.1 192.0.2.1 2001:db8::1 ::1; do
    [ "$($client ask $at 8053 answer)" = answer ] || fail "UDP in at $at"
done

# A second one is told which port is taken.
mkfifo "$dir/again"
$nobody unshare -Urn sleep 1000 >/dev/null 2>&1 & server="$server $!"
other=$!
sleep 0.3
$nobody "$usernet" --pid=$other --ready-fd=3 --publish=8080:80 3>"$dir/again" 2>/dev/null &
said=$(cat "$dir/again")
[ "$said" = "cannot publish port 8080/tcp: a program of this host has it" ] ||
    fail "taken port: $said"

# Gone with its guest.
kill ${carrier:-$holder}
i=0
while kill -0 $up 2>/dev/null && [ "$(cut -d' ' -f3 /proc/$up/stat 2>/dev/null)" != Z ]; do
    i=$((i + 1)); [ $i -lt 20 ] || fail "outlives its guest"; sleep 0.05
done
[ "$2" = frames ] || wait $up || fail "ended with an error"
[ "$2" != frames ] || kill $holder
up= holder= carrier=
$client get http://127.0.0.1:8080/data /dev/null 2>/dev/null && fail "port still open"
echo ok
