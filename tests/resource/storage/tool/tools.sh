#!/bin/sh
# The one-shot operations of the program `volume` against qemu-img and qemu-io.
# rows: STO-03 STO-11 STO-12 STO-27
#
#     tools.sh VOLUME-PROGRAM
set -eu
volume=$(realpath "$1")
work=$(mktemp -d /var/tmp/volume-tools-XXXXXX)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
for tool in qemu-img qemu-io; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
cd "$work"

# v WORD...: run an operation; its answer is in ./answer
v() {
    "$volume" "$@" >answer 2>&1 || fail "volume $*: $(cat answer)"
    [ "$(tail -n 1 answer)" = ok ] || fail "volume $*: does not end with ok"
}
# refused TEXT WORD...: it fails, and says so with that text
refused() {
    text=$1
    shift
    "$volume" "$@" >answer 2>&1 && fail "not refused: $*"
    grep -q "^error -[0-9]* .*$text" answer || fail "volume $*: $(cat answer)"
}
# has LINE: the answer has this line
has() {
    grep -qx "$1" answer || fail "no '$1' in: $(cat answer)"
}
same() {
    qemu-img compare -q "$@" || fail "not the same: $*"
}

# a disk with data, holes, zeros and an odd end
truncate -s 40M disk
dd if=/dev/urandom of=disk bs=64k count=50 seek=3 conv=notrunc status=none
dd if=/dev/zero of=disk bs=64k count=9 seek=200 conv=notrunc status=none
dd if=/dev/urandom of=disk bs=512 count=3 seek=81917 conv=notrunc status=none

# ---- create, and what others think of it ----
for how in '' cluster=4K 'cluster=1M extended-l2' 'lazy-refcounts refcount-bits=1' version=2 \
    compression=zstd preallocate 'cluster=2M refcount-bits=64'; do
    rm -f image
    : >image
    # shellcheck disable=SC2086
    v create node=f,file,path=image format=qcow2 size=1G $how
    qemu-img check -q image || fail "create $how: $(qemu-img check image)"
    [ "$(qemu-img info --output=json image | grep -c '"virtual-size": 1073741824')" = 1 ] ||
        fail "create $how: size"
done
refused "clusters of 1000 bytes" create node=f,file,path=image format=qcow2 size=1G cluster=1000
refused "no size" create node=f,file,path=image format=qcow2
refused "no format is called 'qcow3'" create node=f,file,path=image format=qcow3 size=1
refused "cannot be made" create node=f,file,path=image format=vhdx size=1M
refused "'colour' is no word" create node=f,file,path=image format=raw size=1M colour=red
refused "no size" resize node=f,file,path=image
refused "no operation" dance

# ---- info: what they made ----
qemu-img create -q -f qcow2 -o cluster_size=128k,extended_l2=on,lazy_refcounts=on,compression_type=zstd one 77M
qemu-img snapshot -c 'two words' one
v info node=f,file,path=one,read-only node=q,qcow2,file=f,read-only probe top=q
for line in size_bytes=80740352 format=qcow2 version=3 cluster_bytes=131072 extended_l2=yes lazy_refcounts=yes \
    compression=zstd dirty=no corrupt=no encrypted=no read_only=yes; do
    has "$line"
done
grep -q '^snapshot=1 80740352 .*two words$' answer || fail "snapshot: $(cat answer)"
for format in qcow2 vmdk vhdx vpc vdi raw luks; do
    for i in 1 2 3 4 5 6; do # QEMU may fail to measure the time of its key derivation
        qemu-img create -q -f $format $([ $format = luks ] && echo "--object secret,id=s,data=x -o key-secret=s,iter-time=200") \
            seen 8M && break
    done
    v info node=f,file,path=seen,read-only probe
    # without a footer at its begin a VHD does not show
    [ $format = vpc ] && format=vhd
    has "probe=$format"
done
# a name with a line of its own in it is still one line
printf 'a\nok\n' >name
qemu-img create -q -u -f qcow2 -F raw -b "$(cat name)" evil 1M
v info node=f,file,path=evil,read-only node=q,qcow2,file=f,alone,read-only
has 'backing_name=a\\x0aok'

