#!/bin/sh
# Encrypted disks on arrays with parity: nothing lies there in clear; passphrases, snapshots and clones while
# the disk is in use; a server that was killed, a member that is lost.
# timeout: 300
# rows: STO-06 STO-10 STO-11
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3
printf 'the first passphrase' >"$WORK/one"
printf 'another one, which is longer' >"$WORK/two"
printf 'plain text of nobody' >"$WORK/plain"
truncate -s 4096 "$WORK/plain"
keyed() { # keyed KEY VOLUME WORD...
    key=$1
    name=$2
    shift 2
    serve "$name" --once --key-file "$WORK/$key"
    live "$@"
    served "$name"
}
# The process that has the disk of that pool's first member open for writing.
worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$WORK/$1"1/layers/*)
            p=${fd#/proc/}
            echo "${p%%/*}"
            return
            ;;
        esac
    done
}

# pass LEVEL MEMBERS - a disk's life on an array
pass() {
    members=
    for i in $(seq "$2"); do
        mkdir "$WORK/$1$i"
        members="$members --member $WORK/$1$i"
    done
    # shellcheck disable=SC2086
    strata pool create --redundancy "$1" $members "$1" >/dev/null
    strata volume create --pool "$1" --size 16M --encrypt --key-work 1000 --key-file "$WORK/one" d >/dev/null
    is "$1: encrypted" "$(field d encrypted) $(field d format)" "True qcow2"
    fails 1 strata volume export d --nbd "$WORK/s"
    has "$1: no key" "$OUT" "it is encrypted (say '--key-file FILE')"
    fails 1 strata volume export d --key-file "$WORK/two" --nbd "$WORK/s"
    has "$1: a wrong key" "$OUT" "the passphrase in '$WORK/two' does not open it"
    keyed one d -c "write -s $WORK/plain 5M 4096" -c 'write -P 7 0 1M' -c flush
    sync
    grep -qrs 'text of nobody' "$WORK/$1"[0-9]* && fail "$1: it lies there in clear"

    # While somebody writes: who has no passphrase is turned away, snapshots, other passphrases.
    serve d --key-file "$WORK/one"
    live -c 'write -P 1 0 1M' &
    fails 1 strata volume export d --key-file "$WORK/two" --nbd "$WORK/s"
    has "$1: a wrong key in use" "$OUT" "does not open it"
    wait $!
    fails 1 strata volume snapshot d used
    has "$1: served" "$OUT" "it is encrypted (say '--key-file FILE')"
    strata volume snapshot d used --key-file "$WORK/one" >/dev/null
    live -c 'read -P 1 0 1M' -c 'write -P 2 0 64k' -c 'write -P 5 2M 64k' -c flush
    strata volume key d --key-file "$WORK/one" --key-work 1000 --add "$WORK/two" >"$WORK/rows"
    is "$1: added" "$(grep -c added "$WORK/rows")" 2
    strata volume clone d@used c >/dev/null
    live -c 'write -P 6 3M 1M'

    # The server is killed with what it had begun; a member is lost then.
    kill -9 "$(worker "$1")"
    wait "$server" || true
    mv "$WORK/${1}2" "$WORK/away"
    keyed two d -c 'read -P 2 0 64k' -c 'read -P 1 64k 960k' -c 'read -P 5 2M 64k' -c 'read -P 6 3M 1M' -c 'write -P 8 8M 1M'
    is "$1: degraded" "$(members d | cut -d ' ' -f 1)" degraded
    serve d --key-file "$WORK/two"
    live -c 'write -P 9 9M 1M'
    strata volume key d --key-file "$WORK/two" --remove "$WORK/one" >/dev/null
    fails 1 strata volume export d --key-file "$WORK/one" --nbd "$WORK/s"
    has "$1: removed" "$OUT" "does not open it"
    stop "$server"
    within 10 is_free d
    mv "$WORK/away" "$WORK/${1}2"
    keyed two d -c 'read -P 8 8M 1M' -c 'read -P 9 9M 1M' # which makes the member equal
    strata volume check --repair d >/dev/null || fail "$1: repair"
    case $(members d) in "ok "*lost* | "ok "*returned* | degraded*) fail "$1: back: $(members d)" ;; esac
    mv "$WORK/${1}1" "$WORK/away"
    keyed two d -c 'read -P 2 0 64k' -c 'read -P 5 2M 64k' -c 'read -P 8 8M 1M' -c 'read -P 9 9M 1M'
    mv "$WORK/away" "$WORK/${1}1"

    # Another size, another pool and back.
    strata volume resize d 24M >/dev/null
    keyed two d -c 'read -P 9 9M 1M' -c 'read -P 0 20M 4M' -c 'write -P 4 23M 64k'
    strata volume move c default --key-file "$WORK/one" >/dev/null
    strata volume move c "$1" --key-file "$WORK/one" >/dev/null
    keyed one c -c 'read -P 1 0 1M'
    sync
    grep -qrs 'text of nobody' "$WORK/$1"[0-9]* && fail "$1: in clear at last"
    strata volume delete c >/dev/null
    strata volume delete --snapshots d >/dev/null
    is "$1: nothing is left" "$(find "$WORK/$1"[0-9]*/layers -type f)" ""
    strata pool delete "$1" >/dev/null
}
pass raid5 3
pass raid6 4
