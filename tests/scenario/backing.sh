#!/bin/sh
# The physical backing of a guest is swapped, disk, network and processor; the image is
# the same, and so is what runs in it. It reaches none of that directly.
# rows: CON-01
. "$(dirname "$0")/lib.sh"
need_root
need_cmd taskset findmnt
need_busybox

# What a guest finds: programs, files, its name, a sum of all that the image brought.
look='hostname; id -u; ls / | tr "\n" " "; find /bin /etc -xdev -type f ! -name hosts ! -name resolv.conf \
    ! -name hostname -exec md5sum {} + | sort | md5sum'
digest=$(strata image inspect --json busybox | sed -n 's/.*"digest": "\([^"]*\)".*/\1/p' | head -n 1)
strata image export busybox "$WORK/image.tar" >/dev/null
first=$(strata run --rm --hostname box busybox -- sh -c "$look")

# Another disk: the state lies in memory. The image goes there as it is.
mkdir "$WORK/memory"
mount -t tmpfs none "$WORK/memory"
on_exit() { umount "$WORK/memory"; }
here=$STATE
STATE=$WORK/memory/state
strata image import "$WORK/image.tar" >/dev/null
is "the image" "$(strata image inspect --json busybox | grep -c "$digest")" "$(
    STATE=$here strata image inspect --json busybox | grep -c "$digest")"
is "on another disk" "$(strata run --rm --hostname box busybox -- sh -c "$look")" "$first"
STATE=$here

# Other networks, and one processor only, each of them in turn.
for network in none host; do
    is "on network $network" "$(strata run --rm --hostname box --network $network busybox -- sh -c "$look")" "$first"
done
for cpu in $(seq 0 $(($(nproc) - 1))); do
    is "on processor $cpu" "$(taskset -c "$cpu" \
        "$STRATA" --state "$STATE" run --rm --hostname box busybox -- sh -c "$look")" "$first"
done

# The layer stands between: no device of the host, none of its memory.
for node in /dev/vda /dev/sda /dev/nvme0n1 /dev/mem /dev/kmem /dev/port; do
    strata run --rm busybox -- sh -c "test -e $node" && fail "the guest sees $node"
done
disk=$(stat -c '%t %T' "$(findmnt -no SOURCE -T "$STATE")" 2>/dev/null || echo "fe 0")
# shellcheck disable=SC2086 # two numbers
set -- $disk
strata run --rm --cap-add mknod busybox -- sh -c \
    "mknod /disk b $((0x$1)) $((0x$2)) 2>/dev/null && head -c 1 /disk >/dev/null 2>&1" &&
    fail "the guest reads the host's disk"
exit 0
