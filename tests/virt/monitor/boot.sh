#!/bin/sh
# boot.sh MACHINE IMAGE KERNEL SOURCES COMPILER - kernels on a machine, each engine.
#
# rows: FV-01
set -eu
machine=$1
image=$2
kernel=$3
sources=$4
compiler=$5
. "$(dirname "$0")/../../linux.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    cat "$dir/out" || true
    exit 1
}

# A multiboot kernel with a program as its module: what that prints here, it prints there.
# shellcheck disable=SC2086
$compiler -O2 -DCPU_DIVISOR=1000 -static -nostdlib -no-pie -fno-pic -ffreestanding -fno-stack-protector \
    -fcf-protection=none -Wl,--build-id=none -Wl,--no-warn-rwx-segments -o "$dir/program" "$sources/sieve.c"
"$dir/program" >"$dir/native"
for engine in translate interpret; do
    code=0
    "$machine" --engine $engine --kernel "$kernel" --initrd "$dir/program" >"$dir/out" 2>"$dir/err" \
        </dev/null || code=$?
    [ "$code" = 0 ] || fail "$engine: the debug-exit port gave $code"
    cmp "$dir/out" "$dir/native" || fail "$engine: it printed something else"
done

# Nonsense is refused with its reason.
head -c 100000 /dev/zero >"$dir/zeros"
if "$machine" --kernel "$dir/zeros" >"$dir/out" 2>&1 </dev/null; then
    fail 'zeros were booted'
fi
grep -q 'neither a Linux bzImage nor an ELF file with a PVH entry nor a multiboot kernel' "$dir/out" || fail 'no reason was given'

linux_find
head -c 3000000 "$linux" >"$dir/cut"
if "$machine" --kernel "$dir/cut" </dev/null >"$dir/out" 2>&1; then
    fail 'half a kernel was booted'
fi
grep -q 'the file is cut' "$dir/out" || fail 'no reason was given for half a kernel'

machine=$(linux_program "$machine")
# A distribution's kernel, as it is: to its first process, with input and output, until it is off.
# shellcheck disable=SC2086
$compiler -O2 -static -o "$dir/init" "$(dirname "$0")/init.c"
python3 "$(dirname "$0")/cpio.py" "$dir/init" "$dir/initrd"
elf=$(echo "{\"state\":\"$dir\",\"file\":\"$linux\"}" | "$image" kernel | sed 's/.*"kernel":"\([^"]*\)".*/\1/')
boot() { # ENGINE CPUS KERNEL [COMMAND-LINE]
    : >"$dir/out"
    (n=0; until grep -q 'say something' "$dir/out" || [ $n -ge 1200 ]; do sleep 0.1; n=$((n + 1)); done
        echo hello) | timeout 140 "$machine" --engine "$1" --cpus "$2" --kernel "$3" \
        --initrd "$dir/initrd" --append "${4:-console=ttyS0 quiet panic=-1}" >"$dir/out" 2>"$dir/err" ||
        fail "$1, $2 processors: it ended with an error: $(cat "$dir/err")"
    for line in 'first process' "cpus: $2" 'rests by: hlt' 'heard: hello' 'clock: kvm-clock\|clock: tsc'; do
        grep -q "$line" "$dir/out" || fail "$1, $2 processors: no '$line'"
    done
}
boot translate 1 "$elf"
boot translate 2 "$elf"
# What KVM's interface is good for with several processors.
boot translate 4 "$elf" 'console=ttyS0 panic=-1'
for line in 'Hypervisor detected: KVM' 'KVM setup pv remote TLB flush' 'setup PV IPIs' 'PV spinlocks enabled' \
    'setup PV sched yield'; do
    grep -q "$line" "$dir/out" || fail "the guest did not take: $line"
done
! grep -E 'WARNING:|BUG:|unchecked MSR|rcu_sched.*stall' "$dir/out" || fail 'the kernel complains'
# As distributed: its own code unpacks it.
boot translate 1 "$linux"
