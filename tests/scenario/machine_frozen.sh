#!/bin/sh
# A snapshot or copy of a machine that runs has its file systems at rest, by its agent; they go on behind it,
# also in the snapshot, and when the command is killed; a machine without an agent, and one whose agent stands.
# rows: OPS-07 OPS-09
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# timeout: 400
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mkfs.ext4 dumpe2fs e2fsck python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_blk
cd "$WORK"

# Machines of the optimised build; the command is one that can be killed.
mkdir "$WORK/bin"
for program in "$(dirname "$STRATA")"/*; do
    if [ -f "$program" ] && [ -x "$program" ]; then ln -s "$(linux_program "$program")" "$WORK/bin/"; fi
done
rm "$WORK/bin/strata"
cp "$STRATA" "$WORK/bin/strata" # which finds the others beside itself
STRATA=$WORK/bin/strata

truncate -s 64M disk
mkfs.ext4 -q disk
strata run -d --name box --as machine --network none --kernel "$linux" --disk disk busybox \
    sh -c 'mkdir /d; mount /dev/vdb /d; while :; do date +%s%N >>/d/log; : >"/d/$(date +%N)"; sleep 0.05; done' >/dev/null
id=$(strata inspect --json box | python3 -c "import json, sys; print(json.load(sys.stdin)[0]['id'])")
lines() { strata exec box sh -c 'wc -l </d/log' 2>/dev/null || echo 0; }
some() { [ "$(lines)" -gt 10 ]; }
writes() { # it goes on
    before=$(lines)
    within 10 more
}
more() { [ "$(lines)" -gt "$before" ]; }
at_rest() { # FILE
    [ -s "$1" ] || fail "there is no disk '$1'"
    dumpe2fs -h "$1" 2>/dev/null >head || fail "no file system on $1"
    ! grep -q needs_recovery head && e2fsck -fn "$1" >/dev/null 2>&1
}
within 60 some
at_rest disk && fail "a disk in use is always at rest: this test shows nothing"

is "a snapshot, and no complaint" "$(strata snapshot create box one 2>&1 | grep -c warning)" 0
at_rest "$STATE/guests/$id/snapshots/one/disk1" || fail "the snapshot is as after a power cut: $(cat head)"
writes
copy=$(strata clone box copy) || fail "$copy"
copy=$(strata inspect --json copy | python3 -c "import json, sys; print(json.load(sys.stdin)[0]['id'])")
at_rest "$STATE/guests/$copy/disk/disk1" || fail "the copy is as after a power cut: $(cat head)"
writes
strata delete copy >/dev/null

# Killed in the middle: who looks next lets it go on, and its files, too.
STRATA_FAULT=kill:life.snapshot.state "$STRATA" --state "$STATE" snapshot create box half >/dev/null 2>&1 && fail "it was not killed"
[ $? = 137 ] || fail "it was not killed, but failed"
strata list >/dev/null
writes

# The snapshot was taken while they were at rest: there they go on by themselves.
strata kill box >/dev/null
strata wait box >/dev/null || true
strata snapshot restore box one >/dev/null
strata start box >/dev/null
within 10 some
writes

# An agent that stands is not waited for; nobody is where there is none.
timeout 5 "$STRATA" --state "$STATE" exec box sh -c 'kill -STOP $(pidof strata-agent)' >/dev/null 2>&1 || true
begin=$(date +%s)
has "it is said" "$(strata snapshot create box two 2>&1)" "the disks of guest 'box' are kept as they stand: "
[ $(($(date +%s) - begin)) -le 25 ] || fail "it was waited for"
at_rest "$STATE/guests/$id/snapshots/two/disk1" && fail "at rest without its agent"
strata delete --force box >/dev/null
python3 "$TOP/tests/scenario/multiboot.py" deaf 'say:up\n' spin
strata run -d --name deaf --as machine --network none --kernel deaf --disk disk >/dev/null
is "no agent" "$(strata snapshot create deaf one 2>&1 | grep -c "the disks of guest 'deaf' are kept as they stand: it is a machine without an agent")" 1
strata delete --force deaf >/dev/null
