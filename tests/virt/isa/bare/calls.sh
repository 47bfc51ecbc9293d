#!/bin/sh
# calls.sh ISA CC - a program at level 3 reaches its kernel by system calls only: each goes from the interrupt
# to the gate, by the dispatch table to its handler, and back behind the interrupt; a direct read or write of the
# kernel's memory faults and changes nothing.  Every step is looked up in the trace of both engines.
# rows: OSL-03
set -u
isa=$1 cc=$2
here=$(dirname "$0")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086
$cc -m32 -O2 -static -nostdlib -no-pie -fno-pic -ffreestanding -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -mgeneral-regs-only -Wl,--build-id=none -Wl,--no-warn-rwx-segments \
    -Wl,-Ttext-segment=0x200000 -Wl,-e,kernel_start -o "$work/kernel" "$here/calls.c" 2>"$work/why" || {
    echo "skip: no code of 32 bits can be compiled: $(head -n 1 "$work/why" | cut -c1-120)"
    exit 77
}
nm "$work/kernel" >"$work/names" || exit 1
for engine in interpret translate; do
    timeout 60 "$isa" run "{\"file\":\"$work/kernel\",\"engine\":\"$engine\",\"registers\":true,\"memory\":33554432}" \
        3>"$work/answer" >"$work/out" 2>"$work/trace"
    grep -q "lets nobody make code" "$work/answer" && continue
    grep -q '"code":43' "$work/answer" || { echo "$engine: $(cat "$work/out" "$work/answer")"; exit 1; }
    python3 - "$work" "$engine" <<'P' || exit 1
import re
import sys

work, engine = sys.argv[1:]
names = {line.split()[2]: int(line.split()[0], 16) for line in open(work + "/names")}
steps = []
for line in open(work + "/trace"):
    fields = line.split()
    steps.append((int(fields[0], 16), " ".join(f for f in fields[1:] if "=" not in f),
                  dict(f.split("=") for f in fields[1:] if "=" in f)))

USER = 0x400000
kernel = range(0x200000, 0x400000)


def user(name):
    return USER + names[name] - names["program"]


def find(address):
    at = [n for n, s in enumerate(steps) if s[0] == address]
    assert len(at) == 1, (engine, hex(address), at)
    return at[0]


def until(at, address):
    return next(n for n in range(at, len(steps)) if steps[n][0] == address)


def call(instruction, handler):
    """From the interrupt to the instruction behind it; what EAX is there."""
    at = find(user(instruction))
    assert steps[at][1].startswith("int") and "80" in steps[at][1], steps[at]
    assert steps[at + 1][0] == names["on_call"], (instruction, steps[at + 1])  # the interrupt
    end = until(at, user(instruction) + 2)
    inside = steps[at + 1:end]
    assert all(s[0] in kernel for s in inside), "something else between"
    calls = [n for n, s in enumerate(inside) if s[1].startswith("call") and s[0] < names["on_call_back"]
             and s[0] >= names["on_call"]]
    if handler is None:
        assert not calls and inside[-2][0] == names["on_call_back"], inside  # no such number
    else:
        assert len(calls) == 1 and inside[calls[0] + 1][0] == names[handler], inside  # by the table
        back = until(at, names["on_call_back"])
        assert steps[back - 1][1].startswith("ret"), steps[back - 1]
    assert inside[-1][1].startswith("iret"), inside[-1]  # back
    eax = [s[2]["rax"] for s in steps[at + 1:end + 1] if "rax" in s[2]]
    return int(eax[-1], 16) if eax else None


assert call("program_print", "call_print") == 0
assert call("program_add", "call_add") == 42
assert call("program_wrong", None) & 0xffffffff == 2**32 - 38
for instruction, behind in (("program_read", "program_read_done"), ("program_write", "program_write_done")):
    at = find(user(instruction))
    assert steps[at][1].startswith("mov"), steps[at]
    # What faults is no step of its own: the handler's first instruction, PUSHAL, is done in the same.
    assert steps[at + 1][0] - names["on_page_fault"] in (0, 1), (instruction, steps[at + 1])
    end = until(at, user(behind))
    assert all(s[0] in kernel for s in steps[at + 1:end]) and steps[end - 1][1].startswith("iret"), instruction
    assert find(user(behind)) == end
last = find(user("program_last"))
assert steps[last + 1][0] == names["on_call"] and until(last, names["call_end"]) > last
assert not any(s[0] >= USER for s in steps[last + 1:]), "the program goes on behind its end"

# 5: read, 7: write, of a page that is there, by level 3 (SDM volume 3A, 4.7).
secret = "%08x" % names["secret"]
assert open(work + "/out").read() == (
    "program 00000075\nprogram 0000002a\nprogram 00000026\n"
    f"fault at {secret}\nerror 00000005\nfault at {secret}\nerror 00000007\nsecret 005ec4e7\n"), open(work + "/out").read()
print(f"{engine}: {len(steps)} instructions followed")
P
done
