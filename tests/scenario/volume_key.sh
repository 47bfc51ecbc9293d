#!/bin/sh
# An encrypted disk: QEMU opens its layers with the passphrase and nobody reads them without;
# snapshots and clones ask for none; passphrases change, and a clone keeps its own.
# rows: STO-11
# long
# timeout: 900
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io python3
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
printf 'the first passphrase' >"$WORK/one"
printf 'another one, which is longer' >"$WORK/two"
printf 'the third\n' >"$WORK/three"
: >"$WORK/empty"
plain='plain text of nobody'

serve() { # serve VOLUME KEY
    rm -f "$WORK/out"
    "$STRATA" --state "$STATE" volume export "$1" --key-file "$WORK/$2" --nbd "$WORK/s" >"$WORK/out" 2>&1 &
    server=$!
    servers="$servers $server"
    within 60 grep -qs nbd+unix "$WORK/out"
}
is_free() { ! strata volume inspect --json "$1" | grep -q '"in use"'; }
unserve() { # unserve VOLUME
    kill "$server"
    wait "$server" || true
    within 10 is_free "$1"
}
io() {
    said=$(qemu-io -f raw "$@" "nbd:unix:$WORK/s") || fail "$*: $said"
    case $said in *"verification failed"*) fail "$*: $said" ;; esac
}
# opens VOLUME KEY COMMAND...: QEMU, by the layer's own file and what this names below it
opens() {
    top=$(path "$1") key=$2
    shift 2
    below=$(qemu-img info --output=json "$top" 2>/dev/null |
        sed -n 's/^ *"full-backing-filename": "\(.*\)",*$/\1/p')
    more=
    prefix=backing
    while [ -n "$below" ]; do
        more="$more,$prefix.driver=qcow2,$prefix.encrypt.key-secret=s,$prefix.file.filename=$below"
        prefix=$prefix.backing
        below=$(qemu-img info --output=json "$below" | sed -n 's/^ *"full-backing-filename": "\(.*\)",*$/\1/p')
    done
    said=$(qemu-io -r --object "secret,id=s,format=base64,data=$(base64 -w0 "$WORK/$key")" "$@" --image-opts \
        "driver=qcow2,encrypt.key-secret=s,file.filename=$top$more" 2>&1) || return 1
    case $said in *"verification failed"* | *rror*) return 1 ;; esac
}

# ---- made, filled, read by others ----
fails 1 strata volume create --size 1M --key-work 1000 open
has "for what" "$OUT" "--key-work is for --encrypt"
fails 2 strata volume create --size 1M --encrypt --key-work 999 --key-file "$WORK/one" e
# rounds VOLUME - of each slot, by QEMU
rounds() { qemu-img info --output=json "$(path "$1")" | sed -n 's/^ *"iters": \([0-9]*\),*$/\1/p' | sort -u | tr '\n' ' '; }
strata volume create --size 1M --encrypt --key-file "$WORK/one" e >/dev/null
is "usual" "$(rounds e)" "1000000 "
strata volume delete e >/dev/null
# From here on a passphrase is tried in few rounds.
strata volume create --size 32M --encrypt --key-work 1000 --key-file "$WORK/one" d >/dev/null
is "few" "$(rounds d)" "1000 "
has "recorded" "$(strata volume inspect --json d)" '"encrypted": true'
opens d one -c 'read -P 0 0 32M' || fail "a new disk: $said"
opens d two -c 'read -P 0 0 32M' && fail "any passphrase opens it"
serve d one
io -c 'write -P 17 0 1M' -c 'write -P 42 20M 100k'
printf '%s' "$plain" >"$WORK/plain"
truncate -s 4096 "$WORK/plain"
io -c "write -s $WORK/plain 5M 4096"
fails 1 strata volume export d --nbd "$WORK/s2"
has "without a key" "$OUT" "key-file"
fails 1 strata volume export d --key-file "$WORK/two" --nbd "$WORK/s2"
has "a wrong key" "$OUT" "does not open it"
unserve d
opens d one -c 'read -P 17 0 1M' -c 'read -P 42 20M 100k' || fail "QEMU reads something else: $said"
grep -q "$plain" "$(path d)" && fail "it is there in clear"
strata volume export d --key-file "$WORK/one" --file "$WORK/d.raw" >/dev/null
grep -q "$plain" "$WORK/d.raw" || fail "the file has something else"

