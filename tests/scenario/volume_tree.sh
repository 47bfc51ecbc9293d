#!/bin/sh
# Snapshots of disks as a tree, and clones: each at once, none sees another's changes, and
# Debian's qemu-img agrees on every layer.
# rows: CLU-09 OPS-07 OPS-09
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io

LAYERS=$STATE/pool/layers
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
# fill VOLUME BYTE OFFSET, sees VOLUME BYTE OFFSET - by another program, whose locks we honour
fill() { qemu-io -f "$(kind "$1")" -c "write -P $2 $3 64k" "$(path "$1")" >/dev/null; }
kind() { strata volume inspect --json "$1" | sed -n 's/^ *"format": "\(.*\)",$/\1/p' | head -1; }
sees() {
    said=$(qemu-io -r -f "$(kind "$1")" -c "read -P $2 $3 64k" "$(path "$1")")
    case $said in *"verification failed"*) fail "$1 does not have $2 at $3" ;; esac
}
count() { find "$LAYERS" -type f | wc -l; }

strata volume create --size 100G disk >/dev/null
fill disk 1 1M
is "named" "$(strata volume snapshot disk one)" one
fill disk 2 1M
strata volume snapshot disk two >/dev/null
fill disk 3 1M
fill disk 3 2M
fails 1 strata volume snapshot disk two
has "twice" "$OUT" "has a snapshot 'two' already"
fails 1 strata volume snapshot --restore disk nine
has "unknown" "$OUT" "has no snapshot 'nine'"

# Back to the first, and on from there: two branches.
strata volume snapshot --restore disk one >/dev/null
sees disk 1 1M
sees disk 0 2M
fill disk 4 1M
strata volume snapshot disk three >/dev/null
strata volume snapshot --list --json disk >"$WORK/list"
python3 - "$WORK/list" <<'PY' || fail "the tree"
import json, sys
rows = {r["name"]: r for r in json.load(open(sys.argv[1]))}
assert [rows[n].get("parent") for n in ("one", "two", "three")] == [None, "one", "one"], rows
assert [rows[n]["current"] for n in ("one", "two", "three")] == [False, False, True], rows
PY
strata volume snapshot --restore disk two >/dev/null
sees disk 2 1M

# Clones of a snapshot and of what is there now.
strata volume clone disk@three c3 >/dev/null
strata volume clone disk c2 >/dev/null
sees c3 4 1M
sees c2 2 1M
fill c2 9 1M
fill disk 8 1M
sees c2 9 1M
sees c3 4 1M
sees disk 8 1M
fails 1 strata volume clone disk c2
has "there is one" "$OUT" "volume 'c2' exists already"
for file in "$LAYERS"/*; do
    [ "$(qemu-img info "$file" | sed -n 's/^file format: //p')" = raw ] ||
        qemu-img check -q "$file" || fail "qemu-img check $file"
done

# Twenty clones of one image take less than two, each is small, and the image stays.
strata volume create --size 1G golden >/dev/null
qemu-io -f raw -c 'write -P 7 0 8M' "$(path golden)" >/dev/null
sum=$(sha256sum "$(path golden)")
image=$(path golden)
for i in $(seq 20); do
    strata volume clone golden "g$i" >/dev/null
    [ "$(du -sk "$(path "g$i")" | cut -f1)" -lt 1024 ] || fail "clone $i is large"
done
is "the base" "$(sha256sum "$image")" "$sum"
[ "$(cd "$LAYERS" && du -scB1 ./* | tail -1 | cut -f1)" -lt 16777216 ] || fail "twenty clones take much room"
has "short chain" "$(qemu-img info --backing-chain "$(path g20)" | grep -c '^image')" 2
sees g20 7 4M

# Whoever has it open keeps it as it is.
qemu-io -f qcow2 -c 'sleep 3000' "$(path g1)" >/dev/null &
holder=$!
within 5 sh -c '"$STRATA" --state "$STATE" volume inspect --json g1 | grep -q "in use"'
fails 1 strata volume snapshot g1 now
has "in use" "$OUT" "another program has it open"
fails 1 strata volume delete g1
wait "$holder"

# In any order of deletion, what somebody needs stays.
fails 1 strata volume delete disk
has "has snapshots" "$OUT" "--snapshots"
strata volume snapshot --delete disk one >/dev/null
sees c2 9 1M
strata volume delete --snapshots disk >/dev/null
sees c2 9 1M
sees c2 0 2M
sees c3 4 1M
strata volume delete c2 c3 golden >/dev/null
sees g3 7 4M
for i in $(seq 20); do
    strata volume delete "g$i" >/dev/null
done
is "nothing is left" "$(count)" 0
is "no record is left" "$(python3 - "$STATE/store.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(*[k for (k,) in db.execute("select item.key from item join event using (id) where version > 0")])
PY
)" ""
