#!/bin/sh
# What this host has and guests do not get by themselves is told with the option that gives it, or with the reason why
# there is none: what is told is what happens to a container and to a machine, and no option is taken and does nothing.
# rows: MIO-11
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_root
need_cmd losetup python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net virtiofs
cd "$WORK"
loop=
on_exit() { [ -z "$loop" ] || losetup -d "$loop" 2>/dev/null || true; }

strata host info --json >table
cell() { # FEATURE WHO
    python3 -c 'import json, sys; print(json.load(open("table"))["features"][sys.argv[1]][sys.argv[2]])' "$1" "$2"
}
python3 - <<'PY' || fail "the table is not what the host has"
import json, os
table = json.load(open("table"))["features"]
assert len(table) >= 15
for name, row in table.items():
    assert set(row) == {"here", "container", "machine"} and all(row.values()), (name, row)
def real(where): # in any order: as many as are named, and those
    return {n for n in os.listdir(where) if "/devices/virtual/" not in os.path.realpath(f"{where}/{n}")} \
        if os.path.isdir(where) else set()
for name, where in ("disks", "/sys/class/block"), ("network interfaces", "/sys/class/net"), \
        ("sound cards", "/sys/class/sound"), ("PCI devices", "/sys/bus/pci/devices"):
    here = table[name]["here"]
    named = set() if here == "none" else set(here.split(" and ")[0].split(", "))
    more = int(here.split(" and ")[1].split()[0]) if " and " in here else 0
    assert named <= real(where) and len(named) + more == len(real(where)), (name, here, real(where))
assert table["hardware virtualization"]["here"] == ("yes" if os.path.exists("/dev/kvm") else "none")
PY

# What is told of an option is what an order is told.
refused() { # WHO FEATURE OPTION...
    who=$1 feature=$2
    shift 2
    case $who in
    machine) fails 125 strata create --as machine --kernel "$linux" "$@" busybox true ;;
    *) fails 125 strata create "$@" busybox true ;;
    esac
    is "$feature to a $who" "no: ${OUT##*: }" "$(cell "$feature" "$who")"
}
refused machine "kernel settings" --sysctl net.ipv4.ip_forward=1
refused machine "powers of root" --privileged
refused machine "network interfaces" --network host
refused machine "sound cards" --device /dev/null
refused machine "serial ports" --device /dev/null
fails 125 strata create --disk /dev/vda busybox true
fails 125 strata create --kernel "$linux" busybox true
is "no guest was made" "$(strata list --json)" "[]"

# What a container gets of it by itself, and by the options.
mkdir shared
echo "of the host" >shared/file
truncate -s 1M image
loop=$(losetup --find --show image 2>/dev/null) || skip "this host gives no loop devices"
echo "on the host's disk" | dd of="$loop" bs=512 conv=sync,fsync 2>/dev/null
one() { strata run --rm "$@" </dev/null 2>&1 || true; }
is "shared: kernel" "$(cell kernel container) $(one busybox uname -r)" "shared $(uname -r)"
is "shared: processor" "$(cell "processor's features" container) $(one busybox grep -m 1 '^flags' /proc/cpuinfo)" \
    "shared $(grep -m 1 '^flags' /proc/cpuinfo)"
