#!/bin/sh
# Disks that stand on frozen layers spread over members go to other pools and back, alone and under a writer; a
# member of what is left behind leaves the pool meanwhile.
# timeout: 200
# rows: STO-02 STO-06 DC-21
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3

strata pool create --redundancy span --member "$WORK/s1" --member "$WORK/s2" one >/dev/null
strata pool create --redundancy span --member "$WORK/s3" --member "$WORK/s4" two >/dev/null
strata pool create --member "$WORK/other" other >/dev/null
strata volume create --pool one --size 32M d >/dev/null
io d -c 'write -P 1 0 16M'
strata volume snapshot d s >/dev/null
io d -c 'write -P 2 1M 1M'

# Nobody uses it.
strata volume clone d@s c >/dev/null
io c -c 'write -P 3 4M 1M'
for pool in other one two; do
    strata volume move c $pool >/dev/null
    is "where it is" "$(field c pool)" $pool
    io c -c 'read -P 1 0 4M' -c 'read -P 3 4M 1M' -c 'read -P 1 5M 11M' -c 'read -P 0 16M 16M'
done
strata volume delete c >/dev/null

# While it is written, and what it stands on is read by another, too.
strata volume clone d@s c >/dev/null
io c -c 'write -P 3 4M 1M'
serve_at "$WORK/c" c
clone=$server
serve_at "$WORK/d" d
for pool in two other one; do
    live_at "$WORK/c" -c 'write -P 4 6M 1M' -c 'write -P 5 20M 1M' &
    strata volume move c $pool >/dev/null || fail "not to $pool"
    wait $!
    is "where it is, in use" "$(field c pool)" $pool
    live_at "$WORK/c" -c 'read -P 1 0 4M' -c 'read -P 3 4M 1M' -c 'read -P 4 6M 1M' -c 'read -P 5 20M 1M' -c flush
    live_at "$WORK/d" -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 1 2M 14M'
done
stop "$clone"
within 10 is_free c

# What it left behind has one reader now.
strata pool add one --member "$WORK/s5" >/dev/null
strata pool remove one 1 >/dev/null || fail "a member of frozen layers does not leave"
is "nothing is left there" "$(find "$WORK/s1" -type f)" ""
live_at "$WORK/d" -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 1 2M 14M' -c 'write -P 6 24M 1M' -c flush
stop "$server"
within 10 is_free d
io d -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 1 2M 14M' -c 'read -P 6 24M 1M'
io c -c 'read -P 1 0 4M' -c 'read -P 3 4M 1M' -c 'read -P 4 6M 1M' -c 'read -P 5 20M 1M'
strata volume check d >/dev/null
strata volume check c >/dev/null
strata volume delete c >/dev/null
strata volume delete --snapshots d >/dev/null
is "nothing is left" "$(find "$WORK"/s[2-5]/layers "$WORK/other/layers" -type f)" ""
