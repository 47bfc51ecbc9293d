#!/bin/sh
# Volumes that are disks, mounted in containers: data is kept, room comes back, one writer or
# many readers, and nothing stays of killed keepers and commands.
# rows: STO-11 STO-13 STO-32
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mkfs.ext4 e2fsck losetup
[ -c /dev/loop-control ] || skip "needs loop devices"
need_busybox

path() { strata volume inspect --json "$1" | sed -n 's/.*"path": "\(.*\)".*/\1/p' | head -n 1; }
keepers() { pgrep -f "keeper id=.*run-dir=$STATE/"; }
# Programs `volume` that have files of this state open.
servers() {
    find /proc/[0-9]*/fd -type l -lname "$STATE/*" 2>/dev/null | cut -d/ -f3 | sort -u | while read -r pid; do
        case $(readlink "/proc/$pid/exe") in */volume) echo "$pid" ;; esac
    done
}
stopped() { strata inspect --json "$1" | grep -q '"state": "stopped"'; }
no_servers() { [ -z "$(servers)" ]; }
loops() { losetup -n -O BACK-FILE,BACK-INO -l 2>/dev/null | grep -c "$STATE" || true; }

# Made, used, kept, and only as large as it was made.
strata volume create --size 64M --filesystem ext4 data >/dev/null
is "empty" "$(strata run --rm -v data:/data busybox ls -A /data)" ""
strata run --rm -v data:/data busybox sh -c 'echo kept >/data/file; mkdir /data/d'
is "kept" "$(strata run --rm -v data:/data busybox cat /data/file)" kept
fails 1 strata run --rm -v data:/data busybox dd if=/dev/zero of=/data/big bs=1M count=80
has "no more than its size" "$OUT" "No space left"
strata run --rm -v data:/data busybox rm /data/big
disk=$(path data)
[ "$(du -sm "$disk" | cut -f1)" -lt 20 ] || fail "deleted files give no room back: $(du -sm "$disk")"
e2fsck -fn "$disk" >/dev/null 2>&1 || fail "the file system is damaged"
is "no device is left" "$(loops)" 0

# At two places of one guest; as an ordinary user of the guest.
is "two places" "$(strata run --rm -v data:/a -v data:/b:ro busybox sh -c 'echo x >/a/x; cat /b/x')" x
fails 1 strata run --rm -v data:/b:ro -v data:/a busybox sh -c 'echo x >/b/x'
strata run --rm -v data:/a busybox chmod 777 /a
strata run --rm -u 1000 -v data:/a busybox touch /a/mine
is "owner" "$(strata run --rm -v data:/a busybox stat -c %u /a/mine)" 1000

# One writer, or many readers.
strata run -d --name writer -v data:/data busybox sh -c 'echo $$ >/data/pid; sleep 1000' >/dev/null
fails 125 strata run --rm -v data:/data busybox true
has "the second writer" "$OUT" "cannot use volume 'data': it is in use"
fails 125 strata run --rm -v data:/data:ro busybox true
has "a reader beside a writer" "$OUT" "cannot use volume 'data': it is in use"
strata volume resize data 128M >/dev/null
fails 1 strata volume resize --shrink data 64M
has "made smaller" "$OUT" "guest 'writer' has it mounted: it can only grow"
fails 1 strata volume delete data
strata delete --force writer >/dev/null
for i in 1 2 3; do strata run -d --name reader$i -v data:/data:ro busybox sleep 1000 >/dev/null; done
for i in 1 2 3; do
    is "reader $i" "$(strata exec reader$i cat /data/file)" kept
    fails 1 strata exec reader$i touch /data/new
done
strata cp reader1:/data/file "$WORK/copy"
is "copied out" "$(cat "$WORK/copy")" kept
fails 125 strata run --rm -v data:/data busybox true
for i in 1 2 3; do strata delete --force reader$i >/dev/null; done

# A larger disk has a larger file system the next time; other kinds of file systems.
megabytes() { strata run --rm -v "$1:/data" busybox df -m /data | awk 'END { print $2 }'; }
small=$(megabytes data)
strata volume resize data 512M >/dev/null
large=$(megabytes data)
if [ $((0x$(awk '/CapEff/ { print $2 }' /proc/self/status) >> 24 & 1)) = 1 ]; then # CAP_SYS_RESOURCE
    [ "$large" -gt $((small * 5)) ] || fail "it did not grow: $small, $large"
fi
for kind in btrfs xfs; do
    command -v mkfs.$kind >/dev/null && grep -qw $kind /proc/filesystems || continue
    strata volume create --size 320M --filesystem $kind $kind >/dev/null
    strata run --rm -v $kind:/data busybox sh -c 'echo kept >/data/file'
    small=$(megabytes $kind)
    strata volume resize $kind 640M >/dev/null
    [ $kind = xfs ] || [ "$(megabytes $kind)" -gt $((small + 200)) ] || fail "$kind did not grow"
    is "$kind" "$(strata run --rm -v $kind:/data:ro busybox cat /data/file)" kept
