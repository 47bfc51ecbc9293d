#!/usr/bin/env python3
"""fake_lvm - answers as lvm(8) does for one thin pool 'vg/tp', without a kernel.

State lies beside the program: state.json, and files that a test writes:
  percent   "DATA METADATA" of the pool    threshold  new volumes are refused
  open      a volume that is in use        slow       seconds to wait first
  garbage   bytes to say instead           signal     a signal to die by
  loops     volumes are loop devices on files of their names, so that others use them
"""
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
EXTENT = 4 << 20


def knob(name):
    try:
        with open(os.path.join(HERE, name), encoding="ascii") as f:
            return f.read()
    except FileNotFoundError:
        return None


def complain(text, code=5):
    sys.stderr.write("  WARNING: Sum of all thin volume sizes exceeds the size of thin pool.\n")
    sys.stderr.write(f"  {text}\n")
    sys.exit(code)


def load():
    text = knob("state.json")
    return json.loads(text) if text else {}


def save(volumes):
    with open(os.path.join(HERE, "state.json"), "w", encoding="ascii") as f:
        json.dump(volumes, f)


def image(name):
    return os.path.join(HERE, name + ".img")


def losetup(*words):
    return subprocess.run(["losetup", *words], check=True, stdout=subprocess.PIPE, encoding="ascii").stdout.strip()


def is_open(device):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") == device for fd in os.listdir(f"/proc/{pid}/fd")):
                return True
        except OSError:
            pass
    return False


def percent(used, size):
    return f"{100 * used / size:.2f}"


def taken(name):
    return os.stat(image(name)).st_blocks * 512


def round_up(text):
    if not text.endswith("b") or not text[:-1].isdigit() or int(text[:-1]) % 512:
        complain(f"Invalid argument for size: {text}", 3)
    return -(-int(text[:-1]) // EXTENT) * EXTENT


def split(name, volumes):
    group, _, volume = name.partition("/")
    if group != "vg":
        complain(f'Volume group "{group}" not found')
    if volume not in volumes:
        complain(f'Failed to find logical volume "{name}"')
    return volume


def lvs(words, volumes):
    want = ["--reportformat", "json", "--units", "b", "--nosuffix", "-o"]
    if words[:6] != want or len(words) != 8:
        complain("Invalid arguments", 3)
    if words[7] != "vg":
        sys.stderr.write(f'  Volume group "{words[7]}" not found\n')
        complain(f"Cannot process volume group {words[7]}")
    data, metadata = (knob("percent") or "12.34 4.10").split(" ")
    if knob("loops") is not None:
        data = percent(sum(taken(name) for name in volumes), 1 << 30)
    rows = [{"lv_name": "root", "lv_size": "8388608", "lv_path": "/dev/vg/root", "segtype": "linear"},
            {"lv_name": "tp", "lv_size": "1073741824", "data_percent": data, "metadata_percent": metadata,
             "lv_health_status": knob("health") or "", "segtype": "thin-pool"}]
    for name, v in volumes.items():
        used = percent(taken(name), v["size"]) if "device" in v else "0.00"
        rows.append({"lv_name": name, "lv_size": str(v["size"]), "origin": v["origin"], "pool_lv": "tp",
                     "data_percent": used, "lv_path": v.get("device", f"/dev/vg/{name}"), "segtype": "thin"})
    fields = words[6].split(",")
    for row in rows:
        row.setdefault("lv_active", "active")
    print(json.dumps({"report": [{"lv": [{f: row.get(f, "") for f in fields} for row in rows]}]}))


def add(name, size, origin, volumes):
    if name in volumes:
        complain(f'Logical Volume "{name}" already exists in volume group "vg"')
    if knob("threshold") is not None:
        complain("Cannot create new thin volume, free space in thin pool vg/tp reached threshold.")
    volumes[name] = {"size": size, "origin": origin}
    if knob("loops") is not None:
        with open(image(name), "wb") as f:
            f.truncate(size)
        volumes[name]["device"] = losetup("--show", "-f", image(name))
    save(volumes)
    print(f'  Logical volume "{name}" created.')


def lvcreate(words, volumes):
    if words[:4] == ["--yes", "--type", "thin", "-V"] and words[5] == "--thinpool" and words[7] == "-n":
        if words[9] != "vg":
            complain(f'Volume group "{words[9]}" not found')
        if words[6] != "tp":
            complain(f"Pool {words[6]} not found in Volume group vg.")
        add(words[8], round_up(words[4]), "", volumes)
    elif words[:5] == ["--yes", "-s", "-kn", "-ay", "-n"] and len(words) == 7:
        origin = words[6].partition("/")[2]
        if origin not in volumes:
            complain(f"Snapshot origin LV {origin} not found in Volume group vg.")
        add(words[5], volumes[origin]["size"], origin, volumes)
    else:
        complain("Invalid arguments", 3)


def lvremove(words, volumes):
    if len(words) != 2 or words[0] != "--yes":
        complain("Invalid arguments", 3)
    name = split(words[1], volumes)
    if knob("open") == name:
        complain(f"Logical volume {words[1]} in use.")
    device = volumes[name].get("device")
    if device and is_open(device):
        complain(f"Logical volume {words[1]} in use.")
    if device:
        losetup("-d", device)
        os.unlink(image(name))
    del volumes[name]
    for v in volumes.values():
        v["origin"] = "" if v["origin"] == name else v["origin"]
    save(volumes)


def lvresize(words, volumes):
    if words[:3] != ["--yes", "--force", "-L"] or len(words) != 5:
        complain("Invalid arguments", 3)
    name = split(words[4], volumes)
    volumes[name]["size"] = round_up(words[3])
    if "device" in volumes[name]:
        os.truncate(image(name), volumes[name]["size"])
        losetup("-c", volumes[name]["device"])
    save(volumes)


def main():
    if os.environ != {"LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1", "PATH": os.environ["PATH"]} and \
            set(os.environ) - {"LC_ALL", "LVM_SUPPRESS_FD_WARNINGS", "PATH", "LC_CTYPE"}:
        complain(f"an environment: {dict(os.environ)}")
    if knob("slow"):
        time.sleep(float(knob("slow")))
    if knob("signal"):
        os.kill(os.getpid(), int(knob("signal")))
    if knob("garbage") is not None:
        sys.stdout.write(knob("garbage"))
        sys.exit(0)
    if knob("flood"):
        sys.stdout.write("x" * int(knob("flood")))
        sys.stderr.write("  y\n" * 100000)
        sys.exit(0)
    commands = {"lvs": lvs, "lvcreate": lvcreate, "lvremove": lvremove, "lvresize": lvresize}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        complain("No such command.", 2)
    with open(os.path.join(HERE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        commands[sys.argv[1]](sys.argv[2:], load())


signal.signal(signal.SIGTERM, signal.SIG_DFL)
main()
