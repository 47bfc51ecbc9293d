#!/bin/sh
# Backups of disks: whole, then what changed; restored as of any of them, after the disk was
# destroyed; Debian's qemu-img reads each.
# timeout: 300
# rows: STO-05 OPS-10
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io python3
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
kind() { strata volume inspect --json "$1" | sed -n 's/^ *"format": "\(.*\)",$/\1/p' | head -1; }
KEPT=$WORK/kept
# step N COMMAND - change the disk, keep what it is then, back it up.
step() {
    qemu-io -f "$(kind d)" -c "$2" "$(path d)" >/dev/null
    qemu-img convert -f "$(kind d)" -O raw "$(path d)" "$WORK/was$1"
    is "backup $1" "$(strata volume backup d "$KEPT")" "000$1"
}

strata volume create --size 256M d >/dev/null
step 1 'write -P 1 0 32M'
[ "$(du -sm "$KEPT/0001.qcow2" | cut -f1)" -ge 32 ] || fail "the first is not whole"
step 2 'write -P 2 1M 64k'
[ "$(du -sk "$KEPT/0002.qcow2" | cut -f1)" -lt 1024 ] || fail "the second is not what changed"
step 3 'write -z 2M 1M'
strata volume snapshot d between >/dev/null
step 4 'write -P 4 100M 2M'
step 5 'write -P 5 255M 1M'
for n in 1 2 3 4 5; do
    qemu-img compare -q -F raw "$KEPT/000$n.qcow2" "$WORK/was$n" || fail "backup $n reads otherwise"
    qemu-img check -q "$KEPT/000$n.qcow2" || fail "backup $n is damaged"
done
depth=$(qemu-img info --backing-chain "$(path d)" | grep -c '^image')
[ "$depth" -le 4 ] || fail "the chain has $depth layers after five backups"

# Nothing changed, another directory, another size.
is "again" "$(strata volume backup d "$KEPT")" 0006
is "elsewhere" "$(strata volume backup --json d "$WORK/other" | sed -n 's/.*"kind": "\(.*\)".*/\1/p')" whole
is "and back" "$(strata volume backup --json d "$KEPT" | sed -n 's/.*"kind": "\(.*\)".*/\1/p')" whole
strata volume resize d 300M >/dev/null
step 8 'write -P 8 299M 1M'
qemu-img compare -q -F raw "$KEPT/0008.qcow2" "$WORK/was8" || fail "after growing"

# A backup that is killed is made anew, and what was there stays right.
if grep -qa STRATA_FAULT "$STRATA"; then
    for n in $(seq 1 2 61); do
        qemu-io -f "$(kind d)" -c "write -P $((n + 10)) ${n}M 64k" "$(path d)" >/dev/null
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" volume backup d "$KEPT" >/dev/null 2>&1 || code=$?
        qemu-img convert -f "$(kind d)" -O raw "$(path d)" "$WORK/want"
        last=$(strata volume backup d "$KEPT")
        qemu-img compare -q -F raw "$KEPT/$last.qcow2" "$WORK/want" || fail "after a kill at step $n"
        [ $code != 0 ] || break
    done
    [ $code = 0 ] || fail "more than 60 steps"
fi

# The original is destroyed.
strata volume delete --snapshots d >/dev/null
is "nothing is left" "$(ls "$STATE/pool/layers")" ""
for n in 1 2 3 4 5 8; do
    strata volume restore --at "000$n" "$KEPT" d >/dev/null
    qemu-img compare -q -f raw -F raw "$(path d)" "$WORK/was$n" || fail "restored $n"
    strata volume delete d >/dev/null
done
fails 1 strata volume restore --at 9999 "$KEPT" d
has "no such" "$OUT" "there is no backup '9999'"
fails 1 strata volume restore "$WORK" d
has "no list" "$OUT" "there is no backup"

# The list is foreign bytes: names lead nowhere else.
mkdir "$WORK/none"
printf '{"backups": 5}' >"$WORK/none/backups.json"
fails 1 strata volume restore "$WORK/none" d
has "no list" "$OUT" "is no list of backups"
sed -i 's|0001.qcow2|../../etc/x|' "$KEPT/backups.json"
fails 1 strata volume restore --at 0002 "$KEPT" d
has "refused" "$OUT" "cannot open the backup '../../etc/x'"
is "nothing was made" "$(ls "$STATE/pool/layers")" ""
