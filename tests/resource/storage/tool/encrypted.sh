#!/bin/sh
# Encrypted images: what we make, qemu-img and cryptsetup open, and the other way round.
# rows: STO-11
#
#     encrypted.sh VOLUME-PROGRAM [all]
set -eu
volume=$(realpath "$1")
work=$(mktemp -d /var/tmp/volume-keys-XXXXXX)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
for tool in qemu-img qemu-io; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
cd "$work"
printf 'the first passphrase' >one
printf 'another one, which is longer' >two
printf 'the third\n' >three
quick="rounds=1000"

# v WORD...: run an operation with passphrases on 5 (one), 6 (two), 7 (three)
v() {
    "$volume" "$@" 5<one 6<two 7<three >answer 2>&1 || fail "volume $*: $(cat answer)"
}
refused() {
    text=$1
    shift
    "$volume" "$@" 5<one 6<two 7<three >answer 2>&1 && fail "not refused: $*"
    grep -q "^error -[0-9]* .*$text" answer || fail "volume $*: $(cat answer)"
}
has() {
    grep -qx "$1" answer || fail "no '$1' in: $(cat answer)"
}
secret() { # a secret object for QEMU with the bytes of a file
    echo "secret,id=s,format=base64,data=$(base64 -w0 "$1")"
}
# theirs FILE KEY COMMAND...: qemu-io on an encrypted image
theirs() {
    image=$1 key=$2
    shift 2
    qemu-io --object "$(secret "$key")" "$@" \
        --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=$image" >io 2>&1 &&
        ! grep -q 'Pattern verification failed\|rror' io
}

sound() { # sound FILE KEY [OPTION]
    qemu-img check --object "$(secret "$2")" --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=$1${3-}" \
        >io 2>&1 || fail "$1 has errors: $(cat io)"
}

truncate -s 20M disk
dd if=/dev/urandom of=disk bs=64k count=50 seek=3 conv=notrunc status=none
dd if=/dev/urandom of=disk bs=512 count=5 seek=30000 conv=notrunc status=none

# ---- qcow2: ours, read and written by them ----
for how in '' preallocate ${2:+'cluster=4K' 'extended-l2 cluster=128K'}; do
    rm -f ours
    : >ours
    # shellcheck disable=SC2086
    v create node=f,file,path=ours format=qcow2 size=20M key=5 $quick $how
    sound ours one
    theirs ours one -c 'read -P 0 0 20M' || fail "$how: a new image has something: $(cat io)"
    v convert node=s,file,path=disk,read-only node=f,file,path=ours node=q,qcow2,file=f,key=5 from=s to=q
    sound ours one
    qemu-img compare -q --object "$(secret one)" --image-opts driver=raw,file.filename=disk \
        driver=qcow2,encrypt.key-secret=s,file.filename=ours || fail "$how: they read something else"
    theirs ours one -c 'write -P 7 1M 300k' -c 'write -P 8 5M 512' -c 'write -z 3M 100k' || fail "$how: $(cat io)"
    qemu-img convert --object "$(secret one)" --image-opts \
        driver=qcow2,encrypt.key-secret=s,file.filename=ours -O raw expected
    rm -f back
    : >back
    v convert node=f,file,path=ours,read-only node=q,qcow2,file=f,key=5,read-only node=t,file,path=back \
        from=q to=t format=raw
    cmp back expected || fail "$how: we read something else than they wrote"
done
# nothing of it is there in clear
printf '%4096s' 'plain text of ours' >plain
dd if=plain of=disk bs=4096 seek=100 conv=notrunc status=none
: >new
v convert node=s,file,path=disk,read-only node=t,file,path=new from=s to=t format=qcow2 key=5 $quick
! grep -q 'plain text' new || fail "it is there in clear"
qemu-img compare -q --object "$(secret one)" --image-opts driver=raw,file.filename=disk \
    driver=qcow2,encrypt.key-secret=s,file.filename=new || fail "converted"

# ---- qcow2: theirs ----
for i in 1 2 3 4 5 6; do # QEMU may fail to measure the time of its key derivation
    qemu-img create -q -f qcow2 --object "$(secret two)" \
        -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=200 image 20M && break
done
theirs image two -c 'write -P 3 0 1M' -c 'write -P 4 10M 70000' || fail "$(cat io)"
v info node=f,file,path=image,read-only node=q,qcow2,file=f,locked,read-only
has encrypted=yes
qemu-img convert --object "$(secret two)" --image-opts \
    driver=qcow2,encrypt.key-secret=s,file.filename=image -O raw expected
rm -f back
: >back
v convert node=f,file,path=image,read-only node=q,qcow2,file=f,key=6,read-only node=t,file,path=back \
    from=q to=t format=raw
cmp back expected || fail "theirs"
refused "no key was given" map node=f,file,path=image,read-only node=q,qcow2,file=f,read-only
refused "no slot\|passphrase\|no key\|denied" map node=f,file,path=image,read-only node=q,qcow2,file=f,key=5,read-only
qemu-img create -q -f qcow2 plainq 1M
refused "it is not encrypted" info node=f,file,path=plainq node=q,qcow2,file=f,key=5
refused "cannot read\|denied" convert node=f,file,path=image,read-only node=q,qcow2,file=f,locked,read-only \
    node=t,file,path=back from=q to=t format=raw

