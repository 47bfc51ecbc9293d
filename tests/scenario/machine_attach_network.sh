#!/bin/sh
# A network comes to a machine that runs without one, and goes again: the guest reaches others and is reached, also
# behind a save, a reset, a snapshot, a start and a failure; an ordinary user's, too.
# rows: OPS-04 MIO-05
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd curl setpriv python3
need_shared_programs
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"

field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
inside() { strata exec box sh -c "$1"; }
cards() { inside 'ls /sys/class/net | grep -v lo | tr -d "\n"'; }
get() { curl -s -g --max-time 2 "http://$1/" || true; }
serves() { [ "$(get "$1")" = "$2" ]; }
taps() { ip -o link show master "$1" | wc -l; }
plans() { # how many machines would be started again with that network
    for plan in "$STATE"/run/guests/*/spec.json; do
        grep -q '"machine":{' "$plan" && grep -o '"name":"blue"' "$plan"
    done | wc -l
}
both() { # WHAT - it reaches another, and is reached.
    address=$(field box '["addresses"][0]')
    within 20 strata exec box wget -q -O /dev/null "http://$peer/" || fail "$1: it reaches nobody"
    within 10 serves "$address" "from box" || fail "$1: nobody reaches it at $address"
}

strata network create blue --subnet 10.83.0.0/24 >/dev/null
strata network create red --subnet 10.84.0.0/24 >/dev/null
bridge=$(strata network inspect --json blue | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["bridge"])')
strata run -d --name web --network blue busybox sh -c 'mkdir /www; echo peer >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
peer=$(field web '["addresses"][0]')
links=$(taps "$bridge")
strata run -d --name box --as machine --kernel "$linux" --network none --restart on-failure:1 busybox sh -c \
    'rm -f /end; mkdir -p /www; echo from box >/www/index.html; httpd -p 80 -h /www; while [ ! -e /end ]; do sleep 0.2; done; exit 3' >/dev/null
within 30 inside true
is "without one" "$(cards)" ""

# It comes; a second one does not; one that it was made with stays.
is "it says the name" "$(strata attach box --network blue)" box
is "a card" "$(cards)" eth0
is "a plan" "$(plans)" 1
both "at first"
is "its name for others" "$(strata exec web wget -q -O - http://box/)" "from box"
fails 1 strata attach box --network red
has "a second" "$OUT" "guest 'box' has network 'blue': a machine has one"
fails 1 strata detach box red
has "another" "$OUT" "guest 'box' has no disk or network 'red'"
fails 2 strata attach box
truncate -s 1M disk
fails 1 strata attach box --network red --disk disk
has "both at once" "$OUT" "--disk or --network"
strata run -d --name made --as machine --kernel "$linux" --network red busybox sleep 1000 >/dev/null
fails 1 strata detach made red
has "made with it" "$OUT" "what came by 'attach' can go"
strata delete --force made >/dev/null
fails 1 strata attach web --network red
has "a container" "$OUT" "web"

# It goes: the guest has no card, the host no tap, and its address is free.
is "it says the name" "$(strata detach box blue)" box
is "no card" "$(cards)" ""
is "no tap" "$(taps "$bridge")" "$links"
is "no address" "$(field box '["addresses"]')" "[]"
fails 1 strata attach box --network nowhere
has "no such network" "$OUT" "'nowhere'"
fails 1 strata attach box --network host
has "the host's" "$OUT" "has no place for a card"
is "nothing is left of them" "$(strata inspect --json box | grep -c nowhere)" 0

# Another network, then the first again; saved, by another engine, reset.
strata attach box --network red >/dev/null
has "an address of the other" "$(inside 'ip -4 -o address show dev eth0')" "10.84.0."
strata detach box red >/dev/null
strata attach box --network blue >/dev/null
both "again"
strata save box >/dev/null
fails 1 strata detach box blue
has "saved" "$OUT" "it is saved"
strata start box --engine interpret >/dev/null
both "saved"
strata save box >/dev/null
strata start box --engine translate >/dev/null
both "saved again"

# A snapshot has the card, and wants it.
strata snapshot create box then >/dev/null
strata detach box blue >/dev/null
strata stop -t 1s box >/dev/null
fails 1 strata snapshot restore box then
has "a card is missing" "$OUT" "of network 'blue': 'strata attach' it"
strata attach box --network blue --json >/dev/null
strata snapshot restore box then >/dev/null
strata start box >/dev/null
both "of the snapshot"

# It fails, and its keeper starts it again: with the network, and a disk that came.
strata attach box --disk disk,serial=more >/dev/null
inside 'touch /end' || true
within 60 inside '[ ! -e /end ]'
is "after a failure" "$(cards)" eth0
is "the disk, too" "$(inside 'cat /sys/block/vd?/serial' | grep -c more)" 1
both "after a failure"
strata reset box >/dev/null
within 30 inside true
both "after a reset"
strata stop -t 1s box >/dev/null
strata detach box blue >/dev/null
strata start box >/dev/null
within 30 inside true
is "detached while it stood" "$(cards)" ""

# What was refused is nowhere, not in the plan by which the guest would be started again either.
strata debug mark box >/dev/null
fails 1 strata attach box --network blue
has "a mark" "$OUT" "the machine has a mark"
is "no address" "$(field box '["addresses"]')" "[]"
is "no plan" "$(plans)" 0
strata create --name steady --as machine --deterministic --kernel "$linux" --append quiet >/dev/null
fails 1 strata attach steady --network blue
has "a deterministic one" "$OUT" "nothing comes to it from outside"

# A disk of a snapshot and a card that came since want the same place.
strata stop -t 1s box >/dev/null
strata detach box more >/dev/null
strata attach box --disk disk,serial=more >/dev/null
strata snapshot create box with >/dev/null
strata detach box more >/dev/null
strata attach box --network blue >/dev/null
strata snapshot restore box with >/dev/null
strata start box >/dev/null
within 30 inside true
is "the disk" "$(inside 'cat /sys/block/vd?/serial' | grep -c more)" 1
both "beside that disk"
strata delete --force box web steady >/dev/null
no_tap() { [ -z "$(ip -o link show master "$bridge" 2>/dev/null)" ]; }
within 10 no_tap # a ring of the process that was killed may keep it a moment longer

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
as_user run -d --name vm --as machine --kernel "$linux" --network none busybox sleep 1000 >/dev/null
within 30 as_user exec vm true
as_user attach vm --network user >/dev/null
within 20 as_user exec vm ping -c 1 -W 2 10.0.2.2 >/dev/null || fail "a user's machine reaches nobody"
has "a user's address" "$(as_user exec vm ip -4 -o address show dev eth0)" " 10.0.2.100/24 "
is "its helper" "$(pgrep -c -u 12345 -x usernet)" 1
as_user detach vm user >/dev/null
is "a user's card" "$(as_user exec vm ls /sys/class/net)" lo
within 5 sh -c '! pgrep -u 12345 -x usernet >/dev/null' || fail "a helper is left"
as_user delete --force vm >/dev/null
