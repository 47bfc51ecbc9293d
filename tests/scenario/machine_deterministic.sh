#!/bin/sh
# A deterministic machine: a Linux with a disk starts twice, alone and while others want the processors
# and look at it, and on the other engine, and each time prints the same, with the same times, after as many
# instructions.  Without the option it does not.  What cannot be so is refused.
# rows: ISA-03
# release
# timeout: 400
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 gcc
. "$TOP/tests/linux.sh"
linux_find virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_rng
cd "$WORK"
gcc -D_GNU_SOURCE -O2 -static -o init "$TOP/tests/scenario/machine_repeat.c"
# shellcheck disable=SC2086
python3 "$TOP/tests/virt/monitor/cpio.py" init initrd $modules

# begin NAME OPTION... - on an empty disk.
begin() {
    name=$1
    shift
    rm -f disk
    truncate -s 8M disk
    strata run -d --name "$name" --as machine --kernel "$linux" --initrd initrd --memory 256M --disk disk \
        --append "console=ttyS0" "$@" >/dev/null
}
# end NAME - its output is in NAME.out, what it counted in NAME.count.
end() {
    is "$1 ended well" "$(timeout 120 "$STRATA" --state "$STATE" wait "$1")" 0
    strata logs "$1" >"$1.out"
    strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine'].get('deterministic', 'nothing'))" >"$1.count"
}
same() { cmp "$1.out" "$2.out" || fail "what $1 and $2 print: $(diff "$1.out" "$2.out" | head -6)"; }

begin one --deterministic --engine translate
end one
has "it has a disk" "$(cat one.out)" "worker 3 of disk 1:"
has "it begins at a fixed moment" "$(cat one.out)" "day 1767225"
has "it was idle, too" "$(cat one.out)" "end "
has "instructions are counted" "$(cat one.count)" "'instructions': "

# Others have the processors, and it is paused and asked now and then.
hogs=
for i in 1 2 3; do
    timeout 120 sh -c 'while :; do :; done' &
    hogs="$hogs $!"
done
begin two --deterministic --engine translate
for i in 1 2 3 4 5; do
    sleep 0.2
    strata pause two >/dev/null 2>&1 || true
    strata --json inspect two >/dev/null
    strata resume two >/dev/null 2>&1 || true
done
end two
# shellcheck disable=SC2086
kill $hogs
same one two
is "the same instructions and exits" "$(cat two.count)" "$(cat one.count)"

begin slow --deterministic --engine interpret
end slow
same one slow
is "the other engine counts the same" "$(cat slow.count)" "$(cat one.count)"

begin seed --deterministic --engine translate --seed 2
end seed
! cmp -s one.out seed.out || fail "another seed changes nothing"
begin free --network none --engine translate
end free
! cmp -s one.out free.out || fail "a machine that is not deterministic repeats itself"
is "and counts nothing" "$(cat free.count)" nothing

# Saved in the middle, and gone on with.
begin saved --deterministic --engine translate
fails 1 strata resize saved --memory 128M
has "nothing is changed meanwhile" "$OUT" "the machine is deterministic: nothing comes to it"
sleep 0.5
strata save saved >/dev/null
strata start saved >/dev/null
end saved
same one saved
is "saved: the same instructions and exits" "$(cat saved.count)" "$(cat one.count)"

refused() { # WHY OPTION...
    why=$1
    shift
    fails 125 strata run --as machine --deterministic --kernel "$linux" "$@"
    has "$1" "$OUT" "$why"
}
refused "cannot use --engine kvm with --deterministic: only software counts" --engine kvm
refused "cannot use --cpus with --deterministic: it has one processor" --cpus 2
refused "cannot use --cpus-most with --deterministic" --cpus-most 2
refused "cannot use --network user with --deterministic: frames come" --network user
refused "cannot use --memory-most with --deterministic" --memory-most 640M
refused "cannot use --cdrom, bus=nvme or --volume SOURCE:/PATH with --deterministic" --volume "$WORK:/work"
fails 125 strata run --as machine --seed 3 --kernel "$linux"
has "a seed alone" "$OUT" "cannot use --seed without --deterministic"
fails 125 strata create --deterministic busybox
has "a container" "$OUT" "cannot use --deterministic with a container"
