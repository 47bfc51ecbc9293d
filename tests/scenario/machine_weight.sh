#!/bin/sh
# Two machines that want all of one processor of the host get it by their weights, and by others when these are
# changed while they run.
# rows: HYP-20
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

cd "$WORK"
python3 "$TOP/tests/scenario/multiboot.py" kernel spin
for name in heavy light; do
    weight=300
    [ $name = heavy ] || weight=100
    strata run -d --name $name --as machine --kernel kernel --memory 16M --cpu-weight $weight >/dev/null
done
strata list >/dev/null # what this host withholds, it says in notes
strata --json inspect heavy | python3 -c '
import json, sys
notes = json.load(sys.stdin)[0].get("notes") or []
sys.exit(any("cpu" in str(n) for n in notes))
' || skip "this host gives no weights of processors"

# Seven times four tenths of a second, and which part the first had of it, in hundredths: the middle one.
part() {
    python3 - "$STRATA" "$STATE" <<'P'
import json, os, subprocess, sys, time
strata = [sys.argv[1], "--state", sys.argv[2], "--json"]


def ask(*words):
    return json.loads(subprocess.run([*strata, *words], check=True, capture_output=True).stdout)


one = sorted(os.sched_getaffinity(0))[0]
pids = [ask("inspect", name)[0]["pid"] for name in ("heavy", "light")]
for pid in pids:
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {one})


def used(pid):
    """Nanoseconds, of all its threads."""
    return sum(int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0]) for t in os.listdir(f"/proc/{pid}/task"))


time.sleep(0.3)
parts = []
before = [used(p) for p in pids]
for _ in range(7):
    time.sleep(0.4)
    now = [used(p) for p in pids]
    a, b = now[0] - before[0], now[1] - before[1]
    before = now
    parts.append(100 * a // max(a + b, 1))
print(sorted(parts)[3])
P
}
between() { # WHAT VALUE LEAST MOST
    [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] || fail "$1: $2 of a hundred, not within $3 and $4"
}
between "300 beside 100" "$(part)" 67 83
strata resize heavy --cpu-weight 100 >/dev/null
between "100 beside 100" "$(part)" 45 55
strata delete --force heavy light >/dev/null
