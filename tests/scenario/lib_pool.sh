# lib_pool.sh - sourced after lib.sh by the scenarios of pools: disks that are served, members
# that are devices, and what is said of them.

servers= # processes, ended at the end
loops=   # devices, given back at the end
pool_on_exit() {
    for pid in $servers; do kill "$pid" 2>/dev/null || true; done
    umount -l "$WORK"/[a-z][0-9] "$WORK"/n[a-z]* 2>/dev/null || true
    for dev in $loops; do losetup -d "$dev" 2>/dev/null || true; done
}
on_exit() { pool_on_exit; }

# Whether the build knows of kills at named steps (STRATA_FAULT).
knows_kills() { grep -qa STRATA_FAULT "$STRATA"; }

# serve_at PLACE VOLUME [WORD...] - on PLACE.sock, in the background; its process in $server
serve_at() {
    place=$1
    shift
    rm -f "$place.sock" "$place.out"
    "$STRATA" --state "$STATE" volume export "$@" --nbd "$place.sock" >"$place.out" 2>&1 &
    server=$!
    servers="$servers $server"
    within 60 grep -qs 'nbd+unix\|strata:' "$place.out"
    grep -q nbd+unix "$place.out" || fail "$*: $(cat "$place.out")"
}
# live_at PLACE WORD... - words of qemu-io
live_at() {
    place=$1
    shift
    said=$(qemu-io -f raw "$@" "nbd:unix:$place.sock") || fail "$place $*: $said"
    case $said in *"verification failed"*) fail "$place $*: $said" ;; esac
}
serve() { serve_at "$WORK/served" "$@"; }
live() { live_at "$WORK/served" "$@"; }
# The server that ends with its only client has ended.
served() { wait "$server" || fail "$1: $(cat "$WORK/served.out")"; }
io() {
    name=$1
    shift
    serve "$name" --once
    live "$@"
    served "$name"
}
# same VOLUME FILE WHAT - by another program's reading of what is served
same() {
    serve "$1" --once
    qemu-img compare -q -f raw -F raw "$2" "nbd:unix:$WORK/served.sock" || fail "$1 is not $2 ($3)"
    served "$1"
}
# stop PROCESS - a server is interrupted
stop() {
    kill -TERM "$1"
    wait "$1" || fail "an interrupted export is no failure"
}
is_free() { ! strata volume inspect --json "$1" | grep -q '"in use"'; }

# device SIZE FILE - a loop device in $dev
device() {
    truncate -s "$1" "$WORK/$2"
    dev=$(losetup --show -f "$WORK/$2") || skip "no loop device"
    loops="$loops $dev"
}
# What lies on a device, by the program itself.
carved() {
    "$(dirname "$STRATA")/volume" store node=s,store,fd=9,read-only list 9<"$1" 3>"$WORK/list" || true
    sed -n 's/^carved=//p' "$WORK/list"
}

# pool NAME EXPRESSION - of what `pool inspect` says: p
pool() {
    strata pool inspect --json "$1" | python3 -c '
import json, sys
p = json.load(sys.stdin)[0]
print(eval(sys.argv[1]))' "$2"
}
# member POOL PATH KEY - of the member at that path
member() {
    strata pool inspect --json "$1" | python3 -c '
import json, sys
print(*[m.get(sys.argv[2], "") for p in json.load(sys.stdin) for m in p["members"] if m["path"].endswith(sys.argv[1])])' "$2" "$3"
}
# field VOLUME KEY - of what `volume inspect` says
field() {
    strata volume inspect --json "$1" | python3 -c '
import json, sys
v = json.load(sys.stdin)
print((v[0] if isinstance(v, list) else v)[sys.argv[1]])' "$2"
}
# How its members are, the top layer's.
members() {
    strata volume inspect --json "$1" | python3 -c '
import json, sys
v = json.load(sys.stdin)
v = v[0] if isinstance(v, list) else v
print(v["state"], *[m["state"] for m in sorted(v["layers"][0]["members"], key=lambda m: m["member"])])'
}

# care_of WORD - a member of that kind is emptied under a writer, takes another's place, and has
# a copy of which the other one is lost
care_of() {
    head -c 8388608 /dev/urandom >"$WORK/old.raw"
    head -c 1048576 /dev/urandom >"$WORK/part.raw"
    cp "$WORK/old.raw" "$WORK/new.raw"
    dd if="$WORK/part.raw" of="$WORK/new.raw" bs=1M seek=4 conv=notrunc status=none
    mkdir -p "$WORK/c1" "$WORK/c2" "$WORK/c3"
    strata pool create --member "$1" cared >/dev/null
    strata volume create --pool cared --size 8M d >/dev/null
    io d -c "write -s $WORK/old.raw 0 8M"
    strata volume snapshot d one >/dev/null
    strata pool add cared --member "$WORK/c1" >/dev/null
    serve_at "$WORK/cared" d
    live_at "$WORK/cared" -c "write -s $WORK/part.raw 4M 1M" -c flush
    strata pool remove cared 1 >/dev/null || fail "$1: remove"
    live_at "$WORK/cared" -c "write -s $WORK/part.raw 4M 1M" -c flush
    stop "$server"
    within 20 is_free d
    same d "$WORK/new.raw" "after remove"
    strata pool replace cared 2 "$1" >/dev/null || fail "$1: replace"
    is "nothing is left there" "$(find "$WORK/c1" -mindepth 1)" ""
    same d "$WORK/new.raw" "after replace"
    strata volume clone d@one e >/dev/null
    same e "$WORK/old.raw" "the snapshot"
    strata pool scrub cared >/dev/null || fail "$1: scrub"
    strata volume delete e >/dev/null
    strata volume delete --snapshots d >/dev/null
    strata pool delete cared >/dev/null
    strata pool create --redundancy mirror --member "$1" --member "$WORK/c2" cared >/dev/null
    strata volume create --pool cared --size 8M d >/dev/null
    io d -c "write -s $WORK/old.raw 0 8M"
    strata volume snapshot d one >/dev/null
    io d -c "write -s $WORK/part.raw 4M 1M"
    rm -rf "$WORK/c2"
    is "$1: degraded" "$(pool cared '[p["state"], p.get("degraded")]')" "['lost', ['d']]"
    strata pool replace cared 2 "$WORK/c3" >/dev/null || fail "$1: replace a lost one"
    is "$1: whole" "$(pool cared '[p["state"], p.get("degraded")]')" "['ok', None]"
    strata pool scrub cared >/dev/null || fail "$1: scrub of copies"
    mkdir "$WORK/c2"
    strata pool replace cared 1 "$WORK/c2" >/dev/null || fail "$1: replace it"
    same d "$WORK/new.raw" "the copy that was made of it"
    strata volume delete --snapshots d >/dev/null
    strata pool delete cared >/dev/null
    rm -rf "$WORK/c1" "$WORK/c2" "$WORK/c3"
}
