# lib_crash.sh - sourced after lib.sh by scenarios that kill commands at each of their steps.
#
# After each kill and one `system reconcile` a guest is made, started, used and deleted;
# then everything that a guest can have is compared with what was there before the first.
need_root
need_cmd python3 nft ip
need_busybox
"$STRATA" --state "$STATE" list >/dev/null
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"
STEPS_MOST=60

# onward - the next step to die at, in $n: each one in the long tests (STRATA_LONG), else the first and about every third of
# the others, chosen by STRATA_SEED.
SEED=${STRATA_SEED:-$$}
echo "STRATA_SEED=$SEED"
onward() {
    SEED=$(((SEED * 1103515245 + 12345) % 2147483648))
    n=$((n + 1))
    [ -n "${STRATA_LONG:-}" ] || n=$((n + SEED / 65536 % 5))
}
PORT=$((20000 + $$ % 20000))
KEEP=$WORK/keep

# Keys of the store, leases, and links named after any guest there ever was; with IDS the
# identifiers alone.
store() {
    python3 - "$STATE/store.db" "${1:-}" <<'PY'
import sqlite3, subprocess, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
rows = db.execute("select item.key from item join event using (id) where version > 0")
for (key,) in rows:
    print("key", key)
for (count,) in db.execute("select count(*) from lease"):
    print("leases", count)
ids = {key.split("/")[2] for (key,) in db.execute("select distinct key from event")
       if key.startswith("/guests/")}
links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
for line in links.splitlines():
    name = line.split(":")[1].strip().split("@")[0]
    if any(name.startswith("sv" + i[:10]) for i in ids):
        print("link", name)
PY
}

# The table's name of this state; see `net_table_name`.
TABLE=$(python3 -c "h = 2166136261
for b in b'$STATE':
    h = (h ^ b) * 16777619 & 0xffffffff
print('strata_%08x' % h)")

# Everything that guests have, one thing a line.
rest() {
    store
    for dir in "$STATE/guests" "$STATE/volumes" "$STATE/run/guests" "$STATE/run/containers"; do
        find "$dir" -mindepth 1 -maxdepth 1 2>/dev/null | sort
    done
    grep -H '# ' "$STATE"/run/networks/*.hosts 2>/dev/null || true
    nft -s list table inet "$TABLE" 2>/dev/null | sed 's/expires [^ ,]*//'
    left || true
    echo "guests $(guests | tr '\n' ' ')" # last: a list cleans up
}

# same WHAT - within some seconds, all is as it was before the first guest.
same() {
    for wait in 0 0.2 0.5 1 2 2; do # other scenarios' groups come and go
        sleep $wait
        rest >"$WORK/now"
        cmp -s "$KEEP" "$WORK/now" && return 0
    done
    fail "$1 left: $(diff "$KEEP" "$WORK/now")"
}

# kill_at N|STEP COMMAND... - the code of the command that was killed there.
kill_at() {
    step=$1
    shift
    code=0
    STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 </dev/null || code=$?
}

# sweep NAME PREPARE COMMAND... - kill COMMAND at its first, second, ... step.
sweep() {
    what=$1
    prepare=$2
    shift 2
    n=1
    while [ $n -le $STEPS_MOST ]; do
        $prepare
        kill_at $n "$@"
        strata system reconcile >/dev/null || fail "$what, step $n: reconcile"
        for guest in g g2; do
            strata delete --force $guest >/dev/null 2>&1 || true
        done
        strata create --name g -p $PORT:80 -v v:/v busybox sleep 1000 >/dev/null ||
            fail "$what, step $n: create"
        strata start g >/dev/null || fail "$what, step $n: start"
        strata exec g true || fail "$what, step $n: exec"
        strata delete --force g >/dev/null || fail "$what, step $n: delete"
        strata volume delete w >/dev/null 2>&1 || true
        same "$what, step $n"
        [ $code != 0 ] || return 0
        onward
    done
    fail "$what: more than $STEPS_MOST steps"
}

nothing() { :; }
made() { strata create --name g busybox sleep 1000 >/dev/null; }
running() { strata run -d --name g -p $PORT:80 -v v:/v busybox sleep 1000 >/dev/null; }
kept() { made && strata snapshot create g one >/dev/null; }
stands() { running && strata pause g >/dev/null; }
owned() { strata volume create --mode private w >/dev/null; }
owner() { owned && strata create --name g -v w:/w busybox true >/dev/null; }

strata volume create --mode private v >/dev/null
running
strata delete --force g >/dev/null
strata system reconcile >/dev/null
rest >"$KEEP"
