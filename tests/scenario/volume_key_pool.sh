#!/bin/sh
# Encrypted disks where there are no files: on devices, thin volumes of LVM, several members at once,
# and behind checksums or tiers. Made, cloned, resized, moved, mounted; nothing lies there in clear.
# timeout: 1800
# long
# rows: STO-06 STO-11
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io qemu-img python3 losetup
LVM=$WORK/lvm
on_exit() {
    pool_on_exit
    losetup -a | sed -n "s|^\(/dev/loop[0-9]*\):.*($LVM/.*|\1|p" | while read -r dev; do losetup -d "$dev"; done
}
printf 'the first passphrase' >"$WORK/one"
printf 'another one, which is longer' >"$WORK/two"
printf 'plain text of nobody' >"$WORK/plain"
truncate -s 4096 "$WORK/plain"
head -c 1048576 /dev/urandom >"$WORK/part.raw"
io_by() { # io_by KEY VOLUME WORD...
    key=$1
    name=$2
    shift 2
    serve "$name" --once --key-file "$WORK/$key"
    live "$@"
    served "$name"
}
# in_clear FILE... - whether the text lies there, in any of the places that hold the pool
in_clear() { grep -qs 'text of nobody' "$@"; }

# pass POOL PLACE... - a disk's life on that pool, whose bytes are in these files
pass() {
    pool=$1
    shift
    options=${OPTIONS:-}
    # shellcheck disable=SC2086
    strata volume create --pool "$pool" --size 16M --encrypt --key-work 1000 --key-file "$WORK/one" $options d >/dev/null
    is "$pool: encrypted" "$(field d encrypted) $(field d format)" "True qcow2"
    fails 1 strata volume export d --nbd "$WORK/s"
    has "$pool: no key" "$OUT" "it is encrypted (say '--key-file FILE')"
    fails 1 strata volume export d --key-file "$WORK/two" --nbd "$WORK/s"
    has "$pool: a wrong key" "$OUT" "the passphrase in '$WORK/two' does not open it"
    io_by one d -c "write -s $WORK/plain 5M 4096" -c 'write -P 7 0 1M' -c flush
    sync
    in_clear "$@" && fail "$pool: it lies there in clear"
    strata volume export d --key-file "$WORK/one" --file "$WORK/d.raw" >/dev/null
    in_clear "$WORK/d.raw" || fail "$pool: the file has something else"
    rm "$WORK/d.raw"

    # Snapshots, clones and other sizes ask for none.
    strata volume snapshot d before >/dev/null
    io_by one d -c 'write -P 8 0 64k'
    strata volume clone d@before c >/dev/null
    io_by one c -c 'read -P 7 0 1M' -c 'write -P 9 1M 64k'
    fails 1 strata volume export c --key-file "$WORK/two" --nbd "$WORK/s"
    strata volume resize d 24M >/dev/null
    io_by one d -c 'read -P 8 0 64k' -c 'read -P 7 64k 960k' -c 'read -P 0 20M 4M' -c 'write -P 6 23M 64k'
    is "$pool: checked" "$(strata volume check --json d | grep -c '"state": "ok"')" 2

    # While it is served: a snapshot takes the passphrase, and passphrases change.
    serve d --key-file "$WORK/one"
    fails 1 strata volume snapshot d used
    has "$pool: served" "$OUT" "it is encrypted (say '--key-file FILE')"
    strata volume snapshot d used --key-file "$WORK/one" >/dev/null
    live -c 'write -P 5 2M 64k' -c flush
    strata volume key d --key-file "$WORK/one" --key-work 1000 --add "$WORK/two" >"$WORK/rows"
    [ "$(grep -c added "$WORK/rows")" = 3 ] || fail "$pool: added: $(cat "$WORK/rows")"
    live -c 'read -P 5 2M 64k' -c 'read -P 8 0 64k' -c 'write -P 4 3M 64k' -c flush
    stop "$server"
    within 10 is_free d
    io_by two d -c 'read -P 4 3M 64k' -c 'read -P 5 2M 64k' -c 'read -P 6 23M 64k'
    strata volume key d --key-file "$WORK/two" --remove "$WORK/one" >"$WORK/rows"
    grep -q kept "$WORK/rows" || fail "$pool: the clone's: $(cat "$WORK/rows")"
    fails 1 strata volume export d --key-file "$WORK/one" --nbd "$WORK/s"
    io_by one c -c 'read -P 9 1M 64k' -c 'read -P 7 0 1M'
    strata volume snapshot --delete d used --key-file "$WORK/two" >/dev/null
    strata volume snapshot --restore d before >/dev/null
    # `before` is the clone's, too, and opens with both
    io_by two d -c 'read -P 7 0 1M' -c 'read -P 0 2M 64k'

    # Whole copies and backups, there and back.
    strata volume backup d "$WORK/kept" --key-file "$WORK/two" >/dev/null
    io_by two d -c "write -s $WORK/part.raw 2M 1M"
    strata volume backup d "$WORK/kept" --key-file "$WORK/two" >"$WORK/rows"
    [ "$(grep -c changes "$WORK/kept/backups.json")" = 1 ] || fail "$pool: two whole backups"
    if [ "$pool" = dev ]; then # whose passphrase is tried in as many rounds as is usual
        strata volume restore "$WORK/kept" r --pool "$pool" --key-file "$WORK/two" >/dev/null
        strata volume export r --key-file "$WORK/two" --file "$WORK/r.raw" >/dev/null
        cmp "$WORK/part.raw" "$WORK/r.raw" -n 1048576 -i 0:2097152 || fail "$pool: restored"
        strata volume delete r >/dev/null
    fi
    rm -r "$WORK/kept"
    # shellcheck disable=SC2086
    strata volume create --size 16M --encrypt --key-work 1000 --key-file "$WORK/two" $options r >/dev/null
    io_by two r -c 'write -P 7 0 1M' -c "write -s $WORK/plain 5M 4096"
    strata volume move r "$pool" --key-file "$WORK/two" >/dev/null
    io_by two r -c 'read -P 7 0 1M'
    serve r --key-file "$WORK/two"
    strata volume move r default --key-file "$WORK/two" >/dev/null
    live -c 'read -P 7 0 1M' -c 'write -P 3 1M 64k' -c flush
    strata volume move r "$pool" --key-file "$WORK/two" >/dev/null
    live -c 'read -P 3 1M 64k' -c 'write -P 4 1M 64k' -c flush
    stop "$server"
    within 10 is_free r
    io_by two r -c 'read -P 4 1M 64k' -c 'read -P 7 0 1M'
    sync
    in_clear "$@" && fail "$pool: in clear at last"
    strata volume delete r >/dev/null
    strata volume delete c >/dev/null
    strata volume delete --snapshots d >/dev/null
}