done

# Restarts: by its policy, and by hand; the same disk each time.
strata run -d --name again --restart on-failure:2 -v data:/data busybox \
    sh -c 'echo run >>/data/runs; exit 1' >/dev/null
within 20 stopped again
is "three runs" "$(strata run --rm -v data:/data:ro busybox grep -c run /data/runs)" 3
strata delete --force again >/dev/null

# A keeper that is killed takes the guest and its mounts along; the next one has the data.
strata run -d --name victim -v data:/data busybox \
    sh -c 'echo last >/data/last; sync; echo ready; sleep 1000' >/dev/null
within 5 sh -c '"$STRATA" --state "$STATE" logs victim | grep -q ready'
kill -9 $(keepers)
is "after the keeper's end" "$(strata run --rm -v data:/data busybox cat /data/last)" last
strata start victim >/dev/null
strata delete --force victim >/dev/null

# Commands that are killed on the way.
if grep -qa 'STRATA_FAULT' "$STRATA"; then
    for step in mount.attach.open mount.attach.device mount.attach.mounted worker.container \
        worker.clean.container mount.detach.unmounted volume.format; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" run --rm --name gone -v data:/data busybox \
            true >/dev/null 2>&1 || true
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume create --size 1M --filesystem ext4 new \
            >/dev/null 2>&1 || true
        strata system reconcile >/dev/null
        strata delete --force gone >/dev/null 2>&1 || true
        strata volume delete new >/dev/null 2>&1 || true
        is "after $step" "$(strata run --rm -v data:/data busybox cat /data/file)" kept
    done
fi
is "no device is left at last" "$(loops)" 0
e2fsck -fn "$disk" >/dev/null 2>&1 || fail "the file system is damaged at last"

# Disks of more than a raw file: the program `volume` serves them, and ends with the guest.
strata volume create --size 64M --format qcow2 --filesystem ext4 tree >/dev/null
strata run --rm -v tree:/data busybox sh -c 'echo first >/data/f; dd if=/dev/zero of=/data/x bs=1M count=20 2>&1'
strata volume snapshot tree one >/dev/null
strata run --rm -v tree:/data busybox sh -c 'cat /data/f; echo second >/data/f'
strata volume clone tree@one twin >/dev/null
strata run -d --name t1 -v tree:/data busybox sleep 1000 >/dev/null
strata run -d --name t2 -v twin:/data busybox sleep 1000 >/dev/null
is "the tree" "$(strata exec t1 cat /data/f)" second
is "its twin" "$(strata exec t2 cat /data/f)" first
is "two servers" "$(servers | wc -l)" 2
fails 125 strata run --rm -v tree:/data busybox true
has "a second guest" "$OUT" "it is in use"
strata volume snapshot tree two >/dev/null
fails 1 strata volume export --nbd "$WORK/tree.sock" tree
has "served beside a guest" "$OUT" "a guest has it mounted"
strata stop -t 0s t1 >/dev/null
strata start t1 >/dev/null
kill -9 $(keepers)
within 5 no_servers
is "after the keepers' end" "$(strata run --rm -v tree:/data:ro busybox cat /data/f)" second
if command -v qemu-img >/dev/null; then
    for v in tree twin; do qemu-img check -q "$(path $v)" || fail "the image of $v is damaged"; done
fi

# A server that dies gives errors, and the guest's next start has a new one.
strata start t2 >/dev/null
strata exec t2 touch /data/lives
kill -9 $(servers)
fails 1 strata exec t2 dd if=/dev/zero of=/data/y bs=1M count=1 conv=fsync
strata restart -t 0s t2 >/dev/null
is "a new server" "$(strata exec t2 cat /data/f)" first
strata delete --force t2 >/dev/null

# By its policy it does not come back: meanwhile the disk may have become another.
strata run -d --name t2 --restart always -v twin:/data busybox \
    sh -c 'while dd if=/dev/zero of=/data/y bs=1M count=1 conv=fsync; do sleep 0.1; done' >/dev/null
kill -9 $(servers)
within 10 stopped t2
has "why" "$(strata events --json)" "it lost a disk"
strata start t2 >/dev/null
strata delete --force t1 >/dev/null
strata delete --force t2 >/dev/null

# What cannot be mounted is said.
strata volume create --size 1M blank >/dev/null
fails 125 strata run --rm -v blank:/data busybox true
has "blank" "$OUT" "there is no file system on the disk"
fails 1 strata volume create --filesystem ext4 nosize
has "without a size" "$OUT" "--size"
fails 1 strata volume create --size 1M --filesystem xfs tiny
has "too small" "$OUT" "mkfs.xfs"
fails 1 strata volume inspect tiny
