#!/bin/sh
# A snapshot of a disk in use is deleted, and what it held cannot be merged now: the user is told, and what to do.
# rows: STO-02 STO-08
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3
printf 'the passphrase' >"$WORK/key"
mkdir "$WORK/m"
strata pool create --member "$WORK/m" p >/dev/null
waiting() { strata volume inspect --json "$1" | python3 -c 'import json, sys
print(json.load(sys.stdin)[0].get("waiting_layers", 0))'; }

# With checksums, the server does not merge; once it has ended, a repair does.
strata volume create --pool p --size 8M --checksum d >/dev/null
io d -c 'write -P 1 0 1M' -c 'write -P 2 1M 1M'
strata volume snapshot d s >/dev/null
serve d
live -c 'write -P 3 0 64k' -c flush
strata volume snapshot --delete d s >/dev/null
is "in use" "$(waiting d)" 1
has "what to do" "$(field d to_do)" "strata volume check --repair d"
has "for people" "$(strata volume inspect d)" "strata volume check --repair d"
stop "$server"
within 10 is_free d
strata volume check d >/dev/null
is "a look changes nothing" "$(waiting d)" 1
strata volume check --repair d >/dev/null || fail "repair"
is "merged" "$(waiting d)" 0
is "one layer" "$(find "$WORK/m/layers" -type f | wc -l)" 1
io d -c 'read -P 3 0 64k' -c 'read -P 1 64k 960k' -c 'read -P 2 1M 1M'
strata volume delete d >/dev/null

# Of an encrypted disk by somebody who has the passphrase.
strata volume create --pool p --size 8M --encrypt --key-work 1000 --key-file "$WORK/key" c >/dev/null
strata volume snapshot c s --key-file "$WORK/key" >/dev/null
strata volume snapshot --delete c s >/dev/null
is "encrypted" "$(waiting c)" 1
has "with the passphrase" "$(field c to_do)" "--key-file"
strata volume check --repair c >/dev/null
is "not without it" "$(waiting c)" 1
echo another >"$WORK/wrong"
fails 1 strata volume check --repair --key-file "$WORK/wrong" c
fails 1 strata volume check --key-file "$WORK/key" c
has "what it is for" "$OUT" "--key-file is for --repair"
strata volume check --repair --key-file "$WORK/key" c >/dev/null || fail "repair"
is "merged with it" "$(waiting c)" 0
strata volume delete c >/dev/null
is "nothing is left" "$(find "$WORK/m/layers" -type f)" ""
strata pool delete p >/dev/null
