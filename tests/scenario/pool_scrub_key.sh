#!/bin/sh
# Encrypted disks are scrubbed without their passphrases, as they lie there: arrays with parity, mirrors, and
# checksums of one file; used by somebody or by nobody, who gets the disk at once when he wants it.
# timeout: 300
# rows: STO-06 STO-10 STO-11
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io python3
printf 'the passphrase' >"$WORK/key"
for i in 1 2 3 4 5 6; do mkdir "$WORK/m$i"; done
strata pool create --redundancy raid5 --member "$WORK/m1" --member "$WORK/m2" --member "$WORK/m3" parity >/dev/null
strata pool create --redundancy mirror --member "$WORK/m4" --member "$WORK/m5" copies >/dev/null
strata pool create --member "$WORK/m6" sums >/dev/null
keyed() { # keyed VOLUME WORD...
    name=$1
    shift
    serve "$name" --once --key-file "$WORK/key"
    live "$@"
    served "$name"
}
# row POOL KEY - of the first layer that the scrub names
row() {
    python3 -c '
import json, sys
print([r for r in json.load(sys.stdin) if r["pool"] == sys.argv[1]][0][sys.argv[2]])' "$1" "$2" <"$WORK/rows"
}
# scrub POOL [WORD...] - its state in $said
scrub() {
    strata pool scrub --json "$@" >"$WORK/rows" || true
    said=$(row "$1" state)
}
# spoil MEMBER - bytes of the disk's data there are others
spoil() {
    python3 - "$WORK/$1"/layers/* <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    used = [at for at in range(0, len(data), 4096) if any(data[at:at + 4096])]
    at = used[len(used) * 7 // 10] # behind what is said of the disk, and before its checksums
    f.seek(at + 512)
    f.write(bytes(b ^ 0xff for b in data[at + 512:at + 1024]))
PY
}
for pool in parity copies sums; do
    more=
    [ "$pool" != sums ] || more=--checksum
    # shellcheck disable=SC2086
    strata volume create --pool "$pool" --size 8M --encrypt --key-work 1000 --key-file "$WORK/key" $more "$pool" >/dev/null
    keyed "$pool" -c 'write -P 7 0 8M' -c flush
    scrub "$pool"
    is "$pool: nobody uses it" "$said" ok
done

# Damage is found, and mended where there is another copy.
spoil m2
spoil m5
spoil m6
for pool in parity copies sums; do
    scrub "$pool"
    is "$pool: damage" "$said" damaged
    has "$pool: what to do" "$(row "$pool" to_do)" "strata pool scrub --repair"
done
for pool in parity copies; do
    scrub "$pool" --repair
    is "$pool: mended" "$said" mended
    scrub "$pool"
    is "$pool: whole" "$said" ok
done
scrub sums --repair
is "nothing to mend it of" "$said" damaged
has "nothing to mend it of" "$(row sums to_do)" "backup"

# In use: by its own server, which had the passphrase.
serve parity --key-file "$WORK/key"
scrub parity
is "in use" "$said" ok
live -c 'write -P 8 0 1M' -c 'read -P 7 1M 1M'
stop "$server"
within 10 is_free parity

# Somebody wants it while it is scrubbed: he gets it, and the scrub goes on beside him.
strata pool scrub --json --rate 1M parity >"$WORK/rows" &
scrub=$!
within 20 sh -c '"$STRATA" --state "$STATE" volume inspect --json parity | grep -q "\"in use\""'
began=$(date +%s%N)
serve parity --key-file "$WORK/key"
live -c 'read -P 8 0 1M' -c 'read -P 7 1M 7M'
ms=$((($(date +%s%N) - began) / 1000000))
[ "$ms" -lt 8000 ] || fail "it was had after $ms ms"
wait "$scrub" || fail "the scrub: $(cat "$WORK/rows")"
is "the scrub went on" "$(row parity state)" ok
stop "$server"
within 10 is_free parity
strata volume snapshot parity one --key-file "$WORK/key" >/dev/null # two layers, one of which stays as it is
scrub parity --repair
is "with a snapshot" "$(grep -c '"ok"' "$WORK/rows")" 2
keyed parity -c 'read -P 8 0 1M' -c 'read -P 7 1M 7M'
