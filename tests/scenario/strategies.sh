#!/bin/sh
# Full, hardware-assisted, para and partial virtualization: what the table says that each wants of the hardware, abstracts
# and changes in the guest is what a guest of each finds on this host.
# rows: HYP-22
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/scenario/lib_linux.sh"
need_root
need_cmd python3 unshare
need_busybox
need_linux virtio_blk
cd "$WORK"

strata host info --json >table
cell() { # STRATEGY COLUMN
    python3 -c 'import json, sys; print(json.load(open("table"))["strategies"][sys.argv[1]][sys.argv[2]])' "$1" "$2"
}
python3 - <<'PY' || fail "the table has holes"
import json
table = json.load(open("table"))["strategies"]
assert set(table) == {"full", "hardware-assisted", "para", "partial"}, table
for name, row in table.items():
    assert set(row) == {"guests", "hardware", "here", "abstracts", "shared", "guest_changes"} and all(row.values()), row
PY

# One stock kernel, with no driver, with that of a virtio disk, and with both on a machine that hides what it is.
cat >ask <<'WORDS'
for word in $(cat /proc/cmdline); do [ "$word" = driver ] && insmod /virtio_blk.ko; done
[ -e /sys/block/vda ] && echo "a disk of virtio" || echo "no disk of virtio"
dmesg | grep -o 'Booting paravirtualized kernel on .*'
echo "clocks: $(cat /sys/devices/system/clocksource/clocksource0/available_clocksource)"
echo "processors: $(grep -c ^processor /proc/cpuinfo), $(grep -m 1 'model name' /proc/cpuinfo)"
free -m | sed -n 's/^Mem: *\([0-9]*\) .*/memory: \1/p'
WORDS
others=
for module in $LINUX_MODULES; do
    case $module in */virtio_blk.ko) driver=$module ;; *) others="$others $module" ;; esac
done
[ -n "${driver:-}" ] || skip "virtio_blk is no module of this kernel"
LINUX_MODULES=$others
linux_initrd initrd "$driver" <ask
sum=$(sha256sum <"$LINUX")
truncate -s 1M disk
boots() { # FILE APPEND OPTION...
    to=$1 append=$2
    shift 2
    timeout -k 5 100 "$STRATA" --state "$STATE" run --rm --as machine --network none --memory 160M --cpus 3 --kernel "$LINUX" \
        --initrd initrd --append "console=ttyS0 quiet panic=-1 $append" --disk disk "$@" </dev/null 2>&1 | tr -d '\r' >"$to"
}

# Full: an unchanged kernel, which finds bare hardware; nothing of the host's processors, not even how many there are.
boots full "" --engine translate --hide-hypervisor
is "full wants" "$(cell full hardware)" "none; for translation code made at run time"
is "full changes" "$(cell full guest_changes), $(sha256sum <"$LINUX")" "none: its kernel is as its maker left it, $sum"
has "full: the kernel's view" "$(cat full)" "Booting paravirtualized kernel on bare hardware"
has "full: processors" "$(cat full)" "processors: 3, "
! grep -qF "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" full || fail "full: the host's processor"
! grep -q 'clocks:.*kvm' full || fail "full: the host's clock"
[ "$(sed -n 's/^memory: //p' full)" -lt 160 ] || fail "full: memory"
has "full abstracts" "$(cell full abstracts)" "processors, memory, interrupts, clocks, disks"
# Nor does it want the hardware's help: where there is none, the table says so, and it runs as well.
unshare -m sh -c "mount --bind /dev/null /dev/kvm 2>/dev/null || exit 77
    '$STRATA' --state '$STATE' host info --json >bare
    '$STRATA' --state '$STATE' run --rm --as machine --network none --kernel '$LINUX' busybox echo it runs </dev/null >ran" || [ $? = 77 ]
if [ -e ran ]; then
    is "full: without hardware" "$(cat ran)" "it runs"
    has "... told" "$(python3 -c 'import json; print(json.load(open("bare"))["strategies"]["hardware-assisted"]["here"])')" "missing: "
fi

# Para: the same kernel, whose drivers know the host's interface; without them it runs as by full.
boots para driver --engine translate
boots undriven "" --engine translate
has "para: the kernel's view" "$(cat para)" "Booting paravirtualized kernel on KVM"
has "para: the clock" "$(cat para)" " kvm-clock "
has "para: with a driver" "$(cat para)" "a disk of virtio"
has "para: without" "$(cat undriven)" "no disk of virtio"
has "para abstracts" "$(cell para abstracts)" "clocks, waiting for one another, disks (virtio)"
has "para changes" "$(cell para guest_changes)" "drivers for virtio and KVM's clock"
is "para wants" "$(cell para hardware)" none

# By hardware: where the table says that instructions of a guest ran, at whatever speed, one runs without a translated or interpreted one.
python3 "$TOP/tests/scenario/multiboot.py" small 'say:hello\n' exit:7
case $(cell hardware-assisted here) in
ok:* | limited:*)
    code=0
    strata run --name hard --as machine --engine kvm --kernel small </dev/null >said || code=$?
    is "hardware: what it did" "$code $(cat said)" "7 hello"
    strata inspect --json hard | python3 -c "import json, sys
m = json.load(sys.stdin)[0]['machine']['instructions']
assert m['interpreted'] == 0 and m['translated']['blocks'] == 0, m" || fail "hardware: software did it"
    has "hardware shares" "$(cell hardware-assisted shared)" "instructions"
    strata delete hard >/dev/null
    ;;
*)
    fails 125 strata run --rm --as machine --engine kvm --kernel small
    has "hardware: why not" "$OUT" "kvm"
    ;;
esac

# In part: namespaces and groups of its own as the table counts them; kernel and processor are the host's.
strata run -d --name box --memory 64M busybox sleep 1000 >/dev/null
abstracts=$(cell partial abstracts)
for pair in "mount:mnt" "process:pid" "network:net" "IPC:ipc" "host name:uts" "cgroup:cgroup" "user:user"; do
    there=$(strata exec box readlink "/proc/self/ns/${pair#*:}")
    case $abstracts in
    *"${pair%:*} namespace"*) [ "$there" != "$(readlink "/proc/self/ns/${pair#*:}")" ] || fail "partial: shares its ${pair%:*} namespace" ;;
    *) fail "partial: no ${pair%:*} namespace, but '$there'" ;;
    esac
done
case $abstracts in *"memory limits"*)
    is "partial: memory" "$(strata stats --json box | grep -o '"memory_limit_bytes": *[0-9]*' | grep -o '[0-9]*$')" 67108864 ;;
esac
is "partial shares" "$(cell partial shared)" "kernel, processor, clock"
is "partial: kernel" "$(strata exec box cat /proc/version)" "$(cat /proc/version)"
is "partial: processor" "$(strata exec box grep -c ^processor /proc/cpuinfo)" "$(grep -c ^processor /proc/cpuinfo)"
has "partial changes" "$(cell partial guest_changes)" "no kernel"
fails 125 strata create --kernel "$LINUX" busybox true
has "partial: no kernel of its own" "$OUT" "a machine boots a kernel"
