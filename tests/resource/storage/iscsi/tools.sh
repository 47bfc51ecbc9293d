#!/bin/sh
# The iSCSI server against initiators from Debian: iscsi-ls, iscsi-inq, iscsi-test-cu, qemu-img, qemu-io.
# rows: STO-14
#
#     tools.sh SERVE-PROGRAM VOLUME-PROGRAM [suite]
set -eu
serve=$1
volume=$2
work=$(mktemp -d /var/tmp/iscsi-tools-XXXXXX)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
[ -z "${KEEP:-}" ] || set -x
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
for tool in iscsi-ls iscsi-inq iscsi-readcapacity16 iscsi-test-cu qemu-img qemu-io; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
qemu-img --help | grep -q '\biscsi\b' || { echo "skipped: qemu-img knows no iscsi"; exit 77; }
port=$((20000 + $$ % 20000))
second=$((port + 1))
base=iscsi://127.0.0.1:$port

# start WORD...: serve until stop
start() {
    : >"$work/out" # that of the last one says "ready"
    "$serve" "$@" >"$work/out" 2>"$work/err" &
    last=$!
    pids="$pids $last"
    for i in $(seq 100); do
        grep -q ready "$work/out" && return 0
        sleep 0.05
    done
    fail "the server does not start: $(cat "$work/err")"
}
stop() {
    kill "$last"
    wait "$last" || fail "it ended badly: $(cat "$work/err")"
    [ ! -s "$work/err" ] || fail "it said: $(cat "$work/err")"
}

truncate -s 80M "$work/disk" "$work/small"
dd if=/dev/urandom of="$work/disk" bs=64k count=50 conv=notrunc status=none
cp --sparse=always "$work/disk" "$work/same"

# discovery, two portals, several units, one of them for one initiator only
for driver in ring crew; do
    start driver=$driver portal=127.0.0.1:$port portal=127.0.0.1:$second target=iqn.2024-01.t:a \
        file="$work/disk" initiator=iqn.2024-01.t:me file="$work/small" target=iqn.2024-01.t:b
    iscsi-ls -s "$base" >"$work/ls"
    grep -q "Target:iqn.2024-01.t:a Portal:127.0.0.1:$port,1" "$work/ls" || fail "$(cat "$work/ls")"
    grep -q "Target:iqn.2024-01.t:a Portal:127.0.0.1:$second,2" "$work/ls" || fail "the second portal"
    ! grep -q 'Lun:1' "$work/ls" || fail "a unit that is masked"
    iscsi-ls -s -i iqn.2024-01.t:me "$base" | grep -q 'Lun:1' || fail "a unit for one initiator"
    iscsi-inq "$base/iqn.2024-01.t:a/0" | grep -q 'Vendor:STRATA' || fail "INQUIRY"
    ! iscsi-inq "$base/iqn.2024-01.t:none/0" >/dev/null 2>&1 || fail "a target that is not"

    # what others read and write
    qemu-img compare -f raw -F raw "$base/iqn.2024-01.t:a/0" "$work/same" >/dev/null || fail "qemu-img reads"
    dd if=/dev/urandom of="$work/new" bs=1M count=80 status=none
    qemu-img convert -n -W -m 8 -f raw -O raw "$work/new" "$base/iqn.2024-01.t:a/0"
    cmp "$work/disk" "$work/new" || fail "what qemu-img wrote"
    qemu-io -f raw -c 'write -P 7 1M 3M' -c 'write -z 2M 64k' -c 'write -zu 3M 64k' -c 'discard 40M 1M' \
        -c 'write -f -P 9 50M 4k' -c flush -c 'read -P 7 1M 1M' -c 'read -P 0 2M 64k' \
        -c 'read -P 0 3M 64k' -c 'read -P 9 50M 4k' "$base/iqn.2024-01.t:a/0" >"$work/io" 2>&1
    ! grep -q 'verification failed\|rror' "$work/io" || fail "qemu-io: $(cat "$work/io")"
    for d in crc32c none-crc32c; do
        qemu-io --image-opts -c 'write -P 5 0 1M' -c 'read -P 5 0 1M' \
            driver=iscsi,transport=tcp,portal=127.0.0.1:$port,target=iqn.2024-01.t:a,lun=0,header-digest=$d \
            >"$work/io" 2>&1 || fail "header digest $d: $(cat "$work/io")"
    done
    cat "$work/same" >"$work/disk"
    stop
done

# CHAP, one way and both
start user=me secret=opensesame123 portal=127.0.0.1:$port target=iqn.2024-01.t:one file="$work/disk" \
    own-user=it own-secret=itisitself456 target=iqn.2024-01.t:both file="$work/small"
