#!/bin/sh
# Files out of backups and snapshots: of whole disks and of partitions, encrypted ones, and of
# images that were made to get at this host.
# rows: STO-11 STO-13 STO-32
# timeout: 300
# long
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mkfs.ext4 debugfs
[ -c /dev/loop-control ] && [ -c /dev/fuse ] || skip "needs loop devices and FUSE"

restore() { strata volume restore "$@" >/dev/null; }
# Programs `volume` that have files of this state open: one would be left with a loop device.
servers() {
    find /proc/[0-9]*/fd -type l \( -lname "$STATE/*" -o -lname "$WORK/*" \) 2>/dev/null | cut -d/ -f3 |
        sort -u | while read -r pid; do
        case $(readlink "/proc/$pid/exe") in */volume) echo "$pid" ;; esac
    done
}
no_servers() { [ -z "$(servers)" ]; }
# image FILE SIZE DIRECTORY [OPTIONS]: a file system that holds the directory.
image() {
    file=$1 size=$2 from=$3
    shift 3
    truncate -s "$size" "$file"
    mkfs.ext4 -q -F -d "$from" "$@" "$file" 2>/dev/null
}
keep() { # a disk of that file, kept as DISK@now
    strata volume import --format raw "$1" "$2" >/dev/null
    strata volume snapshot "$2" now >/dev/null
}

tree=$WORK/tree
mkdir -p "$tree/etc/deep/er" "$tree/bin"
echo first >"$tree/etc/hello"
echo down >"$tree/etc/deep/er/file"
head -c 3000000 /dev/urandom >"$tree/etc/large"
truncate -s 1M "$tree/etc/deep/hole"
ln -s ../hello "$tree/etc/deep/link"
ln -s /etc "$tree/absolute"
cp /bin/true "$tree/bin/root"
chmod 6755 "$tree/bin/root"
chown -R 1234:1234 "$tree/etc"
image "$WORK/disk" 64M "$tree"

# Of backups: the last, and one before; whole directories; where they are put.
strata volume import --format raw "$WORK/disk" data >/dev/null
strata volume backup data "$WORK/kept" >/dev/null
mkdir "$WORK/new" && echo second >"$WORK/new/hello"
image "$WORK/second" 64M "$WORK/new"
strata volume import --format raw "$WORK/second" other >/dev/null
restore "$WORK/kept" --file /etc/hello --to "$WORK/out"
is "a file" "$(cat "$WORK/out")" first
is "its owner" "$(stat -c %u:%g "$WORK/out")" 0:0
mkdir "$WORK/into"
restore "$WORK/kept" --file etc --to "$WORK/into"
diff -r --no-dereference "$tree/etc" "$WORK/into/etc" || fail "the directory is another"
restore "$WORK/kept" --at 0001 --file /absolute/hello --to "$WORK/into"
is "by an absolute link of the disk" "$(cat "$WORK/into/hello")" first
restore "$WORK/kept" --file / --to "$WORK/into/all"
cmp "$tree/etc/large" "$WORK/into/all/etc/large"
restore "$WORK/kept" --file /etc/large --to "$WORK/out"
cmp "$tree/etc/large" "$WORK/out"
(cd "$WORK" && restore kept --file /etc/hello --to here)
is "beside us" "$(cat "$WORK/here")" first
is "nothing else" "$(ls -A "$WORK" | grep -c '^\.[0-9a-f]\{8\}\.' || true)" 0

# Set-id bits and owners stay behind, unless they are asked for.
restore "$WORK/kept" --file /bin/root --to "$WORK/plain"
is "without set-id bits" "$(stat -c %a "$WORK/plain")" 755
restore "$WORK/kept" --file /bin/root --to "$WORK/exact" --owners
is "with them" "$(stat -c %a "$WORK/exact")" 6755
restore "$WORK/kept" --file /etc/hello --to "$WORK/exact" --owners
is "with its owner" "$(stat -c %u:%g "$WORK/exact")" 1234:1234

# Of snapshots, also ones that are several layers up, while the disk has become another.
strata volume snapshot data one >/dev/null
strata volume snapshot data two >/dev/null
restore data@one --file /etc/hello --to "$WORK/one"
restore data@two --file /etc/deep/er --to "$WORK/two"
is "of snapshots" "$(cat "$WORK/one" "$WORK/two/file")" "first
down"

