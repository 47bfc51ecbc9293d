#!/bin/sh
# One matrix of isolation: memory, disk, network, processes, devices, processor and time, of containers and of machines by
# each engine. Each cell is an attempt of one guest's root at another guest, or is shared by design, which is shown, too.
# rows: PRO-03
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"

inside() { strata exec "$1" sh -c "$2" </dev/null; }
address() { strata inspect --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["addresses"][0])'; }
used() { strata stats --json bad | python3 -c 'import json, sys; print(int(json.load(sys.stdin)[0]["cpu_ns"]) // 1000000)'; }
cell() { echo "$1|$TECHNIQUE|$2" >>matrix; }
goes_on() { # WHAT - the other one ticks, and has what it had
    one=$(inside good 'cat /tick')
    sleep 1
    [ "$(inside good 'cat /tick')" -gt "$one" ] || fail "$TECHNIQUE, $1: the other one stands still"
    is "$TECHNIQUE, $1: its process" "$(inside good 'cat /proc/[0-9]*/environ 2>/dev/null | tr "\000" "\n" | grep -c TOKEN=hid[d]en')" 1
}

memory() {
    is "$TECHNIQUE: another one's memory" "$(inside bad '{ cat /proc/[0-9]*/environ; dd if=/dev/mem bs=4k count=32
        dd if=/proc/kcore bs=4k count=32; } 2>/dev/null | tr "\000" "\n" | grep -c TOKEN=hid[d]en; true')" 0
    case $TECHNIQUE in
    container) fails 137 strata exec bad sh -c 'exec tail /dev/zero' ;;
    *) inside bad 'dd if=/dev/zero of=/dev/null bs=40M count=1 2>/dev/null' ;;
    esac
    goes_on "memory is hogged"
    cell memory tested
}

disk() {
    inside bad '! ls /own 2>/dev/null' || fail "$TECHNIQUE: another one's file is seen"
    inside bad 'echo mine >/own; rm -r /etc/passwd /bin/vi; dd if=/dev/zero of=/big bs=1M count=16 2>/dev/null; sync'
    is "$TECHNIQUE: files" "$(inside good 'cat /own; ls /bin/vi; ls /big 2>/dev/null; grep -c root /etc/passwd')" "of the good one
/bin/vi
1"
    cell disk tested
}

network() {
    is "$TECHNIQUE: it serves" "$(inside good "wget -q -O - http://$there/")" served
    ! inside bad "timeout 2 wget -q -O - http://$there/" 2>/dev/null || fail "$TECHNIQUE: another network is reached"
    ! inside bad "ip route add ${there%.*}.0/24 dev eth0 && timeout 2 wget -q -O - http://$there/" 2>/dev/null ||
        fail "$TECHNIQUE: it is reached past the gateway"
    ! inside bad 'timeout 2 wget -q -O - http://good/' 2>/dev/null || fail "$TECHNIQUE: another network's names are known"
    cell network tested
}

processor() {
    strata exec --detach bad sh -c 'while :; do :; done & while :; do :; done'
    sleep 0.5
    from=$(used) at=$(date +%s%N)
    goes_on "processors are hogged"
    sleep 2
    part=$((($(used) - from) * 100000000 / ($(date +%s%N) - at)))
    [ "$part" -ge 10 ] && [ "$part" -le "$1" ] || fail "$TECHNIQUE: it used $part hundredths of a processor, not $1"
    cell processor tested
}

clock() {
    before=$(inside good 'date +%Y') here=$(date +%Y)
    set_it=$(inside bad 'date -s 2001-01-01 2>&1 | grep t.set; date +%Y' | tr '\n' ' ')
    is "$TECHNIQUE: clocks" "$(inside good 'date +%Y') $(date +%Y)" "$before $here"
    case $TECHNIQUE in
    container)
        is "one clock" "$set_it" "date: can't set date: Operation not permitted $here "
        cell time "shared by design"
        ;;
    *)
        has "a clock of its own" "$set_it" "2001 "
        cell time tested
        ;;
    esac
}

