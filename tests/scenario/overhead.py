"""overhead.py recorded|real - what a machine in software loses, by cause: samples as perf wrote them are told apart
as their places in the sources say, or by a run of the program.  Ends with code 77 and the reason where this host
cannot sample."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import lib  # noqa: E402
import overhead  # noqa: E402

# {address: "file:function"} as the symbols said, and samples in four windows of time
PLACES = {0x1000: "src/virt/isa/x86/translate/trace.c:trace_build", 0x2000: "src/virt/isa/x86/memory/walk.c:x86_walk",
          0x3000: "src/virt/isa/x86/system/misc.c:rdtsc", 0x4000: "src/virt/monitor/dev/serial.c:write",
          0x5000: "src/virtio/blk.c:serve", 0x6000: "src/base/grow.c:grow_room", 0x7000: "src/prog/machine.c:main",
          0x8000: "src/virt/monitor/vcpu.c:run", 0x9000: "src/virt/isa/x86/translate/slow.c:routine_helper"}
KERNEL = "([kernel.kallsyms])"
CODE = "(/tmp/perf-77.map)"
OURS = "(/there/machine)"
LIBC = "(/usr/lib/libc.so.6)"
RECORDED = (
    # generated code, whoever called it
    ("generated", [(0x7F00, "[unknown]", CODE), (0x8000, "run", OURS)]),
    ("vCPU state", [(0x1000, "trace_build", OURS), (0x8001, "run", OURS)]),
    ("vCPU state", [(0x9000, "routine_helper", OURS), (0x7F00, "[unknown]", CODE)]),
    ("paging", [(0x2000, "x86_walk", OURS), (0x7F00, "[unknown]", CODE)]),
    # memory that the host gives when it is touched first
    ("paging", [(0xF1, "clear_page", KERNEL), (0xF2, "asm_exc_page_fault", KERNEL), (0x7F00, "[unknown]", CODE)]),
    ("privileged instructions", [(0xD0, "clock_gettime", "([vdso])"), (0x3001, "rdtsc", OURS)]),
    # what the host's kernel and libraries do is for the function that asked
    ("console", [(0xF3, "ksys_write", KERNEL), (0xE0, "__GI___libc_write", LIBC), (0x4001, "write", OURS)]),
    ("I/O", [(0xE1, "__memmove_avx", LIBC), (0x5001, "serve", OURS)]),
    ("I/O", [(0xF4, "io_write", KERNEL), (0xF5, "io_wq_worker", KERNEL)]),
    # a helper belongs to its caller
    ("I/O", [(0x6000, "grow_room", OURS), (0x5001, "serve", OURS)]),
    # and these to nobody: the host's interrupt, a library that nobody asked, a place that none of the causes is for,
    # one that is not known - whatever is further out
    ("no cause", [(0xF6, "asm_sysvec_apic_timer_interrupt", KERNEL), (0x7F00, "[unknown]", CODE),
                  (0x8001, "run", OURS)]),
    ("no cause", [(0xE2, "malloc", LIBC)]),
    ("no cause", [(0x7000, "main", OURS), (0x8001, "run", OURS)]),
    ("no cause", [(0xA000, "stranger", OURS), (0x8001, "run", OURS)]),
)


def recorded():
    text = "\n\n".join("\n".join([f"   {i}.500000: "] + [f"\t    {a:x} {f} {w}" for a, f, w in frames])
                       for i, (_, frames) in enumerate(RECORDED)) + "\n\n"
    windows = {str(i): (i, i + 1) for i in range(len(RECORDED))}
    out, strange = overhead.classify(overhead.samples(text), windows, PLACES.get)
    for i, (want, frames) in enumerate(RECORDED):
        assert dict(out[str(i)]) == {want: 1}, (want, frames, out[str(i)])
    assert sum(strange.values()) == 4, strange
    # a second in the machine, a fifth of it natively: of 999 samples 100 have no cause
    counted = overhead.Counter({"generated": 500, "paging": 200, "console": 199, "no cause": 100})
    share = overhead.Share(1.0, 0.2, counted)
    assert abs(share.causes["vCPU state"] - (500 / 999 - 0.2)) < 1e-9, share.causes
    assert abs(share.explained - (899 / 999 - 0.2) / 0.8) < 1e-9 and share.explained < 0.9, share.explained
    print("recorded samples are told apart")


def real():
    found, strange = overhead.measure(25)
    for part, s in found.items():
        print(f"{part}: {s.text()}")
    print(strange.most_common(5))
    for part, cause in (("compute", "vCPU state"), ("calls", "privileged instructions"), ("paging", "paging"),
                        ("disk", "I/O"), ("console", "console")):
        assert found[part].causes[cause] > 0, f"no {cause} in {part}"
        others = {p: s.causes[cause] / s.gap for p, s in found.items() if p not in (part, "all")}
        if cause in ("I/O", "console"):
            assert found[part].causes[cause] / found[part].gap > max(others.values()), (cause, others)
    whole = found["all"]
    assert whole.gap > 0 and whole.named >= overhead.LEAST, f"{whole.named:.1%} of the samples have a cause"
    assert overhead.LEAST <= whole.explained <= 1.1, f"{whole.explained:.1%} is explained"
    assert 0.9 <= whole.sampled <= 1.1, f"the samples are {whole.sampled:.1%} of the kernel's clock"


try:
    {"recorded": recorded, "real": real}[sys.argv[1]]()
except lib.Unable as e:
    print(e)
    sys.exit(77)