# What is not there is said, and leaves nothing.
fails 1 strata volume restore data@three --file /etc/hello --to "$WORK/none"
has "no snapshot" "$OUT" "has no snapshot 'three'"
fails 1 strata volume restore "$WORK/kept" --at 0007 --file /etc/hello --to "$WORK/none"
has "no backup" "$OUT" "there is no backup '0007'"
fails 1 strata volume restore "$WORK/kept" --file /etc/none --to "$WORK/none"
has "no file" "$OUT" "cannot find '/etc/none' there: No such file"
fails 1 strata volume restore "$WORK/kept" --file /etc/hello --to "$WORK/no/where"
fails 1 strata volume restore "$WORK/kept" --file /etc/.. --to "$WORK/none"
fails 1 strata volume restore "$WORK/kept" --file /etc/hello
has "without a target" "$OUT" "--to TARGET"
fails 1 strata volume restore "$WORK/kept" name --file /etc/hello --to "$WORK/none"
fails 1 strata volume restore "$WORK/kept"
fails 1 strata volume restore "$WORK/kept" name --owners
has "without a file" "$OUT" "--file PATH"
fails 1 strata volume restore "$WORK/kept" --partition 1 --file /etc/hello --to "$WORK/none"
has "no partitions" "$OUT" "it has no partitions"
[ ! -e "$WORK/none" ] || fail "something was written"

# Encrypted ones.
printf 'a long passphrase' >"$WORK/key"
printf 'another' >"$WORK/wrong"
strata volume create --size 64M --encrypt --key-file "$WORK/key" --filesystem ext4 secret >/dev/null
strata volume backup secret --key-file "$WORK/key" "$WORK/locked" >/dev/null
strata volume snapshot secret now >/dev/null
mkdir "$WORK/empty"
restore "$WORK/locked" --key-file "$WORK/key" --file / --to "$WORK/empty"
restore secret@now --key-file "$WORK/key" --file / --to "$WORK/empty"
is "nothing is on it" "$(ls -A "$WORK/empty")" ""
fails 1 strata volume restore "$WORK/locked" --file / --to "$WORK/empty"
has "without a passphrase" "$OUT" "it is encrypted"
fails 1 strata volume restore "$WORK/locked" --key-file "$WORK/wrong" --file / --to "$WORK/empty"
has "with another" "$OUT" "does not open it"
fails 1 strata volume restore secret@now --file / --to "$WORK/empty"

# Partitions, by both kinds of tables.
part() { # FILE OFFSET-MIB: the file system, there
    dd if="$WORK/second" of="$1" bs=1M seek="$2" conv=notrunc,sparse status=none
}
if command -v sgdisk >/dev/null; then
    truncate -s 200M "$WORK/gpt"
    sgdisk -n 1:2048:+4M -n 3:32M:+64M "$WORK/gpt" >/dev/null
    part "$WORK/gpt" 32
    keep "$WORK/gpt" gpt
    restore gpt@now --partition 3 --file hello --to "$WORK/of-gpt"
    is "of a GPT" "$(cat "$WORK/of-gpt")" second
    fails 1 strata volume restore gpt@now --partition 2 --file hello --to "$WORK/none"
    has "no such partition" "$OUT" "it has no partition 2"
    fails 1 strata volume restore gpt@now --partition 1 --file hello --to "$WORK/none"
    has "an empty partition" "$OUT" "there is no file system"
    fails 1 strata volume restore gpt@now --file hello --to "$WORK/none"
    has "the whole disk" "$OUT" "it has partitions: say which one"
    dd if=/dev/zero of="$WORK/gpt" bs=512 seek=1 count=1 conv=notrunc status=none
    keep "$WORK/gpt" gpt2
    restore gpt2@now --partition 3 --file hello --to "$WORK/of-gpt"
    printf '\377' | dd of="$WORK/gpt" bs=1 seek=$((200 * 1048576 - 33 * 512 + 300)) conv=notrunc status=none
    keep "$WORK/gpt" gpt3
    fails 1 strata volume restore gpt3@now --partition 3 --file hello --to "$WORK/none"
    has "a damaged table" "$OUT" "its table of partitions is damaged"