# ---- a layer over an encrypted image has its passphrases, at once ----
: >layer
v create node=b,file,path=image,read-only node=q,qcow2,file=b,locked,read-only node=f,file,path=layer \
    format=qcow2 like=q key-of=q backing-name=image backing-format=qcow2
v convert node=b,file,path=image,read-only node=qb,qcow2,file=b,key=6,read-only node=f,file,path=layer \
    node=q,qcow2,file=f,backing=qb,key=6 node=s,memory,size=512 from=s to=q
qemu-io --object "$(secret two)" -c 'write -P 9 2M 64k' -c 'read -P 4 10M 70000' --image-opts \
    driver=qcow2,encrypt.key-secret=s,file.filename=layer,backing.driver=qcow2,backing.encrypt.key-secret=s,backing.file.filename=image \
    >io 2>&1 || fail "layer: $(cat io)"
! grep -q 'failed\|rror' io || fail "layer: $(cat io)"
sound layer two ,backing.driver=qcow2,backing.encrypt.key-secret=s,backing.file.filename=image
refused "is not encrypted" create node=b,file,path=plainq,read-only node=q,qcow2,file=b,read-only \
    node=f,file,path=layer format=qcow2 like=q key-of=q

# Layers with the same volume key cost one derivation: what opened the lower one opens the upper
# one, which lacks that passphrase, and by the same passphrase alone.
v key node=f,file,path=layer node=q,qcow2,file=f,locked,alone,read-only key=6 add=5 $quick
v key node=f,file,path=layer node=q,qcow2,file=f,locked,alone,read-only key=5 remove=0
below="node=b,file,path=image,read-only node=qb,qcow2,file=b,key=6,read-only node=f,file,path=layer,read-only"
# shellcheck disable=SC2086
v map $below node=q,qcow2,file=f,backing=qb,key=6,read-only
# shellcheck disable=SC2086
v map $below node=q,qcow2,file=f,backing=qb,key=5,read-only
# shellcheck disable=SC2086
refused "no slot\|passphrase\|no key\|denied" map $below node=q,qcow2,file=f,backing=qb,key=7,read-only
refused "no slot\|passphrase\|no key\|denied" map node=f,file,path=layer,read-only \
    node=q,qcow2,file=f,alone,key=6,read-only

# ---- passphrases: add, change, remove ----
v key node=f,file,path=image node=q,qcow2,file=f,locked,read-only key=6 add=5 $quick
has slot=1
theirs image one -c 'read -P 3 0 1M' || fail "the added one: $(cat io)"
v key node=f,file,path=image node=q,qcow2,file=f,locked,read-only key=5 change=7 $quick
theirs image one -c 'read -P 3 0 1M' && fail "the changed one still opens"
theirs image three -c 'read -P 3 0 1M' || fail "the new one: $(cat io)"
v key node=f,file,path=image node=q,qcow2,file=f,locked,read-only key=7 remove=0
theirs image two -c 'read -P 3 0 1M' && fail "the removed one still opens"
refused "nothing else opens" key node=f,file,path=image node=q,qcow2,file=f,locked,read-only key=7 remove=2
refused "no slot\|passphrase\|no key\|denied" key node=f,file,path=image node=q,qcow2,file=f,locked,read-only key=6 \
    add=5 $quick
refused "not encrypted" key node=f,file,path=plainq node=q,qcow2,file=f,read-only key=5
sound image three

# ---- LUKS by itself ----
: >luks
v create node=f,file,path=luks format=luks version=1 size=20M key=5 $quick
v convert node=s,file,path=disk,read-only node=f,file,path=luks node=l,luks,file=f,key=5 from=s to=l
qemu-img compare -q --object "$(secret one)" --image-opts driver=raw,file.filename=disk \
    driver=luks,key-secret=s,file.filename=luks || fail "LUKS 1"
: >luks2
v create node=f,file,path=luks2 format=luks size=20M key=5 rounds=4 memory=64K threads=1
v info node=f,file,path=luks2,read-only luks
has version=2
has slot=0
v convert node=s,file,path=disk,read-only,block=4096 node=f,file,path=luks2 node=l,luks,file=f,key=5 from=s to=l
if command -v cryptsetup >/dev/null; then
    cryptsetup luksOpen --test-passphrase --key-file one luks2 || fail "cryptsetup: LUKS 2"
    cryptsetup luksOpen --test-passphrase --key-file one luks || fail "cryptsetup: LUKS 1"
    v key node=f,file,path=luks2 key=5 change=6 rounds=4 memory=64K threads=1
    cryptsetup luksOpen --test-passphrase --key-file two luks2 || fail "cryptsetup: the new passphrase"
    ! cryptsetup luksOpen --test-passphrase --key-file one luks2 2>/dev/null || fail "cryptsetup: the old passphrase"
    cryptsetup luksAddKey --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file two luks2 three
    v key node=f,file,path=luks2 key=7
fi
refused "has no passphrase" info node=f,file,path=luks node=l,luks,file=f,key=9 9</dev/null
refused "cannot use descriptor\|cannot read the passphrase" info node=f,file,path=luks node=l,luks,file=f,key=77
echo ok
