# lib_oci.sh - sourced after lib.sh by the scenarios of `strata oci`: bundles of busybox,
# and a state root $OCI_ROOT whose containers are deleted at the end.
OCI_ROOT=$WORK/oci
[ -x /bin/busybox ] || skip "needs the package busybox-static"

oci() {
    "$STRATA" oci --root "$OCI_ROOT" "$@"
}

# bundle NAME [PYTHON] - $WORK/NAME with a usual configuration, `c`, changed by the lines.
bundle() {
    mkdir -p "$WORK/$1/rootfs/bin" "$WORK/$1/rootfs/proc" "$WORK/$1/rootfs/dev" \
        "$WORK/$1/rootfs/sys" "$WORK/$1/rootfs/tmp" "$WORK/$1/rootfs/etc"
    if [ ! -e "$WORK/$1/rootfs/bin/busybox" ]; then
        cp /bin/busybox "$WORK/$1/rootfs/bin/busybox"
        for name in sh cat ls sleep echo id grep ps env mount touch readlink test true ip; do
            ln -s busybox "$WORK/$1/rootfs/bin/$name"
        done
    fi
    rm -f "$WORK/$1/config.json"
    "$STRATA" oci spec --bundle "$WORK/$1"
    # Groups of its own: other scenarios have containers of the same names.
    change "$1" "c['process']['terminal'] = False; c['root']['readonly'] = False
c['linux']['cgroupsPath'] = '/strata/oci-$$-$1'
${2:-}"
}

# change NAME PYTHON - once more.
change() {
    python3 - "$WORK/$1/config.json" "$2" <<'END'
import json, sys
c = json.load(open(sys.argv[1]))
def args(*a): c["process"]["args"] = list(a)
def sh(text): args("/bin/sh", "-c", text)
exec(sys.argv[2])
json.dump(c, open(sys.argv[1], "w"))
END
}

on_exit() {
    for id in $(oci list -q 2>/dev/null); do
        oci delete --force "$id" >/dev/null 2>&1
    done
}