fi
if command -v parted >/dev/null; then
    truncate -s 300M "$WORK/mbr"
    parted -s "$WORK/mbr" mklabel msdos mkpart primary ext4 1MiB 65MiB mkpart extended 66MiB 299MiB \
        mkpart logical ext4 70MiB 134MiB mkpart logical ext4 140MiB 204MiB >/dev/null 2>&1
    part "$WORK/mbr" 1
    part "$WORK/mbr" 140
    keep "$WORK/mbr" mbr
    for number in 1 6; do
        rm -f "$WORK/of-mbr"
        restore mbr@now --partition $number --file hello --to "$WORK/of-mbr"
        is "partition $number of an MBR" "$(cat "$WORK/of-mbr")" second
    done
    fails 1 strata volume restore mbr@now --partition 7 --file hello --to "$WORK/none"
    fails 1 strata volume restore mbr@now --partition 2 --file hello --to "$WORK/none"
fi

# Images that were made to get out: links, devices, directories in a ring.
mkdir -p "$WORK/bad/dir"
echo inside >"$WORK/bad/dir/shadow"
ln -s /etc "$WORK/bad/out"
ln -s ../../../../../../../../../../etc "$WORK/bad/up"
ln -s /proc/self/root/etc "$WORK/bad/magic"
ln -s loop "$WORK/bad/loop"
mkfifo "$WORK/bad/dir/pipe"
image "$WORK/hostile" 16M "$WORK/bad"
debugfs -w -R "mknod dir/disk b 254 0" "$WORK/hostile" 2>/dev/null
debugfs -w -R "mknod null c 1 3" "$WORK/hostile" 2>/dev/null
debugfs -w -R "ln dir dir/ring" "$WORK/hostile" 2>/dev/null
keep "$WORK/hostile" hostile
for way in out up magic loop; do
    fails 1 strata volume restore hostile@now --file /$way/hostname --to "$WORK/none"
    fails 1 strata volume restore hostile@now --file /$way/../../../etc/hostname --to "$WORK/none"
done
restore hostile@now --file /out --to "$WORK/link"
is "a link is a link" "$(readlink "$WORK/link")" /etc
fails 1 strata volume restore hostile@now --file /null --to "$WORK/none"
has "a device" "$OUT" "a device or a socket, which stay behind"
strata volume restore hostile@now --file /dir --to "$WORK/dir" >/dev/null 2>&1 || true
[ ! -b "$WORK/dir/disk" ] || fail "a device came out"
rm -rf "$WORK/dir"
[ ! -e "$WORK/none" ] || fail "something was written"

# Damaged ones: an error or what can be read, and nothing stays.
for at in 1 4 5 40 66 68 70 1060; do
    cp "$WORK/second" "$WORK/damaged"
    dd if=/dev/urandom of="$WORK/damaged" bs=1024 seek=$at count=4 conv=notrunc status=none
    strata volume import --format raw "$WORK/damaged" "damaged$at" >/dev/null
    strata volume snapshot "damaged$at" now >/dev/null
    strata volume restore "damaged$at@now" --file hello --to "$WORK/of-damaged" >/dev/null 2>&1 || true
done
# What the disk says of errors does not count: it could say that the host shall stop.
cp "$WORK/second" "$WORK/panic"
tune2fs -e panic "$WORK/panic" >/dev/null
need_busybox
strata volume import --format raw "$WORK/panic" panic >/dev/null
has "on errors" "$(strata run --rm -v panic:/data:ro busybox grep ' /data ' /proc/mounts)" "errors=remount-ro"
strata volume create --size 1M blank >/dev/null
strata volume snapshot blank now >/dev/null
fails 1 strata volume restore blank@now --file hello --to "$WORK/none"
has "nothing is on it" "$OUT" "there is no file system on the disk"

# Commands that are killed on the way: nothing stays mounted, and no half file has the name.
if grep -qa 'STRATA_FAULT' "$STRATA"; then
    for step in extract.served extract.mounted extract.copied; do
        rm -f "$WORK/killed"
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume restore data@one --file /etc/large \
            --to "$WORK/killed" >/dev/null 2>&1 && fail "$step is no step"
        [ ! -e "$WORK/killed" ] || fail "half a file after $step"
        within 5 no_servers
    done
    rm -f "$WORK"/.????????.killed
fi
within 5 no_servers
restore data@one --file /etc/large --to "$WORK/killed"
cmp "$tree/etc/large" "$WORK/killed"
