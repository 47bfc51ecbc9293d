#!/bin/sh
# Disks of a running machine, with limits, a cache, tiers, encryption and parity over or under them, or with nothing:
# kept, moved to another pool under a writer, larger and told so, slower and faster; what its end leaves.
# rows: DC-21 STO-02 STO-08 STO-09 OPS-04 OPS-07
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 500
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3 qemu-io
need_busybox
linux_find

cd "$WORK"
inside() { # SCRIPT, in which `device NAME` prints the disk of that name
    strata exec web sh -c "device() { echo /dev/\$(basename \$(dirname \$(grep -lx \$1 /sys/block/vd?/serial))); }; $1"
}
has_sectors() { [ "$(inside "cat /sys/block/\$(basename \$(device $1))/size")" = "$2" ]; }
sum() { yes "$1" | head -c 2097152 | md5sum | cut -c 1-32; }
# what NAME TEXT - the disk has that at its begin, past the guest's own cache
what() {
    is "$1 in the machine" "$(inside "echo 3 >/proc/sys/vm/drop_caches; head -c 2097152 \$(device $1) | md5sum | cut -c 1-32")" "$(sum "$2")"
}
fill() { inside "yes $2 | head -c 2097152 | dd of=\$(device $1) bs=64k conv=fsync,notrunc 2>/dev/null"; }
key() { [ "$1" != safe ] || echo "--key-file $WORK/key"; }

printf secret >key
strata pool create quick --member "$WORK/quick,class=fast" >/dev/null
strata pool create other --member "$WORK/other" --member "$WORK/other-fast,class=fast" >/dev/null
strata pool create tiers --member "$WORK/t1" --member "$WORK/t2,class=fast" >/dev/null
strata pool create --redundancy raid5 --member "$WORK/r1" --member "$WORK/r2" --member "$WORK/r3" parity >/dev/null
strata volume create --size 32M plain >/dev/null
strata volume create --size 32M --bandwidth 1M slow >/dev/null
strata volume create --size 32M --cache quick --cache-size 8M --cache-mode write-back cached >/dev/null
strata volume create --size 32M --pool tiers --tier 16M hot >/dev/null
strata volume create --size 32M --pool parity --encrypt --key-work 1000 --key-file key --iops 100000 safe >/dev/null
all="plain slow cached hot safe"
strata run -d --name web --as machine --network none --kernel "$linux" -v plain -v slow -v cached -v hot \
    -v "safe:key-file=$WORK/key" busybox sh -c 'while :; do sleep 1000; done' >/dev/null
for name in $all; do
    is "who has $name" "$(field "$name" guests)" "['web']"
    fill "$name" "$name"
done

# Rates are kept, and change at once.
took() { # SCRIPT - in milliseconds
    begin=$(date +%s%N)
    inside "$1" >/dev/null 2>&1
    echo $((($(date +%s%N) - begin) / 1000000))
}
ms=$(took "dd if=/dev/zero of=\$(device slow) bs=1M seek=2 count=14 conv=fsync")
[ "$ms" -ge 3000 ] || fail "14 MiB at 1 MiB a second, 10 at once, took $ms ms"
strata volume set --bandwidth none slow >/dev/null
is "no limit" "$(inside "dd if=/dev/zero of=\$(device slow) bs=1M seek=2 count=14 conv=fsync 2>/dev/null && echo fine")" fine

for name in $all; do
    # shellcheck disable=SC2046
    strata volume snapshot "$name" kept $(key $name) >/dev/null || fail "$name: not kept"
    fill "$name" "other-$name"
    what "$name" "other-$name"
    strata volume clone "$name@kept" copy >/dev/null
    # shellcheck disable=SC2046
    strata volume export copy --file "$WORK/copy.raw" $(key $name) >/dev/null
    is "what was kept of $name" "$(head -c 2097152 copy.raw | md5sum | cut -c 1-32)" "$(sum "$name")"
    rm copy.raw
    within 10 strata volume delete copy
    # shellcheck disable=SC2046
    strata volume snapshot --delete "$name" kept $(key $name) >/dev/null
done

# To another pool while the machine writes; nothing of it is lost.
for name in $all; do
    inside "for i in \$(seq 24); do yes \$i | head -c 262144 | dd of=\$(device $name) bs=64k seek=\$((32 + i * 4)) conv=fsync,notrunc 2>/dev/null; done; echo written" >"$WORK/wrote" &
    writer=$!
    # shellcheck disable=SC2046
    strata volume move "$name" other $(key $name) >/dev/null || fail "$name: not moved"
    wait $writer
    is "$name was written" "$(cat "$WORK/wrote")" written
    is "where $name is" "$(field "$name" pool)" other
    what "$name" "other-$name"
    is "what was written to $name meanwhile" \
        "$(inside "echo 3 >/proc/sys/vm/drop_caches; dd if=\$(device $name) bs=64k skip=36 count=96 2>/dev/null | md5sum | cut -c 1-32")" \
        "$(for i in $(seq 24); do yes "$i" | head -c 262144; done | md5sum | cut -c 1-32)"
done

# Larger, and the machine's kernel knows; not smaller, and what is on it is not ours to grow.
for name in $all; do
    strata volume resize "$name" 48M >/dev/null
    within 5 has_sectors $name 98304
done
fails 1 strata volume resize --shrink plain 16M
has "smaller" "$OUT" "guest 'web' has it: it can only grow"
fails 1 strata volume resize --filesystem plain 64M
has "its file system" "$OUT" "grows in there (without --filesystem)"
fails 1 strata volume delete plain
fill plain last

# Killed, what was written down is there; a machine that stands still has its disks, too.
kill -KILL "$(strata inspect --json web | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["pid"])')"
strata wait web >/dev/null || true
fails 1 strata volume delete plain
has "of a machine that is stopped" "$OUT" "guest 'web' has it"
within 10 is_free plain
strata volume export plain --file "$WORK/copy.raw" >/dev/null
is "plain at last" "$(head -c 2097152 copy.raw | md5sum | cut -c 1-32)" "$(sum last)"
is "its size" "$(stat -c %s copy.raw)" 50331648
strata start web >/dev/null
what plain last
what cached other-cached
what safe other-safe
strata delete --force web >/dev/null
for name in $all; do
    within 10 strata volume delete --snapshots "$name"
done