devices() {
    disk=$(stat -c '%Hd %Ld' "$(df --output=source "$STATE" | tail -n 1)" 2>/dev/null) || disk="254 0"
    case $TECHNIQUE in
    container)
        is "devices" "$(inside bad 'find /dev -type b -o -type c | grep -v /dev/pts/ | sort | tr "\n" " "')" \
            "$(inside good 'find /dev -type b -o -type c | grep -v /dev/pts/ | sort | tr "\n" " "')"
        is "disks of the host" "$(inside bad 'find /dev -type b')" ""
        inside bad "! { mknod /disk b ${disk:-254 0} && head -c 1 /disk; } 2>/dev/null" || fail "a disk of the host's is read"
        ;;
    *)
        is "$TECHNIQUE: disks" "$(inside bad 'ls /sys/block | grep -v -e ^vd -e ^loop -e ^ram; true')" ""
        is "$TECHNIQUE: its first disk is its own" "$(inside bad 'test -e /own && echo yes')" yes
        card=$(inside bad 'cat /sys/class/net/eth0/address')
        [ "$card" != "$(inside good 'cat /sys/class/net/eth0/address')" ] || fail "$TECHNIQUE: one card for two"
        ! cat /sys/class/net/*/address | grep -qx "$card" || fail "$TECHNIQUE: it has a card of the host's"
        ;;
    esac
    cell device tested
}

processes() { # the last one: little of it is left
    is "$TECHNIQUE: another one's processes" "$(inside bad 'ps -o args | grep -c 10000[1]; true')" 0
    inside bad 'kill -9 -1' >/dev/null 2>&1 || true
    goes_on "all are killed"
    cell process tested
}

kernels() { # one for all containers, one of its own for each machine: by their own settings
    case $TECHNIQUE in
    container)
        is "one kernel" "$(inside bad 'cat /proc/sys/kernel/random/boot_id')" "$(cat /proc/sys/kernel/random/boot_id)"
        cell kernel "shared by design"
        ;;
    *)
        sort -u >same <<IDS
$(inside bad 'cat /proc/sys/kernel/random/boot_id')
$(inside good 'cat /proc/sys/kernel/random/boot_id')
$(cat /proc/sys/kernel/random/boot_id)
IDS
        is "$TECHNIQUE: kernels" "$(wc -l <same)" 3
        cell kernel tested
        ;;
    esac
}

pair() { # OPTION...
    strata run -d --name good --network red --memory 160M "$@" busybox sh -c 'mkdir -p /www
        echo served >/www/index.html; echo of the good one >/own; TOKEN=hidden sleep 100001 &
        httpd -p 80 -h /www; i=0; while :; do i=$((i + 1)); echo $i >/tick.new; mv /tick.new /tick; sleep 0.2; done' >/dev/null
    strata run -d --name bad --network blue --memory 160M "$@" busybox sh -c 'while :; do sleep 1000; done' >/dev/null
    there=$(address good)
    within 60 inside good 'test -e /tick'
    within 60 inside bad true
}

attempts() { # PART
    kernels
    memory
    disk
    network
    clock
    devices
    processor "$1"
    processes
}

strata network create red --subnet 10.93.0.0/24 >/dev/null
strata network create blue --subnet 10.94.0.0/24 >/dev/null
TECHNIQUE=container
pair --cpus 0.5
attempts 58
strata delete --force good bad >/dev/null

TECHNIQUE=translate
pair --as machine --kernel "$linux" --engine translate
strata save good bad >/dev/null
strata snapshot create bad whole >/dev/null
strata start good bad >/dev/null
attempts 120
# The same two on another engine: the bad one as it was before.
strata kill bad >/dev/null 2>&1 || true # it may have ended with its program
strata wait bad >/dev/null || true
strata save good >/dev/null
strata snapshot restore bad whole >/dev/null
strata start --engine interpret good bad >/dev/null
TECHNIQUE=interpret
is "the engine" "$(strata inspect --json bad | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["machine"]["engine"])')" interpret
attempts 120
strata delete --force good bad >/dev/null

# By hardware, where a guest that runs has shown that it is of use.
TECHNIQUE=kvm
python3 "$TOP/tests/scenario/multiboot.py" small 'say:hello\n' exit:0
strata run --name asks --as machine --network none --kernel small </dev/null >/dev/null
if strata inspect --json asks | grep -q '"engine": *"kvm"'; then
    pair --as machine --kernel "$linux" --engine kvm
    attempts 120
fi

python3 - <<'PY' || fail "the matrix has holes"
rows = [line.rstrip("\n").split("|") for line in open("matrix")]
cells = {(a, b): c for a, b, c in rows}
parts, techniques = [list(dict.fromkeys(r[i] for r in rows)) for i in (0, 1)]
print("%-10s" % "", *("%-16s" % t for t in techniques))
for part in parts:
    print("%-10s" % part, *("%-16s" % cells.get((part, t), "?") for t in techniques))
assert len(parts) == 8 and len(techniques) >= 3 and len(cells) == len(parts) * len(techniques)
PY
