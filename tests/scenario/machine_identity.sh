#!/bin/sh
# Copies of a machine that runs are machines of their own: two that go on beside it and one that boots have other
# addresses, names, machine-ids, keys and random bytes, and all of them answer; what is only saved stays who it is, and
# what goes back to a snapshot or a mark is told so by its generation.
# rows: OPS-09 OPS-08
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 400
. "$(dirname "$0")/lib.sh"
need_root
need_cmd curl python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"

inside() { # GUEST SCRIPT
    strata exec "$1" sh -c "$2"
}
field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
address() { field "$1" '["addresses"][0]'; }
page() { curl -s -g --max-time 3 "http://$(address "$1")/" || true; }
answers() { [ "$(page "$1")" = "the page" ]; }
generation() { strata debug memory "$1" --physical 0xef000 16 | tail -n 1; }
told() { inside "$1" 'set -- $(cat /sys/firmware/acpi/interrupts/gpe05); echo $1'; }
card() { inside "$1" 'cat /sys/class/net/eth0/address; ip -4 -o address show dev eth0 | tr -s " " | cut -d " " -f 4; ip route | grep default'; }
differ() { # WHAT SCRIPT GUEST... - each of them says something else
    what=$1 script=$2
    shift 2
    for one; do inside "$one" "$script"; done >said
    [ "$(sort -u said | wc -l)" = $# ] || fail "$what: $(cat said)"
}

strata network create blue --subnet 10.76.0.0/24 >/dev/null
strata run -d --name web --as machine --network blue --kernel "$linux" busybox sh -c '
    mkdir -p /www /usr/bin /etc/ssh /var; echo the page >/www/index.html
    printf "%s\n" "#!/bin/sh" "head -c 16 /dev/urandom | md5sum >/etc/ssh/ssh_host_ed25519_key" >/usr/bin/ssh-keygen
    chmod 755 /usr/bin/ssh-keygen; [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A
    [ -e /etc/machine-id ] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
    echo "127.0.1.1 $(hostname)" >>/etc/hosts
    httpd -p 80 -h /www; head -c 16 /dev/urandom | md5sum >/run/drawn; while :; do sleep 1000; done' >/dev/null
within 60 answers web
is "the device" "$(inside web 'cat /sys/bus/acpi/devices/STRA0001:00/modalias')" "acpi:STRA0001:VM_GEN_COUNTER:"
first=$(generation web)
is "nothing was told" "$(told web)" 0

# Saved and started, or reset, it is the same one.
before=$(card web)
strata save web >/dev/null
strata start web >/dev/null
within 20 answers web
is "the same generation" "$(generation web)" "$first"
is "it was not told" "$(told web)" 0
is "the same card" "$(card web)" "$before"
is "the same name" "$(inside web 'hostname; cat /etc/machine-id')" "web
0123456789abcdef0123456789abcdef"

# Two that go on beside it, and one that boots.
strata clone --memory web one >/dev/null
strata clone --memory web two >/dev/null
strata clone web three >/dev/null
strata start one >/dev/null
strata start two >/dev/null
strata start three >/dev/null
for guest in web one two three; do
    within 60 answers "$guest"
    is "its name" "$(inside "$guest" 'hostname; cat /etc/hostname')" "$guest
$guest"
    is "its address" "$(card "$guest" | sed -n 2p)" "$(address "$guest")/24"
    has "its way out" "$(card "$guest")" "default via 10.76.0.1"
done
for guest in one two; do
    has "its names for itself" "$(inside "$guest" 'cat /etc/hosts')" "127.0.1.1 $guest"
    is "it went on" "$(inside "$guest" 'cat /run/drawn')" "$(inside web 'cat /run/drawn')"
    is "it was told once" "$(told "$guest")" 1
    [ "$(generation "$guest")" != "$first" ] || fail "$guest is of the same generation"
done
differ "cards" 'cat /sys/class/net/eth0/address' web one two three
differ "machine-ids" 'cat /etc/machine-id' web one two three
differ "keys" 'cat /etc/ssh/ssh_host_ed25519_key' web one two three
differ "random bytes" 'head -c 16 /dev/urandom | md5sum' web one two
is "one another" "$(inside one "wget -q -O - http://$(address two)/")" "the page"
is "the first one, still" "$(inside two "wget -q -O - http://$(address web)/")" "the page"
is "it stayed as it was" "$(card web)" "$before"

# A copy is a new one once.
id=$(inside one 'cat /etc/machine-id')
second=$(generation one)
strata stop -t 1s one >/dev/null
strata start one >/dev/null
within 60 answers one
is "the same machine" "$(inside one 'cat /etc/machine-id')" "$id"
is "and generation" "$(generation one)" "$second"
strata delete --force one two three >/dev/null

# Back to what it was: another generation of the same machine.
strata snapshot create web then >/dev/null
strata debug mark web >/dev/null
strata debug rewind web >/dev/null
is "told at a rewind" "$(told web)" 1
third=$(generation web)
[ "$third" != "$first" ] || fail "a rewind is of the same generation"
strata kill web >/dev/null
strata wait web >/dev/null || true
drawn() {
    strata snapshot restore web then >/dev/null
    strata start web >/dev/null
    inside web 'head -c 16 /dev/urandom | md5sum'
    [ "$(generation web)" != "$first" ] || fail "a snapshot is of the same generation"
    is "told at a snapshot" "$(told web)" 1
    is "the same card" "$(card web)" "$before"
    strata kill web >/dev/null
    strata wait web >/dev/null || true
}
drawn >once
drawn >twice
cmp -s once twice && fail "what was drawn twice is the same: $(cat once)"
strata delete --force web >/dev/null
