#!/bin/sh
# Volumes as disks of machines with a stock kernel: two of one pool at once, one writer, many readers,
# layers and encryption behind them, a machine that starts again; what is refused.
# rows: STO-04 MIO-06
# timeout: 300
# release
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_linux.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io
need_linux virtio_blk

cd "$WORK"
linux_initrd initrd <<'SH'
# words: VERB=SERIAL...
for d in /sys/block/vd*; do
    echo "disk $(cat "$d/serial") ro $(cat "$d/ro") sectors $(cat "$d/size")"
done
device() {
    for d in /sys/block/vd*; do
        [ "$(cat "$d/serial")" != "$1" ] || echo "/dev/${d##*/}"
    done
}
for word; do
    name=${word#*=}
    case $word in
    fill=*) yes "$name" | head -c 4194304 | dd of="$(device "$name")" bs=64k conv=fsync 2>/dev/null ;;
    cut=*) blkdiscard -o 0 -l 1048576 "$(device "$name")" 2>/dev/null || echo "no discard" ;;
    sum=*) echo "sum $name $(head -c 4194304 "$(device "$name")" | md5sum | cut -c 1-32)" ;;
    wait=*) echo waiting; read -r line ;;
    esac
done
echo finished
SH
vm() { # NAME WORDS OPTION...
    name=$1 words=$2
    shift 2
    strata run -d --name "$name" --as machine --network none --kernel "$LINUX" --initrd initrd --memory 128M \
        --append "console=ttyS0 quiet panic=-1 -- $words" "$@" >/dev/null
}
said() { strata logs "$1" | tr -d '\r' | grep -q "^$2"; }
ended() { strata list | grep "$1 " | grep -q stopped; }
sum() { yes "$1" | head -c 4194304 | md5sum | cut -c 1-32; }
# same VOLUME OPTION... - the host reads what the guest wrote
same() {
    strata volume export "$@" --file "$WORK/$1.raw" >/dev/null
    is "what is on $1" "$(head -c 4194304 "$WORK/$1.raw" | md5sum | cut -c 1-32)" "$(sum "$1")"
}

# Two machines and a process of the host, each with a volume of one pool, at once, within its quota.
strata pool create --quota 60M shared --member "$WORK/shared" >/dev/null
strata volume create --pool shared --size 16M one >/dev/null
strata volume create --pool shared --size 24M two >/dev/null
strata volume create --pool shared --size 16M host >/dev/null
serve host
vm a "fill=one wait=" -v one
vm b "fill=two wait=" -v two
within 60 said a waiting
within 60 said b waiting
said a "disk one ro 0 sectors 32768" || fail "a: $(strata logs a)"
said b "disk two ro 0 sectors 49152" || fail "b: $(strata logs b)"
live -c 'write -P 7 0 4M' -c flush -c 'read -P 7 0 4M'
fails 1 strata volume create --pool shared --size 8M more
has "quota" "$OUT" "quota"
fails 1 strata volume resize host 24M
has "quota, larger" "$OUT" "quota"
fails 125 vm c "" -v one
has "one writer" "$OUT" "it is in use"
fails 1 strata volume delete one
for name in a b; do echo | timeout 60 "$STRATA" --state "$STATE" console $name >/dev/null; done
within 30 ended a
within 30 ended b
same one
same two
strata delete a b >/dev/null
stop "$server"
strata volume export host --file "$WORK/host.raw" >/dev/null
is "what the process wrote" "$(head -c 4194304 host.raw | tr -d '\007' | wc -c) $(wc -c <host.raw)" "0 16777216"

# Read by two at once, of one that the host gives no right to write; a snapshot's layer below.
strata volume snapshot one kept >/dev/null
vm a "sum=one wait=" -v one:ro
vm b "sum=one fill=one sum=one wait=" -v one:ro -v two:ro
within 60 said a waiting
within 60 said b waiting
said a "sum one $(sum one)" || fail "a: $(strata logs a)"
is "b reads twice the same" "$(strata logs b | tr -d '\r' | grep -c "sum one $(sum one)")" 2
said b "disk two ro 1" || fail "b: $(strata logs b)"
strata delete --force a b >/dev/null

# Over a snapshot, and encrypted: by the volume's own program; the key is asked for.
vm a "fill=one cut=one sum=one" -v one
within 60 ended a
said a finished || fail "a: $(strata logs a)"
printf secret >key
strata volume create --size 16M --encrypt --key-work 1000 --key-file "$WORK/key" safe >/dev/null
vm b "fill=safe sum=safe" -v "safe:key-file=$WORK/key"
within 60 ended b
said b "sum safe $(sum safe)" || fail "b: $(strata logs b)"
same safe --key-file "$WORK/key"
strata delete a b >/dev/null
fails 125 vm b "" -v safe
has "no key" "$OUT" "volume 'safe'"

# One that starts again after a failure has its disk again.
vm a "sum=two wait=" -v two -v one --restart on-failure:1
within 60 said a waiting
kill -KILL "$(strata inspect --json a | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["pid"])')"
twice() { [ "$(strata logs a | tr -d '\r' | grep -c "sum two $(sum two)")" = 2 ]; }
within 60 twice
strata delete --force a >/dev/null
strata volume delete two >/dev/null

# What is refused.
strata volume create files >/dev/null
for words in "-v files|it is a directory" "-v none|none" "-v one -v one:ro|the machine has it already" \
    "-v one:partition=1|not a partition" "-v one:/path|it is a disk, which a machine without an image has as --volume NAME"; do
    # shellcheck disable=SC2086
    fails 125 vm c "" ${words%|*}
    has "refused: $words" "$OUT" "${words#*|}"
done
fails 125 strata run -v one busybox
has "a container" "$OUT" "want NAME|DIR:/PATH[:ro]"