# ---- without the passphrase, or with a wrong one ----
for words in "export d --nbd $WORK/s2" "export d --once --nbd $WORK/s2" "export d --file $WORK/x.raw" \
    "clone --full d c" "move d default" "key d --key-file $WORK/two --add $WORK/three"; do
    # shellcheck disable=SC2086
    fails 1 strata volume $words
    case $OUT in *--key-file*| *"does not open it"*) ;; *) fail "$words: $OUT" ;; esac
done
fails 1 strata volume export d --key-file "$WORK/two" --file "$WORK/x.raw"
has "wrong" "$OUT" "the passphrase in '$WORK/two' does not open it"
fails 1 strata volume export d --key-file "$WORK/empty" --file "$WORK/x.raw"
has "empty" "$OUT" "no passphrase"
fails 1 strata volume export d --key-file "$WORK/nosuch" --file "$WORK/x.raw"
[ ! -e "$WORK/x.raw" ] || fail "half a file"
fails 1 strata volume backup d "$WORK/kept"
has "a backup" "$OUT" "key-file"
fails 1 strata volume create --size 1M --encrypt e
fails 1 strata volume create --size 1M --key-file "$WORK/one" e
strata volume create --size 8M --encrypt --key-work 1000 --key-file "$WORK/one" --filesystem ext4 e >/dev/null
opens e one -c 'read -v 1080 2' || fail "a file system in an encrypted disk: $said"
has "of ext4" "$said" "53 ef"
strata volume delete e >/dev/null
strata volume create --size 1M open >/dev/null
fails 1 strata volume export open --key-file "$WORK/one" --file "$WORK/x.raw"
has "not encrypted" "$OUT" "not encrypted"
fails 1 strata volume key open --key-file "$WORK/one" --add "$WORK/two"
strata volume delete open >/dev/null

# ---- snapshots and clones need none ----
strata volume snapshot d before >/dev/null
strata volume clone d c >/dev/null
strata volume check d >/dev/null || fail "check"
serve c one
io -c 'read -P 17 0 1M' -c 'write -P 99 0 64k'
fails 1 strata volume snapshot c live
has "served" "$OUT" "key-file"
strata volume snapshot c live --key-file "$WORK/one" >/dev/null
io -c 'write -P 98 1M 64k' -c 'read -P 99 0 64k'
unserve c
opens c one -c 'read -P 99 0 64k' -c 'read -P 17 64k 900k' -c 'read -P 98 1M 64k' || fail "clone: $said"
opens d one -c 'read -P 17 0 1M' || fail "the first one has changed: $said"

# ---- passphrases ----
strata volume key d --key-file "$WORK/one" --key-work 1000 --add "$WORK/two" >/dev/null
opens d two -c 'read -P 17 0 1M' || fail "the added one: $said"
strata volume key d --key-file "$WORK/two" --key-work 1000 --change "$WORK/three" >/dev/null
opens d three -c 'read -P 17 0 1M' || fail "the changed one: $said"
strata volume key d --key-file "$WORK/three" --remove "$WORK/one" >"$WORK/rows"
grep -q removed "$WORK/rows" || fail "removed nowhere"
grep -q kept "$WORK/rows" || fail "the clone's layers: $(cat "$WORK/rows")"
opens d one -c 'read 0 512' && fail "the removed one opens it"
opens d two -c 'read 0 512' && fail "the old one opens it"
opens d three -c 'read -P 17 0 1M' -c 'read -P 42 20M 100k' || fail "the new one: $said"
opens c one -c 'read -P 99 0 64k' -c 'read -P 17 64k 900k' || fail "the clone: $said"
fails 1 strata volume export d --key-file "$WORK/one" --file "$WORK/x.raw"
has "the removed one" "$OUT" "does not open it"
strata volume export d --key-file "$WORK/three" --file "$WORK/d2.raw" >/dev/null
cmp "$WORK/d.raw" "$WORK/d2.raw"
fails 1 strata volume key d --key-file "$WORK/three" --remove "$WORK/three"
fails 1 strata volume key d --key-file "$WORK/three" --key-work 1000 --remove "$WORK/two"
has "for what" "$OUT" "--key-work is for a new passphrase"
fails 1 strata volume key d --key-file "$WORK/three" --remove "$WORK/plain"
serve d three
io -c 'read -P 17 0 1M' -c 'write -P 55 3M 64k'
fails 1 strata volume key d --key-file "$WORK/two" --key-work 1000 --add "$WORK/one"
strata volume key d --key-file "$WORK/three" --key-work 1000 --change "$WORK/two" >"$WORK/rows" # in use
grep -q changed "$WORK/rows" || fail "in use: $(cat "$WORK/rows")"
io -c 'read -P 17 0 1M' -c 'read -P 55 3M 64k' -c 'write -P 56 4M 64k'
strata volume snapshot d used --key-file "$WORK/two" >/dev/null
fails 1 strata volume snapshot d other --key-file "$WORK/three"
io -c 'write -P 57 4M 64k'
unserve d
opens d two -c 'read -P 57 4M 64k' -c 'read -P 55 3M 64k' -c 'read -P 17 0 1M' || fail "changed in use: $said"
opens d three -c 'read 0 512' && fail "the one before opens it"
serve d two
strata volume key d --key-file "$WORK/two" --key-work 1000 --change "$WORK/three" >/dev/null
strata volume snapshot d --delete used >/dev/null # merged by the server, which has the key
io -c 'read -P 57 4M 64k'
unserve d
opens d three -c 'read -P 57 4M 64k' -c 'read -P 17 0 1M' || fail "changed back: $said"

