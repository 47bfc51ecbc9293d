#!/bin/sh
# A Debian of the archive as a machine with its own kernel and init: systemd comes up whole, with address,
# names, a volume and programs from outside; it is kept while it runs, and ends when it is asked to.
# rows: FV-01 OSL-11 SYS-50
# long
# release
# timeout: 900
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mmdebstrap python3
cd "$WORK"

strata image build debian >out 2>&1 || {
    grep -q -e "Could not resolve" -e "Temporary failure resolving" -e "Could not connect" \
        -e "Unable to connect" -e "Connection refused" -e "Connection timed out" out && skip "the Debian archive cannot be reached"
    fail "$(cat out)"
}
mkdir shared
echo "words of the host" >shared/told
strata network create blue --subnet 10.80.0.0/24 >/dev/null
begin=$(date +%s)
strata run -d --name deb --as machine --memory 1G --network blue --ip 10.80.0.9 --hostname deb -v "$WORK/shared:/srv/shared" debian >/dev/null
settled() {
    state=$(strata exec deb systemctl is-system-running 2>/dev/null) || true
    case $state in running | degraded | maintenance) ;; *) return 1 ;; esac
}
within 300 settled
[ "$state" = running ] || fail "it is $state: $(strata exec deb systemctl --failed --no-legend)"
echo "running after $(($(date +%s) - begin)) s"
is "its first process" "$(strata exec deb cat /proc/1/comm)" systemd
is "its name" "$(strata exec deb hostname)" deb
has "its address" "$(strata exec deb ip -4 -o address show scope global 2>/dev/null || strata exec deb cat /proc/net/fib_trie)" 10.80.0.9
has "its way out" "$(strata exec deb cat /proc/net/route)" 0100500A
has "name servers" "$(strata exec deb cat /etc/resolv.conf)" nameserver
is "its volume" "$(strata exec deb cat /srv/shared/told)" "words of the host"
has "systemd knows the volume" "$(strata exec deb systemctl is-active srv-shared.mount)" active

# What it writes is kept over its own end, and its clock is right after it was saved.
strata exec deb sh -c 'echo kept >/root/kept; systemd-run --quiet --unit=test-of-it touch /run/by-systemd'
strata save deb >/dev/null
sleep 5
strata start deb >/dev/null
late=$(($(date +%s) - $(strata exec deb date +%s)))
[ "$late" -le 5 ] && [ "$late" -ge -2 ] || fail "its clock is $late s late"
is "it goes on" "$(strata exec deb sh -c 'ls /run/by-systemd; systemctl is-system-running')" "/run/by-systemd
running"
strata stop -t 60s deb >/dev/null
is "its end" "$(strata wait deb)" 0
strata start deb >/dev/null
kept() { [ "$(strata exec deb cat /root/kept 2>/dev/null)" = kept ]; }
within 120 kept
strata delete --force deb >/dev/null
