"""One unmodified program natively and in a guest: processor, memory, files."""
import guests
import lib

ROUNDS = 15
REACH = 1 / 0.98  # at least 98 % of the native speed
KINDS = {"processor": "cpu", "memory": "memory", "files, in a volume": "file /vol",
         "files, in the root": "file /root"}


def measure(cmd):
    """(milliseconds of the work, what it found)"""
    ms, found = lib.check(cmd).split()
    return float(ms), found


def rows_of(scratch):
    work, native = lib.helper("work"), scratch.dir / "native"
    native.mkdir()
    scratch.strata("volume", "create", "--mode", "private", "vol")
    scratch.strata("run", "--detach", "--name", "box", "--volume", "vol:/vol", "busybox", "--",
                   "sleep", "100000")
    scratch.strata("cp", work, "box:/work")
    for title, words in KINDS.items():
        kind, *place = words.split()
        here = [work, kind, *([native] if place else [])]
        there = guests.strata(scratch, "exec", "box", "--", "/work", kind, *place)
        if measure(here)[1] != measure(there)[1]:
            raise RuntimeError(f"{title}: the guest found something else")
        found = lib.alternate({"native": here, "guest": there}, ROUNDS, lambda c: measure(c)[0])
        yield lib.Row(f"an unmodified program: {title}", f"{lib.median(found['guest']):.0f} ms",
                      f"native {lib.median(found['native']):.0f} ms",
                      lib.paired(found["guest"], found["native"]), REACH, REACH)
    scratch.strata("delete", "--force", "box")
    scratch.strata("volume", "delete", "vol")


rows = guests.section(rows_of)