# ---- convert: all that can be written, read by them, and back ----
copy() { # copy FROM-TYPE FROM TO-FORMAT TO WORD...: into a new file
    from_type=$1 from=$2 to_format=$3 to=$4
    shift 4
    rm -f "$to"
    : >"$to"
    v convert "node=sf,file,path=$from,read-only" "node=s,$from_type,file=sf,read-only" "node=t,file,path=$to" \
        from=s to=t format="$to_format" "$@"
}
copy raw disk qcow2 c.qcow2
has progress="41943040 41943040"
qemu-img check -q c.qcow2 || fail "what was converted has errors"
same -f raw -F qcow2 disk c.qcow2
copy raw disk qcow2 n.qcow2 no-flush
qemu-img check -q n.qcow2 || fail "what was converted without a flush has errors"
same -f raw -F qcow2 disk n.qcow2
copy raw disk qcow2 z.qcow2 compress
[ "$(stat -c %b z.qcow2)" -le "$(($(stat -c %b c.qcow2) + 128))" ] || fail "not smaller"
same -f raw -F qcow2 disk z.qcow2
copy raw disk qcow2 e.qcow2 cluster=64K extended-l2 compression=zstd compress
same -f raw -F qcow2 disk e.qcow2
copy raw disk vmdk c.vmdk
same -f raw -F vmdk disk c.vmdk
copy raw disk vmdk-stream s.vmdk
same -f raw -F vmdk disk s.vmdk
for type in qcow2:z.qcow2 qcow2:e.qcow2 vmdk:c.vmdk vmdk:s.vmdk; do
    copy "${type%%:*}" "${type#*:}" raw back
    cmp disk back || fail "back from $type"
done
for type in qcow2:qcow2 vmdk:vmdk vhdx:vhdx vhd:vpc vdi:vdi; do
    qemu-img convert -f raw -O "${type#*:}" disk theirs
    copy "${type%%:*}" theirs qcow2 ours
    qemu-img check -q ours || fail "from $type: errors"
    # geometries of the old formats round the size up
    same -f "${type#*:}" -F qcow2 theirs ours
    same -f raw -F qcow2 disk ours
done
# into a disk that is there, which had something else
qemu-img create -q -f qcow2 there 48M
qemu-io -c 'write -q -P 77 0 48M' there >/dev/null
v convert node=s,file,path=disk,read-only node=tf,file,path=there node=t,qcow2,file=tf from=s to=t
qemu-img convert -O raw there back
cmp -n 41943040 disk back || fail "into a disk that is there"
# blocks of the target are larger: what is around data is read with it, the end is filled up
head -c 10000384 disk >odd
for i in 7 9 23 1000 1001 19530; do
    dd if=/dev/urandom of=odd bs=512 count=1 seek=$i conv=notrunc status=none
done
qemu-img create -q -f qcow2 -o cluster_size=512 small 10000384
qemu-img convert -n -f raw -O qcow2 -S 512 odd small
head -c 11M /dev/urandom >blocks
v convert node=f,file,path=small,read-only node=s,qcow2,file=f,read-only node=t,file,path=blocks,block=4096 from=s to=t
cmp -n 10000384 odd blocks || fail "larger blocks"
: >blocks
v convert node=f,file,path=small,read-only node=s,qcow2,file=f,read-only node=t,file,path=blocks,block=4096 \
    from=s to=t format=raw
cmp -n 10000384 odd blocks || fail "larger blocks, a new file"
# an end in the middle leaves no image
truncate -s 3G large
head -c 600M /dev/urandom | dd of=large conv=notrunc bs=1M status=none
: >part
"$volume" convert node=s,file,path=large,read-only node=t,file,path=part from=s to=t format=qcow2 >answer 2>&1 &
pid=$!
for i in $(seq 100); do
    [ "$(stat -c %s part)" -gt 1000000 ] && break
    sleep 0.02
