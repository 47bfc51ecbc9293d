#!/bin/sh
# Commands that change disks are killed at each of their steps: the next one goes on as if
# they had been done or never begun, and no layer is left that nobody needs.
# timeout: 300
# rows: STO-03
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img python3
"$STRATA" --state "$STATE" volume list >/dev/null
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"
LAYERS=$STATE/pool/layers

# Every layer that a member holds has a record, every record its layer and its users, and
# every volume a chain that another tool can follow.
whole() {
    strata volume list >/dev/null || fail "$1: list"
    strata volume create --size 1M next >/dev/null || fail "$1: the next command"
    strata volume delete next >/dev/null || fail "$1: the next but one"
    said=$(python3 - "$STATE/store.db" "$LAYERS" <<'PY'
import json, os, sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
keys = {k: v for k, v in db.execute("select item.key, value from item join event using (id) where version > 0")}
layers = {k.split("/")[2]: json.loads(v) for k, v in keys.items() if k.startswith("/layers/")}
users = {}
for k in keys:
    if k.startswith("/layer-users/"):
        users.setdefault(k.split("/")[2], []).append(k)
for layer in layers:
    if layer not in users:
        print("nobody needs", layer)
    parent = layers[layer]["parent"]
    if parent and f"/layer-users/{parent}/l/{layer}" not in keys:
        print(layer, "does not hold", parent)
for k, v in keys.items():
    if k.startswith("/volumes/") and json.loads(v)["top"] not in layers:
        print(k, "has no top")
print(*sorted(set(users) - set(layers)), *sorted(set(os.listdir(sys.argv[2])) ^ set(layers)))
PY
)
    is "$1" "$said" ""
    for name in $(strata volume list --quiet); do
        top=$(strata volume inspect --json "$name" | sed -n 's/^ *"path": "\(.*\)",$/\1/p')
        qemu-img info --backing-chain "$top" >/dev/null || fail "$1: the chain of $name"
    done
}

# sweep WHAT PREPARE COMMAND... - kill COMMAND at its first, second, ... step.
sweep() {
    what=$1 prepare=$2
    shift 2
    for n in $(seq 1 40); do
        $prepare
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 || code=$?
        whole "$what, step $n"
        for name in $(strata volume list --quiet); do
            strata volume delete --snapshots "$name" >/dev/null || fail "$what, step $n: delete"
        done
        is "$what, step $n: nothing is left" "$(ls "$LAYERS")" ""
        [ $code != 0 ] || return 0
    done
    fail "$what: more than 40 steps"
}

nothing() { :; }
disk() { strata volume create --size 64M d >/dev/null; }
kept() { disk && strata volume snapshot d s >/dev/null && strata volume snapshot d t >/dev/null; }
cloned() { kept && strata volume clone d@s c >/dev/null; }

strata volume create --size 1M first >/dev/null # the directories of the pool
strata volume delete first >/dev/null
sweep create nothing volume create --size 64M d
sweep snapshot disk volume snapshot d s
sweep restore kept volume snapshot --restore d s
sweep forget kept volume snapshot --delete d t
sweep clone disk volume clone d c
sweep clone-of-snapshot kept volume clone d@s c
sweep resize disk volume resize d 128M
sweep delete disk volume delete d
sweep delete-all kept volume delete --snapshots d
sweep delete-cloned cloned volume delete --snapshots d

# What came half into a pool is found without announcements, too: after a boot.
disk
STRATA_FAULT=kill:layer.made "$STRATA" --state "$STATE" volume clone d c >/dev/null 2>&1 || true
rm -rf "$STATE/run/volumes"
is "two files" "$(ls "$LAYERS" | wc -l)" 2
has "reconcile" "$(strata system reconcile)" "left-over files removed"
is "one file" "$(ls "$LAYERS" | wc -l)" 1
strata volume delete d >/dev/null
