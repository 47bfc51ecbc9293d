#!/bin/sh
# A machine starts what is on its disk, by firmware; what is refused.
# rows: FV-01 STO-17
. "$(dirname "$0")/lib.sh"
need_root
need_cmd gcc
[ -e /usr/share/seabios/bios-256k.bin ] || skip "needs the package seabios"

cd "$WORK"
gcc -m32 -nostdlib -no-pie -fno-pic -Wl,--build-id=none -Wl,--oformat=binary -Wl,-Ttext=0x7c00 -o disk \
    "$TOP/tests/virt/monitor/sector.S"
truncate -s 4M disk
code=0
out=$(timeout 60 "$STRATA" --state "$STATE" run --rm --as machine --firmware bios --memory 64M --disk disk \
    </dev/null 2>err) || code=$?
is "the code of the first sector ($(cat err))" "$code" 33
case "$out" in
*'the second sector was read'*'there is a memory map'*) ;;
*) fail "the disk was not started: $out" ;;
esac

# A file is firmware, too; and what is told of it.
cp /usr/share/seabios/bios-256k.bin rom
code=0
strata run --name own --as machine --firmware rom --memory 64M --disk disk </dev/null >/dev/null || code=$?
is "by a file" "$code" 33
strata --json inspect own | grep -q "\"$WORK/rom\"" || fail "what it was made from: $(strata --json inspect own)"
strata delete own >/dev/null

refused() { # TEXT ARGUMENT...
    text=$1
    shift
    ! timeout 30 "$STRATA" --state "$STATE" run --rm "$@" </dev/null >/dev/null 2>err || fail "not refused: $*"
    grep -q -e "$text" err || fail "refused otherwise: $* ($(cat err))"
}
refused 'cannot use --kernel with --firmware' --as machine --firmware bios --kernel rom
refused "cannot read firmware '/nowhere'" --as machine --firmware /nowhere
refused 'cannot use --firmware with a container' --firmware bios busybox

# A volume's blocks are started, files are not: it is said why, and what to do.
strata volume import --format raw disk system >/dev/null
strata volume create files >/dev/null
code=0
strata run --rm --as machine --firmware bios --memory 64M -v system </dev/null >/dev/null 2>err || code=$?
is "the code of a volume's first sector ($(cat err))" "$code" 33
for from in files "$WORK"; do
    refused "cannot boot from volume '$from': it is a directory, and firmware starts what is on the blocks of a disk" \
        --as machine --firmware bios -v "$from:/boot"
done
is "nothing is left" "$(strata list --quiet)" ""
strata volume delete system files >/dev/null
head -c 1000 rom >odd
refused 'not whole pages' --as machine --firmware odd
