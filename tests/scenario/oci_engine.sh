#!/bin/sh
# The calls that engines make of a runtime, in their order and with their options, where the
# engine itself cannot run: what it may do, a container with and without a terminal, one
# more program, new limits, and the end.
# rows: OSL-10 OSL-11
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_oci.sh"
need_root
need_cmd python3

field() { python3 -c 'import json,sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }
state_of() { oci state "$1" | field '["status"]'; }

# What it says of itself: every field of features.md with its type, no other.
oci features >"$WORK/features"
python3 - "$WORK/features" <<'END'
import json, sys
f = json.load(open(sys.argv[1]))
def words(v):
    assert isinstance(v, list) and v and all(isinstance(w, str) for w in v), v
    assert len(set(v)) == len(v), v
def only(o, must, may=()):
    assert set(must) <= set(o), (set(must) - set(o))
    assert set(o) <= set(must) | set(may), (set(o) - set(must) - set(may))
only(f, ["ociVersionMin", "ociVersionMax"],
     ["hooks", "mountOptions", "linux", "annotations", "potentiallyUnsafeConfigAnnotations"])
assert [int(n) for n in f["ociVersionMin"].split(".")] <= [int(n) for n in f["ociVersionMax"].split(".")]
assert set(f["hooks"]) == {"prestart", "createRuntime", "createContainer", "startContainer",
                           "poststart", "poststop"}
words(f["mountOptions"])
assert {"ro", "rw", "bind", "rbind", "nosuid", "nodev", "noexec", "rro", "idmap",
        "rslave", "rprivate"} <= set(f["mountOptions"])
l = f["linux"]
only(l, [], ["namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt",
             "mountExtensions", "netDevices", "memoryPolicy"])
assert set(l["namespaces"]) == {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}
words(l["capabilities"])
assert all(c.startswith("CAP_") for c in l["capabilities"]) and "CAP_SYS_ADMIN" in l["capabilities"]
only(l["cgroup"], [], ["v1", "v2", "systemd", "systemdUser", "rdma"])
assert all(isinstance(v, bool) for v in l["cgroup"].values())
only(l["seccomp"], ["enabled"], ["actions", "operators", "archs", "knownFlags", "supportedFlags"])
for k in ("actions", "operators", "archs", "knownFlags", "supportedFlags"):
    words(l["seccomp"][k])
assert all(a.startswith("SCMP_ACT_") for a in l["seccomp"]["actions"])
assert all(a.startswith("SCMP_CMP_") for a in l["seccomp"]["operators"])
assert all(a.startswith("SCMP_ARCH_") for a in l["seccomp"]["archs"])
assert set(l["seccomp"]["supportedFlags"]) <= set(l["seccomp"]["knownFlags"])
for k in ("apparmor", "selinux", "netDevices"):
    assert isinstance(l[k]["enabled"], bool), k
only(l["mountExtensions"], [], ["idmap"])
assert isinstance(l["mountExtensions"]["idmap"]["enabled"], bool)
assert all(isinstance(v, str) for v in f["annotations"].values())
END
fails 1 oci features too many

# conmon's calls for `run -d`: create with a file for the process id, then start.
bundle web "sh('trap \"exit 7\" TERM; echo begun; while :; do sleep 0.1; done')"
oci create --bundle "$WORK/web" --pid-file "$WORK/pid" web >"$WORK/out" 2>"$WORK/err"
is "created" "$(state_of web)" created
pid=$(cat "$WORK/pid")
is "the process" "$(oci state web | field '["pid"]')" "$pid"
is "the bundle" "$(oci state web | field '["bundle"]')" "$WORK/web"
is "nothing ran yet" "$(cat "$WORK/out")" ""
fails 1 oci create --bundle "$WORK/web" --pid-file "$WORK/pid2" web
[ ! -e "$WORK/pid2" ] || fail "a refused create wrote a file"
oci start web
begun() { grep -q begun "$WORK/out"; }
within 10 begun
is "running" "$(state_of web)" running
fails 1 oci start web

# `exec`: a whole process in a file, a file for its number, detached and not.
python3 - "$WORK/process.json" <<'END'
import json, sys
json.dump({"cwd": "/tmp", "args": ["/bin/sh", "-c", "echo $PWD $A $(id -u); exit 4"], "env":
           ["PATH=/bin", "A=1"], "user": {"uid": 5, "gid": 6}}, open(sys.argv[1], "w"))
END
fails 4 oci exec --process "$WORK/process.json" --pid-file "$WORK/exec.pid" web
is "its output" "$OUT" "/tmp 1 5"
[ "$(cat "$WORK/exec.pid")" -gt 1 ] || fail "no number of the program"
python3 - "$WORK/process.json" <<'END'
import json, sys
json.dump({"cwd": "/", "args": ["/bin/sleep", "1000"]}, open(sys.argv[1], "w"))
END
oci exec --detach --process "$WORK/process.json" --pid-file "$WORK/sleep.pid" web
is "detached" "$(tr '\0' ' ' <"/proc/$(cat "$WORK/sleep.pid")/cmdline")" "/bin/sleep 1000 "

# `update`: by flags, and by an object of resources.  The kernel tells what holds.
most() {
    at=$(sed -n 's/^[0-9]*:pids://p' "/proc/$pid/cgroup")
    cat "/sys/fs/cgroup/pids$at/pids.max" 2>/dev/null ||
        cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")/pids.max"
}
oci update --pids-limit 50 web
is "processes" "$(most)" 50
echo '{"pids": {"limit": 60}}' >"$WORK/resources"
oci update --resources "$WORK/resources" web
is "by a file" "$(most)" 60
echo '{"pids": {"limit": 70}}' | oci update --resources - web
is "by a pipe" "$(most)" 70
fails 1 oci update --pids-limit many web
has "which one" "$OUT" "--pids-limit"
is "it stays" "$(most)" 70
echo '[]' >"$WORK/resources"
fails 1 oci update --resources "$WORK/resources" web
fails 1 oci update --pids-limit 5 nobody

# `stop`: TERM, then KILL for all, then delete by force, twice.
oci kill web TERM
ended() { [ "$(state_of web)" = stopped ]; }
within 10 ended
oci kill --all web KILL 2>/dev/null || true # fine when none is left
oci delete --force web
fails 1 oci state web
oci delete --force web
[ ! -d "/proc/$(cat "$WORK/sleep.pid")" ] || fail "the other program outlived its container"

# `run -t`: the terminal comes through a socket.
bundle term "sh('tty; stty size; sleep 1000'); c['process']['terminal'] = True
c['process']['consoleSize'] = {'height': 33, 'width': 101}"
[ -e "$WORK/term/rootfs/bin/tty" ] || for n in tty stty; do ln -s busybox "$WORK/term/rootfs/bin/$n"; done
python3 - "$WORK/console" >"$WORK/terminal" <<'END' &
import array, os, select, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(1)
c, _ = s.accept()
data, anc, *_ = c.recvmsg(256, socket.CMSG_SPACE(4))
fd = array.array("i", anc[0][2])[0]
assert os.isatty(fd), data
text = b""
while text.count(b"\n") < 2 and select.select([fd], [], [], 10)[0]:
    text += os.read(fd, 1000)
print(text.decode().replace("\r", "").replace("\n", " "))
END
viewer=$!
listens() { [ -S "$WORK/console" ]; }
within 10 listens
oci create --bundle "$WORK/term" --pid-file "$WORK/pid" --console-socket "$WORK/console" term
oci start term
wait "$viewer" || fail "no terminal came"
is "the terminal" "$(cat "$WORK/terminal")" "/dev/pts/0 33 101 "
oci kill term KILL
oci delete --force term
is "none is left" "$(oci list -q)" ""
