"""A Debian root file system from an image: unpacking beside umoci and tar, then not again."""
import json
import os
import shutil
from pathlib import Path

import lib

ROUNDS = 3


def layer_of(layout):
    """The first layer's path and the tag of an OCI layout."""
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]

    def blob(d):
        return layout / "blobs" / d["digest"].replace(":", "/")
    manifest = json.loads(blob(entry).read_text())
    name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "latest")
    return blob(manifest["layers"][0]), name


def timed(cmd):
    runs, _ = lib.spawn([cmd], 1)
    return runs[0]["total_ms"]


def unpacked_files(path):
    return sum(len(files) for _, _, files in os.walk(path))


def unpack_strata(scratch, layout):
    """Import is copying; the first guest unpacks.  What both cost, less a guest without."""
    shutil.rmtree(scratch.dir / "fresh", ignore_errors=True)
    base = [lib.need_strata(), "--state", scratch.dir / "fresh"]
    lib.check([*base, "image", "import", layout, "debian"])
    create = [*base, "create", "--name", "@", "debian", "--", "true"]
    first, second = timed(create), timed(create)
    for name in lib.check([*base, "list", "--quiet"]).split():
        lib.check([*base, "delete", "--force", name])
    return first, second


def unpack_umoci(scratch, layout, name):
    out = scratch.dir / "umoci"
    shutil.rmtree(out, ignore_errors=True)
    return timed(["umoci", "unpack", "--image", f"{layout}:{name}", out])


def unpack_tar(scratch, layer):
    out = scratch.dir / "tar"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    ms = timed(["tar", "-C", out, "--numeric-owner", "--xattrs", "-xf", layer])
    if unpacked_files(out) < 1000:
        raise RuntimeError("tar unpacked less than a Debian")
    return ms


def rows():
    lib.need_root()
    lib.need_strata()
    lib.need_cmd("umoci", "tar")
    with lib.Scratch() as scratch:
        layout = Path(os.environ.get("BENCH_LAYOUT", lib.CACHE / "debian-layout"))
        if not layout.exists():
            lib.progress("building a Debian image once")
            scratch.strata("image", "build", "--quiet", "debian")
            scratch.strata("image", "export", "--format", "dir", "debian", layout)
        layer, name = layer_of(layout)
        ms = lib.alternate({
            "strata": lambda: unpack_strata(scratch, layout),
            "umoci": lambda: (unpack_umoci(scratch, layout, name),),
            "tar": lambda: (unpack_tar(scratch, layer),)}, ROUNDS, lambda f: f())
    first = [m[0] for m in ms["strata"]]
    for peer in ("umoci", "tar"):
        other = [m[0] for m in ms[peer]]
        yield lib.Row("create from a new Debian image", f"{lib.median(first):.0f} ms",
                      f"{peer} {lib.median(other):.0f} ms", lib.paired(first, other), 0.6, 0.35)
    second = [m[1] for m in ms["strata"]]
    yield lib.Row("second guest of that image", f"{lib.median(second):.1f} ms",
                  f"first {lib.median(first):.0f} ms", lib.paired(second, first), 0.1, 0.05)