done
kill $pid
wait $pid && fail "it went on to the end"
grep -q "^error -125 .*anceled" answer || fail "cancelled: $(cat answer)"
[ "$(stat -c %s part)" = 0 ] || fail "half an image is left"
rm -f large part

# ---- check ----
qemu-img convert -f raw -O qcow2 disk sick
qemu-io -c 'write -q -P 1 0 1M' sick >/dev/null
v check node=f,file,path=sick,read-only node=q,qcow2,file=f,read-only
has corruptions=0
has leaks=0
# entry 5 of the first refcount block, which lies in the third cluster, says 0; entry 400 says 1
printf '\000\000' | dd of=sick bs=1 seek=$((131072 + 10)) conv=notrunc status=none
printf '\000\001' | dd of=sick bs=1 seek=$((131072 + 800)) conv=notrunc status=none
qemu-img check --output=json sick >theirs 2>&1 && fail "they find nothing"
theirs=$(sed -n 's/.*"corruptions": \([0-9]*\).*/\1/p' theirs)
v check node=f,file,path=sick,read-only node=q,qcow2,file=f,read-only,for-repair
has "corruptions=$theirs"
has leaks=1
v check node=f,file,path=sick node=q,qcow2,file=f,for-repair repair=all
has "repaired_corruptions=$theirs"
has repaired_leaks=1
qemu-img check -q sick || fail "not repaired"

# ---- resize ----
v resize node=f,file,path=c.qcow2 node=q,qcow2,file=f size=80M
qemu-img info c.qcow2 | grep -q '80 MiB' || fail "resize"
refused "'shrink' allows it" resize node=f,file,path=c.qcow2 node=q,qcow2,file=f size=20M
v resize node=f,file,path=c.qcow2 node=q,qcow2,file=f size=40M shrink
qemu-img check -q c.qcow2 || fail "shrunk: errors"
same -f raw -F qcow2 disk c.qcow2
refused "it is read only" resize node=f,file,path=s.vmdk,read-only node=q,vmdk,file=f size=80M
refused "read only" resize node=f,file,path=disk,read-only size=80M

# ---- map: their word for the same places ----
qemu-img create -q -f qcow2 -b disk -F raw top
qemu-io -c 'write -q -P 5 1M 128k' -c 'write -q -z 30M 128k' top >/dev/null
v map node=b,file,path=disk,read-only node=f,file,path=top,read-only node=q,qcow2,file=f,backing=b,read-only
grep '^extent=' answer | sed 's/extent=//' >ours
awk '{ if ($1 != end) exit 1; end = $1 + $2 } END { exit end != 41943040 }' ours || fail "map has gaps: $(cat ours)"
qemu-img map --output=json top | python3 -c '
import json, sys
theirs = json.load(sys.stdin)
ours = [line.split() for line in open("ours")]
def find(off):
    for o in ours:
        if int(o[0]) <= off < int(o[0]) + int(o[1]):
            return o
for t in theirs:
    for off in (t["start"], t["start"] + t["length"] - 512):
        o = find(off)
        if t["data"]:
            assert o[2] in ("data", "base"), (t, o)
            assert o[3] == ("f" if t["depth"] == 0 else "b"), (t, o)
            assert int(o[4]) + off - int(o[0]) == t["offset"] + off - t["start"], (t, o)
        else:
            assert o[2] in ("zero", "hole"), (t, o)
' || fail "map: $(cat ours)"
v map node=f,file,path=disk,read-only off=1M bytes=64K
has "extent=1048576 65536 data f 1048576"
refused "behind the end" map node=f,file,path=disk,read-only off=1G

# ---- marks: ours are theirs ----
v marks node=f,file,path=c.qcow2 node=q,qcow2,file=f add=monday granularity=32K
has "mark=32768 0 enabled monday"
qemu-img info c.qcow2 | grep -q 'name: monday' || fail "they do not see the bitmap"
qemu-img bitmap --add c.qcow2 tuesday
qemu-img bitmap --merge monday c.qcow2 tuesday
v marks node=f,file,path=c.qcow2 node=q,qcow2,file=f remove=monday
grep -q tuesday answer || fail "tuesday: $(cat answer)"
refused "no marks" marks node=f,file,path=disk add=x
: >set
v arrange node=d,file,path=disk,read-only node=s,file,path=set format=marks of=d
v marks node=d,file,path=disk node=s,file,path=set node=m,marks,file=d,set=s add=x
has "mark=65536 0 enabled x"
refused "no marks called 'y'" marks node=d,file,path=disk node=s,file,path=set node=m,marks,file=d,set=s show=y

