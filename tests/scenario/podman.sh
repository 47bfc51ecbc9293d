#!/bin/sh
# `strata oci` under an engine that calls a runtime: podman runs, execs into, stops and
# removes containers with it.
# rows: OSL-10
. "$(dirname "$0")/lib.sh"
need_root
need_cmd podman conmon
need_busybox

ln -s "$STRATA" "$WORK/strata-oci"
limits="--ulimit nofile=1024:1024 --ulimit nproc=1024:1024" # else it asks for more than a host may give
engine() {
    podman --root "$WORK/podman" --runroot "$WORK/podman-run" --cgroup-manager=cgroupfs \
        --storage-driver=vfs --runtime "$WORK/strata-oci" "$@"
}
cp "$WORK/.busybox.tar" "$WORK/root.tar"
engine import "$WORK/root.tar" box >/dev/null 2>&1 || skip "podman does not work on this host"

run_in() { engine run --network none $limits "$@"; }
is "run" "$(run_in --rm box /bin/echo hello)" hello
fails 3 engine run --rm --network none $limits box /bin/sh -c 'exit 3'
is "a terminal" "$(run_in --rm -t box /bin/sh -c 'test -t 0 && echo yes' | tr -d '\r')" yes

run_in -d --name web box /bin/sleep 1000 >/dev/null
is "exec" "$(engine exec web /bin/echo inside)" inside
is "exec as a user" "$(engine exec --user 1000:1000 web /bin/id -u)" 1000
fails 4 engine exec web /bin/sh -c 'exit 4'
engine pause web >/dev/null
is "paused" "$(engine inspect --format '{{.State.Status}}' web)" paused
engine unpause web >/dev/null
is "running" "$(engine inspect --format '{{.State.Status}}' web)" running
engine stop -t 1 web >/dev/null 2>&1
is "stopped" "$(engine inspect --format '{{.State.Status}}' web)" exited
engine rm web >/dev/null
is "removed" "$(engine ps -aq)" ""
