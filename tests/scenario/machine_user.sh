#!/bin/sh
# A machine of an ordinary user: an address by DHCP from the user-mode network, a published port; the
# program that carries it ends with the guest, also when worker or keeper is killed.
# rows: MIO-05 OSL-01 SEC-03
# timeout: 240
# release
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_linux.sh"
need_root # to become another user
need_cmd curl setpriv
need_shared_programs
need_linux failover net_failover virtio_net
setpriv --reuid 12345 --regid 12345 --clear-groups unshare -U true 2>/dev/null ||
    skip "the host gives users no user namespaces"

cd "$WORK"
mkdir home
cat >told <<'SH'
#!/bin/sh
[ "$1" = bound ] || exit 0
echo "told $ip via $router"
ip address add "$ip/24" dev "$interface"
ip route add default via "$router"
SH
linux_initrd home/initrd told <<'SH'
chmod 755 /told
ip link set lo up
ip link set eth0 up
udhcpc -f -i eth0 -n -q -t 10 -T 1 -s /told 2>/dev/null || echo "nobody answers"
mkdir -p /www
echo "from the machine" >/www/index.html
httpd -p 80 -h /www
echo serving
while sleep 1; do :; done
SH
cp "$LINUX" home/kernel
chown -R 12345:12345 home
as_user() {
    (cd "$WORK/home" && setpriv --reuid 12345 --regid 12345 --clear-groups --bounding-set=-all \
        env HOME="$WORK/home" XDG_RUNTIME_DIR="$WORK/home" "$STRATA" --state "$WORK/home/state" "$@")
}
on_exit() { as_user delete --force vm >/dev/null 2>&1; }
field() { as_user inspect --json vm | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$1)"; }
serves() { [ "$(curl -s --max-time 2 "http://127.0.0.1:$port/")" = "from the machine" ]; }
said() { as_user logs vm | tr -d '\r' | grep -q "^$1"; }
carriers() { pgrep -f "^usernet .*$WORK/home/state'" || true; }
gone() { [ -z "$(carriers)" ]; }

port=$((20000 + $$ % 10000))
as_user run -d --name vm --as machine --kernel kernel --initrd initrd --memory 128M -p "127.0.0.1:$port:80" \
    --append "console=ttyS0 quiet panic=-1" >/dev/null
within 60 said serving
said "told 10.0.2.100 via 10.0.2.2" || fail "told: $(as_user logs vm)"
within 10 serves
is "its carrier" "$(carriers | wc -l)" 1
kill -KILL "$(field '["pid"]')"
within 10 gone
as_user start vm >/dev/null
within 60 serves
kill -KILL "$(field '["parts"]["layer"]["keeper"]')"
within 10 gone
as_user delete --force vm >/dev/null