# ---- merge and rebase ----
qemu-img convert -O raw top expected
cp disk parent
v merge node=p,file,path=parent node=f,file,path=top,read-only node=q,qcow2,file=f,alone,read-only from=q to=p
cmp parent expected || fail "merged"
qemu-img create -q -f raw other 60M
qemu-io -f raw -c 'write -q -P 9 0 2M' -c 'write -q -P 3 50M 1M' other >/dev/null
v rebase node=n,file,path=disk,read-only node=o,file,path=other,read-only node=f,file,path=top \
    node=q,qcow2,file=f,backing=n now=n then=o name=other format=raw
qemu-img info top | grep -q 'backing file: other' || fail "rebase: $(qemu-img info top)"
same -f qcow2 -F raw top expected
qemu-img check -q top || fail "rebased: errors"
v rebase node=o,file,path=other,read-only node=f,file,path=top node=q,qcow2,file=f,backing=o now=o
! qemu-img info top | grep -q 'backing file' || fail "it still stands on something"
same -f qcow2 -F raw top expected

# ---- mirrors, arrays, checksums, stores: made, used, compared ----
for piece in a b c d; do truncate -s 48M $piece; done
pieces="node=a,file,path=a node=b,file,path=b node=c,file,path=c"
names="piece=a piece=b piece=c"
word="piece=a,piece=b,piece=c"
for kind in "mirror:same:" "raid:level=5 journal=4M:,level=5" "raid:level=6 journal=4M:,level=6"; do
    format=${kind%%:*}
    rest=${kind#*:}
    [ "${rest#*:}" = ",level=6" ] && pieces="$pieces node=d,file,path=d" names="$names piece=d" word="$word,piece=d"
    # shellcheck disable=SC2086
    v arrange $pieces format=$format $names size=40M ${rest%%:*}
    # shellcheck disable=SC2086
    v convert node=s,file,path=disk,read-only $pieces node=m,$format,$word${rest#*:} from=s to=m
    # shellcheck disable=SC2086
    v scrub $pieces node=m,$format,$word${rest#*:}
    has wrong=0
    dd if=/dev/urandom of=b bs=4096 count=1 seek=3000 conv=notrunc status=none
    # shellcheck disable=SC2086
    v scrub $pieces node=m,$format,$word${rest#*:} mend
    has wrong=1
    has mended=1
    # shellcheck disable=SC2086
    v info $pieces node=m,$format,$word${rest#*:}
    has state=ok
    rm -f out
    : >out
    # shellcheck disable=SC2086
    v convert $pieces node=m,$format,$word${rest#*:},degraded node=t,file,path=out from=m to=t format=raw
    # with one parity nobody knows which of the pieces is wrong
    [ "${rest#*:}" = ",level=5" ] || cmp disk out || fail "$kind: not what was written"
done
truncate -s 48M sums
v arrange node=f,file,path=sums format=checksum
v convert node=s,file,path=disk,read-only node=f,file,path=sums node=k,checksum,file=f from=s to=k
dd if=/dev/urandom of=sums bs=512 count=1 seek=1000 conv=notrunc status=none
v scrub node=f,file,path=sums node=k,checksum,file=f
has wrong=1
refused "nothing to compare" scrub node=f,file,path=disk
truncate -s 80M store
v arrange node=f,file,path=store format=dedup
v arrange node=f,file,path=store format=dedup volume=one size=40M
v convert node=s,file,path=disk,read-only node=f,file,path=store node=k,dedup,file=f,volume=one from=s to=k
v check node=f,file,path=store node=k,dedup,file=f,volume=one
refused "one" arrange node=f,file,path=store format=dedup volume=one size=40M

# ---- disks carved out of a device, and a disk over several pieces ----
truncate -s 256M device
v arrange node=f,file,path=device format=store
one=00000000000000aa
two=00000000000000bb
v store node=s,store,fd=4 add=$one 4<>device
v store node=s,store,fd=4 add=$two 4<>device
v store node=s,store,fd=4 add=$two part=1 list 4<>device
has "carved=$one 0 0"
has "carved=$two 1 0"
refused "is there\|exists" store node=s,store,fd=4 add=$two 4<>device
v create node=s,store,fd=4 node=c,carve,on=s,id=$one format=qcow2 size=40M 4<>device
v convert node=d,file,path=disk,read-only node=s,store,fd=4 node=c,carve,on=s,id=$one node=q,qcow2,file=c \
    from=d to=q 4<>device
v check node=s,store,fd=4 node=c,carve,on=s,id=$one node=q,qcow2,file=c 4<>device
has corruptions=0
rm -f out
: >out
v convert node=s,store,fd=4 node=c,carve,on=s,id=$one node=q,qcow2,file=c node=t,file,path=out from=q to=t \
    format=raw 4<>device
cmp disk out || fail "carved: not what was written"
v store node=s,store,fd=4 remove=$two part=1 list 4<>device
! grep -q "carved=$two 1" answer || fail "it is still there"
refused "no disk, but holds some" info node=s,store,fd=4 node=r,raw,file=s 4<>device
refused "no disk is called" info node=s,store,fd=4 4<>device
refused "no store of disks" info node=f,file,path=disk node=c,carve,on=f,id=$one
refused "no id of 16" info node=s,store,fd=4 node=c,carve,on=s,id=12 4<>device
: >bounded
v create node=f,file,path=bounded node=b,quota,file=f,bound=2M format=qcow2 size=40M
refused "No space left" convert node=s,file,path=disk,read-only node=f,file,path=bounded node=b,quota,file=f,bound=2M \
    node=q,qcow2,file=b from=s to=q
v convert node=s,file,path=disk,read-only node=f,file,path=bounded node=b,quota,file=f,bound=8M node=q,qcow2,file=b \
    from=s to=q
same -f raw -F qcow2 disk bounded
for piece in p1 p2 map; do : >$piece; done
v arrange node=m,file,path=map format=span pieces=2 segment=1M size=40M
v convert node=d,file,path=disk,read-only node=m,file,path=map node=p1,file,path=p1 node=p2,file,path=p2 \
    node=x,span,map=m,piece=p1,piece=p2 from=d to=x
rm -f out
: >out
v convert node=m,file,path=map node=p1,file,path=p1 node=p2,file,path=p2 node=x,span,map=m,piece=p1,piece=p2 \
    node=t,file,path=out from=x to=t format=raw
cmp disk out || fail "span: not what was written"
v map node=m,file,path=map node=p1,file,path=p1 node=p2,file,path=p2 node=x,span,map=m,piece=p1,piece=p2
grep -q ' p1 ' answer && grep -q ' p2 ' answer || fail "not over both: $(cat answer)"

# ---- a disk that another program serves ----
"$volume" nbd node=f,file,path=z.qcow2 node=q,qcow2,file=f socket=sock once >served 2>&1 &
pid=$!
for i in $(seq 100); do
    grep -q listening served 2>/dev/null && break
    sleep 0.05
done
rm -f out
: >out
v convert "node=s,nbd,uri=nbd+unix:///?socket=$work/sock" node=t,file,path=out from=s to=t format=raw
cmp disk out || fail "over NBD: something else"
wait $pid || fail "the server ended badly: $(cat served)"
[ ! -e sock ] || fail "the socket is left"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'user\nsecret of twelve\nserver\nanother of twelve\n' >chap
printf 'user\nsecret of thirteen\n' >wrong
target() {
    "$volume" iscsi node=f,file,path=z.qcow2 node=q,qcow2,file=f portal=127.0.0.1:$port \
        target=iqn.2020-01.example:disk lun=3 chap=chap >served 2>&1 &
    target=$!
    for i in $(seq 100); do
        grep -q listening served 2>/dev/null && break
        sleep 0.05
    done
}
target
url="iscsi://127.0.0.1:$port/iqn.2020-01.example:disk/3"
: >out
v convert "node=s,iscsi,url=$url,chap=5" node=t,file,path=out from=s to=t format=raw 5<chap
cmp disk out || fail "over iSCSI: something else"
refused "node 's'" info "node=s,iscsi,url=$url,chap=5,patience=2" 5<wrong
# it may connect again, confined as it is
"$volume" nbd "node=s,iscsi,url=$url,chap=5" socket=sock once >through 2>&1 5<chap &
pid=$!
for i in $(seq 100); do
    grep -q listening through 2>/dev/null && break
    sleep 0.05
done
grep -q 'Seccomp:.2' "/proc/$pid/status" || fail "not confined"
kill $target
wait $target || fail "the target ended badly: $(cat served)"
target
qemu-img convert -f raw -O raw "nbd:unix:$work/sock" back || fail "through a target that went away"
cmp disk back || fail "through a target that went away: something else"
wait $pid || fail "the server ended badly: $(cat through)"
kill $target
wait $target || fail "the target ended badly: $(cat served)"

# ---- files that an image names, in one directory and nowhere else ----
mkdir chain elsewhere
qemu-img create -q -f raw chain/base 10M
qemu-io -f raw -c 'write -q -P 1 0 1M' -c 'write -q -P 2 5M 1M' chain/base >/dev/null
qemu-img create -q -f qcow2 -b base -F raw chain/one
qemu-io -c 'write -q -P 3 1M 1M' chain/one >/dev/null
qemu-img create -q -f qcow2 -b one -F qcow2 chain/two
qemu-io -c 'write -q -P 4 2M 1M' chain/two >/dev/null
qemu-img convert -O raw chain/two expected
rm -f out
: >out
v convert node=f,file,path=chain/two,read-only node=q,qcow2,file=f,dir=6,read-only node=t,file,path=out from=q to=t \
    format=raw 6<chain
cmp out expected || fail "a chain in a directory"
qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat disk chain/flat.vmdk
: >out
v convert node=f,file,path=chain/flat.vmdk,read-only node=q,vmdk,file=f,dir=6,read-only node=t,file,path=out from=q \
    to=t format=raw 6<chain
cmp out disk || fail "an extent in a directory"
cp disk elsewhere/secret
ln -s ../elsewhere/secret chain/link
mkfifo chain/pipe
for name in ../elsewhere/secret "$work/elsewhere/secret" link pipe . .. ./base elsewhere/../base; do
    qemu-img create -q -u -f qcow2 -b "$name" -F raw bad 10M
    refused "cannot open '$name'" info node=f,file,path=bad,read-only node=q,qcow2,file=f,dir=6,read-only 6<chain
done
qemu-img create -q -u -f qcow2 -b loop -F qcow2 chain/loop 10M
refused "more than 256 images" info node=f,file,path=chain/loop,read-only node=q,qcow2,file=f,dir=6,read-only 6<chain
refused "no type\|no format is called" info node=f,file,path=bad,read-only node=q,qcow3,file=f,dir=6,read-only 6<chain

# ---- what an operation reads, it reads confined ----
mkfifo wait
"$volume" info node=f,file,path=one,read-only node=l,luks,file=f,key=7 7<wait >answer 2>&1 &
pid=$!
exec 8>wait
for i in $(seq 100); do
    grep -q 'Seccomp:.2' "/proc/$pid/status" && break
    sleep 0.05
done
for task in /proc/$pid/task/*; do
    grep -q 'Seccomp:.2' "$task/status" || fail "not confined: $task"
done
[ "$(id -u)" != 0 ] || grep -q 'CapEff:.0000000000000000' "/proc/$pid/status" || fail "with privileges"
echo secret >&8
exec 8>&-
wait $pid && fail "an image of qcow2 is no LUKS disk"
grep -q "^error -117 node 'l'" answer || fail "$(cat answer)"
echo ok