has "shared: clock" "$(cell clock container): $(one busybox date -s 2001-01-01 | grep t.set)" "cannot be set: date: can't set date: Operation not permitted"
has "no modules" "$(cell 'kernel modules' container): $(one -v "$WORK/image:/m.ko:ro" busybox insmod /m.ko)" "not permitted"
is "no counters" "$(cell 'performance counters' container | cut -d ' ' -f 2) $(strata host syscalls | grep -c '^perf_event_open')" "perf_event_open 0"
is "files" "$(cell files container)" "--volume DIR:/PATH"
is "files: none" "$(one busybox ls "$WORK/shared" | grep -c -x file)" 0
is "files: the option" "$(one --volume "$WORK/shared:/given" busybox cat /given/file)" "of the host"
is "disks" "$(cell disks container)" "--device /dev/NAME"
has "disks: none" "$(one busybox head -n 1 "$loop")" "No such file"
is "disks: the option" "$(one --device "$loop" --userns host busybox head -n 1 "$loop")" "on the host's disk"
chmod 600 "$loop"
strata run --name barred --device "$loop" busybox head -n 1 "$loop" </dev/null >said 2>&1 && fail "a user of nobody's reads a disk of root's"
has "an option that gives nothing is told" "$(cat said)" "may not open device '$loop': it is for some users of the host"
has "and kept" "$(strata inspect --json barred)" "may not open device '$loop'"
strata delete barred >/dev/null
is "interfaces" "$(cell "network interfaces" container)" "--network host"
is "interfaces: none" "$(one --network none busybox ls /sys/class/net)" lo
is "interfaces: the option" "$(one --network host busybox cat /proc/net/dev | cut -d : -f 1 | grep -x ' *eth0')" "$(grep -o ' *eth0' /proc/net/dev)"
is "settings" "$(cell "kernel settings" container | cut -d , -f 1)" "--sysctl K=V"
is "settings: the option" "$(one --sysctl net.ipv4.ip_default_ttl=77 busybox cat /proc/sys/net/ipv4/ip_default_ttl)" 77

# And a machine: a kernel, clock, processor and devices of its own; files and a disk of the host's by the options.
strata run -d --name plain --as machine --network none --kernel "$linux" busybox sleep 1000 >/dev/null
strata run -d --name box --as machine --network none --kernel "$linux" --disk "$loop,serial=given" \
    --volume "$WORK/shared:/given" busybox sleep 1000 >/dev/null
inside() { strata exec "$1" sh -c "$2"; }
within 60 inside plain true
within 60 inside box true
is "a kernel of its own" "$(cell kernel machine): $(inside plain 'uname -r')" "no: it boots its own (--kernel FILE): ${linux##*/vmlinuz-}"
day=$(date +%Y)
is "a clock of its own" "$(cell clock machine): $(inside plain 'date -s 2001-01-01 >/dev/null; date +%Y')" "no: a clock of its own: 2001"
is "... which is not the host's" "$(date +%Y)" "$day"
is "no virtualization" "$(cell "hardware virtualization" machine): $(inside plain 'grep -c -w -e vmx -e svm /proc/cpuinfo; true')" \
    "no: its processors have none: 0"
is "no counters" "$(cell "performance counters" machine): $(inside plain 'ls -d /sys/bus/event_source/devices/cpu 2>/dev/null; true')" \
    "no: its processors have none: "
is "files: none" "$(inside plain 'ls /given 2>/dev/null; true')" ""
is "files" "$(cell files machine) $(inside box 'cat /given/file')" "--volume DIR:/PATH of the host"
count='ls -d /sys/block/vd? | wc -l'
is "disks: none" "$(($(inside box "$count") - $(inside plain "$count")))" 1
find="basename \$(dirname \$(grep -lx given /sys/block/vd?/serial))"
is "disks" "$(cell disks machine) $(inside box "head -n 1 /dev/\$($find)")" "--disk /dev/NAME on the host's disk"
inside box "echo by the machine | dd of=/dev/\$($find) bs=512 conv=sync,fsync 2>/dev/null"
is "the host's disk" "$(dd if="$loop" bs=512 count=1 iflag=direct 2>/dev/null | head -n 1)" "by the machine"
for device in $(inside plain 'ls /sys/bus/pci/devices'); do # not one of the host's: other makers and kinds at the same places
    inside plain "cat /sys/bus/pci/devices/$device/vendor /sys/bus/pci/devices/$device/subsystem_device"
done >"$WORK/pci"
[ -s "$WORK/pci" ] || fail "the machine has no devices on its bus"
