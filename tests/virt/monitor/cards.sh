#!/bin/sh
# cards.sh MACHINE USERNET COMPILER - virtio devices of a machine, as Debian's kernel drives them.
#
# rows: FV-01 MIO-01 MIO-05
set -eu
usernet=$2
compiler=$3
here=$(dirname "$0")
. "$here/../../linux.sh"
machine=$(linux_program "$1")
linux_find virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net \
    virtio-rng virtio_console virtio_balloon vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport
unshare -n true 2>/dev/null || { echo 'skipped: cannot make network namespaces'; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    tail -n 40 "$dir/out" || true
    exit 1
}

# shellcheck disable=SC2086
$compiler -D_GNU_SOURCE -O2 -static -o "$dir/init" "$here/cards.c"
# shellcheck disable=SC2086
python3 "$here/cpio.py" "$dir/init" "$dir/initrd" $modules

boot() { # KIND WORDS OPTIONS...
    kind=$1
    words=$2
    shift 2
    unshare -n python3 "$here/cards.py" "$kind" "$usernet" "$machine" --engine translate --kernel "$linux" \
        --initrd "$dir/initrd" --append "console=ttyS0 quiet panic=-1 -- $words" "$@" >"$dir/out" 2>&1 ||
        fail "$kind: it ended with an error"
    grep -q '^done' "$dir/out" || fail "$kind: it did not end well"
    if grep -E 'FAILED|BUG:|WARNING: CPU|Unknown symbol' "$dir/out"; then
        fail "$kind: the lines above"
    fi
}

want() {
    grep -q -- "$1" "$dir/out" || fail "it does not say '$1'"
}

# A tap does checksums and segmentation for the guest; a socket of frames has room for large ones.
boot tap 'rng net=10.0.2.2' --rng host
want 'rng: virtio_rng.0'
want 'rng: 2048 bytes, random'
want 'net: 52:54:00:aa:bb:cc mtu 1500 tso 1 link 1'
want 'net: 300 of 300 datagrams'
want 'net: stream right'
boot frames 'net=192.0.2.1' --cpus 2
want 'net: 52:54:00:aa:bb:cc mtu 65520 tso 0 link 1'
want 'net: 300 of 300 datagrams'
want 'net: stream right'

# Streams without a network: a large one from the host; nobody is at the host's end.
boot vsock 'vsock=9000'
want 'vsock: a port of the host: Connection reset by peer'
want 'vsock: served 1048576 bytes'
want 'host: the guest echoes right'

# Memory that the host asks for, and memory that a program of the guest had.
boot balloon 'balloon=64' --balloon 64 --memory 512
want 'balloon: given'
want 'host: most of it is back'

# A port with a name, and bytes both ways.
boot port 'port=org.strata.test'
want 'port: org.strata.test'
want 'port: bytes right'

# What cannot be is refused with its reason.
refused() { # REASON OPTIONS...
    reason=$1
    shift
    if "$machine" --kernel "$linux" "$@" </dev/null >"$dir/out" 2>&1; then
        fail "'$*' was taken"
    fi
    want "$reason"
}
refused 'descriptor 77 is no socket of frames' --net frames=77
refused 'descriptor 0 is no tap' --net tap=0
refused 'a network needs' --net mac=52:54:00:00:00:01
refused 'is no address' --net frames=0,mac=01:00:00:00:00:01
refused 'an MTU of 12 is not possible' --net frames=0,mtu=12
refused 'random bytes are' --rng dice
refused 'cannot be number 2' --vsock cid=2
refused 'descriptor 0' --vsock cid=3,listen=0
refused 'a port needs' --port name=x