device 128M one.img
strata pool create --member "$dev" dev >/dev/null
one=$dev
pass dev "$WORK/one.img"
is "nothing is left" "$(carved "$one")" ""

mkdir "$LVM"
cp "$TOP/tests/resource/storage/lvm/fake_lvm.py" "$LVM/lvm"
chmod +x "$LVM/lvm"
: >"$LVM/loops"
strata pool create --member "lvm:vg/tp,program=$LVM/lvm" lvm >/dev/null
pass lvm "$LVM"/*.img
is "nothing is left of LVM" "$(find "$LVM" -name '*.img' ! -name strata-label.img)" ""

strata pool create --redundancy mirror --member "$WORK/m1" --member "$WORK/m2" two >/dev/null
pass two -r "$WORK/m1" "$WORK/m2"
device 128M two.img
strata pool create --redundancy raid5 --member "$WORK/r1" --member "$WORK/r2" --member "$dev" three >/dev/null
pass three -r "$WORK/r1" "$WORK/r2" "$WORK/two.img"
strata pool delete three >/dev/null

# A mirror's copy is equal and checked without the passphrase; one that is lost is made anew.
strata volume create --pool two --size 16M --encrypt --key-work 1000 --key-file "$WORK/one" --checksum s >/dev/null
io_by one s -c "write -s $WORK/plain 5M 4096" -c 'write -P 7 0 1M'
python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    noise = [i for i in range(0, len(data), 4096) if len(set(data[i:i + 4096])) > 200]
    at = noise[len(noise) * 9 // 10] + 77 # behind the header
    f.seek(at)
    f.write(bytes([data[at] ^ 1]))' "$(find "$WORK/m1/layers" -type f)"
fails 1 strata volume check s
strata volume check --repair s >/dev/null || fail "not mended"
strata volume check s >/dev/null || fail "still damaged"
io_by one s -c 'read -P 7 0 1M'
strata volume delete s >/dev/null
OPTIONS=--checksum pass two -r "$WORK/m1" "$WORK/m2"
OPTIONS=

strata pool create --member "$WORK/t1" --member "$WORK/t2,class=fast" tiers >/dev/null
OPTIONS="--tier 16M"
# moved away it has one place, where it was two: the pool's own disks alone have tiers
strata volume create --pool tiers --size 32M --encrypt --key-work 1000 --key-file "$WORK/one" $OPTIONS t >/dev/null
io_by one t -c "write -s $WORK/plain 5M 4096" -c 'write -P 7 0 1M'
strata volume snapshot t one >/dev/null
strata volume clone t@one u >/dev/null
io_by one u -c 'read -P 7 0 1M' -c 'write -P 8 30M 1M'
in_clear -r "$WORK/t1" "$WORK/t2" && fail "tiers: in clear"
strata volume delete u >/dev/null
strata volume delete --snapshots t >/dev/null
fails 1 strata volume create --size 16M --encrypt --key-file "$WORK/one" --dedup x
has "dedup" "$OUT" "equal blocks of an encrypted disk differ where they lie"
fails 1 strata volume inspect x

# Mounted in a container, and made with a file system.
if [ -x /bin/busybox ] && [ -c /dev/loop-control ] && command -v mkfs.ext4 >/dev/null; then
    need_busybox
    for pool in dev lvm two; do
        strata volume create --pool $pool --size 32M --filesystem ext4 --encrypt --key-work 1000 \
            --key-file "$WORK/one" f >/dev/null
        fails 125 strata run --rm -v f:/data busybox true
        has "$pool: no key" "$OUT" "it is encrypted"
        strata run --rm -i -v "f:/data:key-file=$WORK/one" busybox sh -c 'cat >/data/file; sync' <"$WORK/plain"
        strata volume snapshot f one >/dev/null
        strata run --rm -v "f:/data:key-file=$WORK/one" busybox sh -c 'echo other >/data/file'
        strata volume clone f@one g >/dev/null
        strata run --rm -v "g:/data:ro,key-file=$WORK/one" busybox grep -q 'plain text' /data/file ||
            fail "$pool: the clone in a container"
        is "$pool: read" "$(strata run --rm -v "f:/data:ro,key-file=$WORK/one" busybox cat /data/file)" other
        within 10 strata volume delete g
        within 10 strata volume delete --snapshots f
    done
    in_clear -r "$WORK/one.img" "$LVM" "$WORK/m1" "$WORK/m2" && fail "mounted: in clear"
fi

# Killed at each step of a snapshot's and a disk's making: nothing is left, and the disk opens.
if knows_kills; then
    strata volume create --pool dev --size 4M --encrypt --key-work 1000 --key-file "$WORK/one" k >/dev/null
    for step in layer.announced layer.made volume.create.recorded; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume create --pool dev --size 4M --encrypt \
            --key-work 1000 --key-file "$WORK/one" gone >/dev/null 2>&1 || true
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume snapshot k "$step" >/dev/null 2>&1 || true
        strata volume delete gone >/dev/null 2>&1 || true
        io_by one k -c 'read -P 0 0 64k' -c 'write -P 0 1M 64k'
    done
    for step in key.added key.removed; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume key k --key-file "$WORK/one" --key-work 1000 \
            --change "$WORK/two" >/dev/null 2>&1 || true
        strata volume key k --key-file "$WORK/one" --key-work 1000 --change "$WORK/two" >/dev/null 2>&1 || true
        io_by two k -c 'read -P 0 0 64k'
        strata volume key k --key-file "$WORK/two" --key-work 1000 --change "$WORK/one" >/dev/null
    done
    strata volume delete --snapshots k >/dev/null
fi
is "nothing is left at last" "$(carved "$one")" ""