iscsi-inq "iscsi://me%opensesame123@127.0.0.1:$port/iqn.2024-01.t:one/0" >/dev/null || fail "CHAP"
! iscsi-inq "iscsi://me%opensesame124@127.0.0.1:$port/iqn.2024-01.t:one/0" >/dev/null 2>&1 || fail "a wrong secret"
! iscsi-inq "iscsi://us%opensesame123@127.0.0.1:$port/iqn.2024-01.t:one/0" >/dev/null 2>&1 || fail "a wrong user"
! iscsi-inq "iscsi://127.0.0.1:$port/iqn.2024-01.t:one/0" >/dev/null 2>&1 || fail "no secret"
both="iscsi://me%opensesame123@127.0.0.1:$port/iqn.2024-01.t:both/0"
iscsi-inq "$both?target_user=it&target_password=itisitself456" >/dev/null || fail "CHAP both ways"
! iscsi-inq "$both?target_user=it&target_password=itisitself457" >/dev/null 2>&1 || fail "a target that lies"
stop

# the program: secrets in a file, a unit number, registrations in a file
: >"$work/out"
printf 'me\nopensesame123\n' >"$work/chap"
"$volume" iscsi portal=127.0.0.1:$port portal-2=127.0.0.1:$second target=iqn.2024-01.t:v lun=5 file="$work/same" \
    read-only chap="$work/chap" keep="$work/kept" >"$work/out" 2>"$work/err" &
last=$!
pids="$pids $last"
for i in $(seq 100); do
    grep -q listening "$work/out" && break
    sleep 0.05
done
iscsi-inq "iscsi://me%opensesame123@127.0.0.1:$port/iqn.2024-01.t:v/5" >/dev/null || fail "the program"
! iscsi-inq "$base/iqn.2024-01.t:v/5" >/dev/null 2>&1 || fail "the program needs no secret"
! qemu-io -f raw -c 'write 0 4k' "iscsi://me%opensesame123@127.0.0.1:$second/iqn.2024-01.t:v/5" >/dev/null 2>&1 ||
    fail "written though read only"
stop
! "$volume" iscsi portal=127.0.0.1:$port target=x file="$work/nothing" >/dev/null 2>&1 || fail "no file"
! "$volume" iscsi target=x file="$work/same" >/dev/null 2>&1 || fail "no portal"

if [ "${3:-}" != suite ]; then
    echo ok
    exit 0
fi

# serve WORD...: the program, until stop
serve() {
    : >"$work/out"
    "$volume" iscsi portal=127.0.0.1:$port portal-2=127.0.0.1:$second target=iqn.2024-01.t:a "$@" >"$work/out" \
        2>"$work/err" &
    last=$!
    pids="$pids $last"
    for i in $(seq 100); do
        grep -q listening "$work/out" && return 0
        sleep 0.05
    done
    fail "the program does not start: $(cat "$work/err")"
}

# the suite of libiscsi: all of it, or all but one test: GetLBAStatus.UnmapSingle asks for the
# state of block i + 1 and expects an answer that begins at the next physical block (line 135
# in libiscsi 1.19), but the first descriptor begins where was asked (SBC-3 5.6)
suites() {
    for suite in $(iscsi-test-cu --list 2>/dev/null | grep -E "$1" | grep -v "${2:-nothing}"); do
        timeout 300 iscsi-test-cu -d -S -n -t "$suite" "$base/iqn.2024-01.t:a/0" \
            "iscsi://127.0.0.1:$second/iqn.2024-01.t:a/0" >"$work/cu" 2>&1 || fail "$suite: $(cat "$work/cu")"
        ! grep -q 'had failures' "$work/cu" || fail "$suite: $(cat "$work/cu")"
    done
}
every='^ALL\.[A-Za-z0-9]+$'
truncate -s 128M "$work/suite"
start portal=127.0.0.1:$port portal=127.0.0.1:$second target=iqn.2024-01.t:a keep="$work/keep" file="$work/suite"
suites "$every"
stop
truncate -s 0 "$work/suite"
truncate -s 128M "$work/suite"
serve node=d,file,path="$work/suite",block=4096
suites "$every"
stop
qemu-img create -q -f qcow2 -o cluster_size=4k "$work/image" 128M
serve node=f,file,path="$work/image" node=d,qcow2,file=f
iscsi-readcapacity16 "$base/iqn.2024-01.t:a/0" | grep -q 'PER PHYSICAL BLOCK EXPONENT:3' ||
    fail "not eight blocks in a physical one"
suites "$every" GetLBAStatus
suites '^ALL\.GetLBAStatus\.' UnmapSingle
stop

# registrations survive: the key is there after a restart, with APTPL only
[ -s "$work/keep" ] || fail "nothing was kept"
echo ok
