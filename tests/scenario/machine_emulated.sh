#!/bin/sh
# A guest of the host's own instruction set runs directly where that is possible - a container always, a machine
# where the hardware is of use - and is translated or interpreted elsewhere; which it is, is told.  What stays
# emulated, instructions and devices, is listed with its number: for one guest the same list by every engine.
# rows: CON-21 CON-22
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

cd "$WORK"
python3 "$TOP/tests/scenario/multiboot.py" kernel count:1 in:0x71 in:0x21 in:0x21 in:0x40 in:0x80 load:0xfec00000 \
    load:0xfee00030 load:0xfee00030 say:xy off
engines="auto translate interpret"
(: <>/dev/kvm) 2>/dev/null && engines="$engines kvm"
for engine in $engines; do
    timeout 120 "$STRATA" --state "$STATE" run --name "by-$engine" --as machine --engine "$engine" --kernel kernel \
        </dev/null >out 2>err || fail "$engine: $(cat err)"
    is "what it prints, engine $engine" "$(cat out)" xy
    strata --json inspect "by-$engine" | python3 -c '
import json, sys
g = json.load(sys.stdin)[0]
m, layer, asked = g["machine"], g["parts"]["layer"], sys.argv[1]

# The choice, and what is said of it.
works = m["why"] == "this host has hardware virtualization, and it works"
if asked == "auto":
    assert m["engine"] == "kvm" if works else m["engine"] in ("translate", "interpret"), m
else:
    assert m["engine"] == asked and m["why"] == "asked for", m
says = {"kvm": ("direct, but what leaves the processor", "hardware virtualization"),
        "translate": ("translated", "binary translation"), "interpret": ("interpreted", "interpretation")}
assert (layer["execution"], layer["technique"]) == says[m["engine"]], layer

# Two million instructions, and by whom.
i = m["instructions"]
blocks, least = i["translated"]["blocks"], 2000000
assert i["direct"] == (m["engine"] == "kvm"), i
assert {"kvm": i["interpreted"] == 0 and blocks == 0, "translate": i["interpreted"] < 10000 and blocks > 0,
        "interpret": i["interpreted"] > least and blocks == 0}[m["engine"]], i

# What was emulated: the instructions of the kernel that ask devices, and these.
devices = {"rtc": (1, 0), "pic": (2, 0), "pit": (1, 0), "nobody": (1, 0), "ioapic": (1, 0), "serial": (0, 2),
           "power": (0, 1)}
assert {n: (d["reads"], d["writes"]) for n, d in m["devices"].items()} == devices, m["devices"]
assert m["exits"] == {"port read": 5, "port write": 3, "memory read": 3}, m["exits"]
assert m["routes"] == {"device, by port": 8, "device, by address": 1, "local APIC": 2}, m["routes"]
assert i["emulated"] == m["exits_in_all"] == 11, i
' "$engine" || fail "engine $engine"
    strata delete "by-$engine" >/dev/null
done

strata run --name box busybox true >/dev/null
strata --json inspect box | python3 -c '
import json, sys
g = json.load(sys.stdin)[0]
assert g["parts"]["layer"]["execution"] == "direct" and g.get("machine") is None, g
' || fail "a container"
strata delete box >/dev/null