# ---- backups are encrypted, too ----
strata volume backup d "$WORK/kept" --key-file "$WORK/three" >/dev/null
serve d three
io -c 'write -P 66 9M 64k'
strata volume backup d "$WORK/kept" --key-file "$WORK/three" >/dev/null
io -c 'write -P 67 9M 64k'
unserve d
grep -q "changes" "$WORK/kept/backups.json" || fail "two whole backups"
grep -q "$plain" "$WORK/kept"/*.qcow2 && fail "a backup in clear"
fails 1 strata volume restore "$WORK/kept" r
has "restore" "$OUT" "key-file"
fails 1 strata volume restore "$WORK/kept" r --key-file "$WORK/one"
has "restore" "$OUT" "does not open it"
strata volume restore "$WORK/kept" r --key-file "$WORK/three" >/dev/null
opens r three -c 'read -P 66 9M 64k' -c 'read -P 17 0 1M' || fail "restored: $said"
grep -q "$plain" "$(path r)" && fail "restored in clear"
strata volume snapshot d away >/dev/null
strata volume snapshot --delete d away --key-file "$WORK/three" >/dev/null
opens d three -c 'read -P 67 9M 64k' -c 'read -P 17 0 1M' || fail "merged: $said"
strata volume delete r >/dev/null

# ---- whole copies, other pools, other sizes ----
strata volume clone --full d e --key-file "$WORK/three" >/dev/null
opens e three -c 'read -P 17 0 1M' -c 'read -P 42 20M 100k' || fail "whole copy: $said"
grep -q "$plain" "$(path e)" && fail "a copy in clear"
strata pool create there --member "$WORK/there" >/dev/null
strata volume move e there --key-file "$WORK/three" >/dev/null
opens e three -c 'read -P 17 0 1M' -c 'read -P 42 20M 100k' || fail "moved: $said"
serve e three
io -c 'write -P 55 2M 1M'
strata volume move e default --key-file "$WORK/three" >/dev/null
io -c 'read -P 55 2M 1M' -c 'read -P 17 0 1M'
unserve e
opens e three -c 'read -P 55 2M 1M' || fail "moved in use: $said"
grep -q "$plain" "$(path e)" && fail "moved in clear"
strata volume resize e 40M >/dev/null
opens e three -c 'read -P 0 32M 8M' -c 'read -P 55 2M 1M' || fail "larger: $said"
strata volume resize --shrink e 2M >/dev/null
opens e three -c 'read -P 17 0 1M' || fail "smaller: $said"
strata volume snapshot --restore d before >/dev/null
opens d three -c 'read -P 17 0 1M' || fail "restored: $said"
if [ -x /bin/busybox ]; then
    need_busybox
    fails 125 strata run --rm -v d:/data busybox true
    has "containers" "$OUT" "encrypted"
fi
strata volume delete --snapshots c e >/dev/null
strata volume delete --snapshots d >/dev/null
