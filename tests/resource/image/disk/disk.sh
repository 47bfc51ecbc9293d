#!/bin/sh
# disk.sh IMAGE - the tree of an image as an ext4 disk, beside e2fsck, debugfs and - as root - the kernel.
#
# rows: FV-01
set -eu
image=$1
dir=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$dir/mnt"; rm -rf "$dir"' EXIT
PATH=$PATH:/sbin:/usr/sbin

fail() {
    echo "failed: $*"
    exit 1
}

ask() { # OPERATION REQUEST
    echo "$2" | "$image" "$1" >"$dir/out" || fail "$(cat "$dir/out")"
}

# A tree with everything: names, links, modes, owners, times, sizes about a block, a directory of many blocks.
tree=$dir/tree
mkdir -p "$tree/a/b/c" "$tree/many" "$tree/tmp" "$tree/lost+found"
i=0
while [ $i -lt 3000 ]; do
    i=$((i + 1))
    echo $i >"$tree/many/a file with a rather long name so that blocks fill up $i"
done
for n in 0 1 4095 4096 4097 1048576 5000001; do
    head -c $n /dev/urandom >"$tree/a/size$n"
done
truncate -s 300M "$tree/sparse"
printf end | dd of="$tree/sparse" bs=1 seek=314572000 conv=notrunc status=none
ln "$tree/a/size4097" "$tree/a/b/other name"
ln "$tree/a/size4097" "$tree/third"
ln -s /a/b "$tree/short"
ln -s "$(printf 'x%.0s' $(seq 59))" "$tree/link59"
ln -s "$(printf 'x%.0s' $(seq 60))" "$tree/link60"
ln -s "$(printf 'x%.0s' $(seq 1000))" "$tree/link1000"
mkfifo "$tree/fifo"
chmod 1777 "$tree/tmp"
chmod 4755 "$tree/a/size1"
touch -d '1969-12-31T00:00:00Z' "$tree/a/size0"
touch -d '2100-01-01T00:00:00Z' "$tree/a/size4095"
if [ "$(id -u)" = 0 ]; then
    chown 1000:2000 "$tree/a/size4096"
    chown 100000:4000000000 "$tree/a/b"
fi
ask import "{\"state\":\"$dir/st\",\"path\":\"$tree\",\"format\":\"dir\",\"name\":\"x:1\"}"
ask disk "{\"state\":\"$dir/st\",\"image\":\"x:1\",\"bytes\":1000000000}"
disk=$(sed -n 's/.*"disk":"\([^"]*\)".*/\1/p' "$dir/out")
[ "$(stat -c %s "$disk")" = 1073741824 ] || fail "its size: $(stat -c %s "$disk")"
e2fsck -fn "$disk" >"$dir/fsck" 2>&1 || fail "e2fsck: $(cat "$dir/fsck")"
grep -q 'clean\|non-contiguous' "$dir/fsck" || fail "e2fsck: $(cat "$dir/fsck")"
# The copies of the superblock are good, too.
cp --sparse=always "$disk" "$dir/copy"
e2fsck -fy -b 32768 -B 4096 "$dir/copy" >"$dir/fsck" 2>&1 || [ $? = 1 ] || fail "e2fsck -b: $(cat "$dir/fsck")"
rm "$dir/copy"

# Found again; another size is another file; the same tree gives the same bytes.
before=$(stat -c %i "$disk")
ask disk "{\"state\":\"$dir/st\",\"image\":\"x:1\",\"bytes\":1000000000}"
[ "$(stat -c %i "$disk")" = "$before" ] || fail 'it was made twice'
mv "$disk" "$dir/first"
ask disk "{\"state\":\"$dir/st\",\"image\":\"x:1\",\"bytes\":1000000000}"
cmp "$disk" "$dir/first" || fail 'the same tree gave other bytes'
rm "$dir/first"
ask disk "{\"state\":\"$dir/st\",\"image\":\"x:1\"}"
big=$(sed -n 's/.*"disk":"\([^"]*\)".*/\1/p' "$dir/out")
[ "$(stat -c %s "$big")" = 8589934592 ] || fail "the usual size: $(stat -c %s "$big")"
e2fsck -fn "$big" >"$dir/fsck" 2>&1 || fail "e2fsck of a larger one: $(cat "$dir/fsck")"

# Two at a time.
rm "$disk"
for i in 1 2 3; do
    echo "{\"state\":\"$dir/st\",\"image\":\"x:1\",\"bytes\":1000000000}" | "$image" disk >"$dir/out$i" &
done
wait
cat "$dir/out1" "$dir/out2" "$dir/out3" | grep -c '"disk"' | grep -q 3 || fail 'one of three at a time failed'
[ "$(find "$dir/st/layers" -name '*.new' | wc -l)" = 0 ] || fail 'something was left'

# What another implementation reads: the kernel, else debugfs.
list() { # DIR: all that a tree says of itself
    (cd "$1" && find . -path './lost+found' -prune -o -printf '%p %y %m %U:%G %n %l ' \( -type d -printf '0' -o -printf '%s' \) \
        -printf ' %T@\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}
mkdir "$dir/mnt"
if [ "$(id -u)" = 0 ] && mount -o loop,ro,noload "$disk" "$dir/mnt" 2>/dev/null; then
    mounted=yes
    src=$(find "$dir/st/layers" -maxdepth 2 -name fs)
    list "$src" | sed 's/\.[0-9]*$//' >"$dir/want"
    list "$dir/mnt" | sed 's/\.[0-9]*$//' >"$dir/have"
    diff "$dir/want" "$dir/have" >"$dir/diff" || fail "$(head -n 20 "$dir/diff")"
else
    mkdir "$dir/dump"
    debugfs -R "rdump / $dir/dump" "$disk" >"$dir/log" 2>&1
    src=$(find "$dir/st/layers" -maxdepth 2 -name fs)
    (cd "$src" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$dir/want"
    (cd "$dir/dump" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$dir/have"
    diff "$dir/want" "$dir/have" >"$dir/diff" || fail "$(head -n 20 "$dir/diff")"
    (cd "$src" && find . -printf '%p %m\n' | grep -v lost+found | sort) >"$dir/want"
    (cd "$dir/dump" && find . -printf '%p %m\n' | grep -v lost+found | sort) >"$dir/have"
    diff "$dir/want" "$dir/have" >"$dir/diff" || fail "$(head -n 20 "$dir/diff")"
fi
