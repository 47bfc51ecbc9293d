#!/bin/sh
# The real lvm(8) on a loop device, told that there is no device mapper: what it takes, refuses and reports.
#
#     real.sh LVM-TEST
set -eu
test=$1
for tool in lvm losetup; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: not root"; exit 77; }
work=$(mktemp -d /var/tmp/lvm-real-XXXXXX)
device=
finish() {
    [ -z "$device" ] || losetup -d "$device" || true
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
truncate -s 256M "$work/disk"
device=$(losetup -f --show "$work/disk" 2>/dev/null) || { echo "skipped: no loop devices"; exit 77; }
mkdir "$work/etc" "$work/run"
cat >"$work/etc/lvm.conf" <<END
devices {
    use_devicesfile=0
    filter=["a|^$device\$|","r|.*|"]
    hints="none"
    obtain_device_list_from_udev=0
    external_device_info_source="none"
    sysfs_scan=0
    md_component_detection=0
}
global { use_lvmpolld=0 locking_dir="$work/run" event_activation=0 thin_check_executable="" }
activation { monitoring=0 udev_sync=0 udev_rules=0 }
backup { backup=0 archive=0 }
END
cat >"$work/lvm" <<END
#!/bin/sh
export LVM_SYSTEM_DIR="$work/etc"
word=\$1
shift
exec lvm "\$word" --driverloaded n "\$@"
END
chmod +x "$work/lvm"

# A group with a thin pool, which the program only makes with a device mapper: its text is edited and restored.
{
    "$work/lvm" pvcreate -y "$device"
    "$work/lvm" vgcreate vg "$device"
    "$work/lvm" lvcreate -an -Zn -Wn -L 64M -n tp_d vg
    "$work/lvm" lvcreate -an -Zn -Wn -L 4M -n tp_m vg
    "$work/lvm" vgcfgbackup -f "$work/text" vg
} >"$work/out" 2>&1 || fail "no group: $(cat "$work/out")"
python3 - "$work/text" <<'END'
import sys

path = sys.argv[1]
text = open(path, encoding="ascii").read()
text = text.replace("\t\ttp_d {", "\t\ttp_tdata {").replace("\t\ttp_m {", "\t\ttp_tmeta {")
text = text.replace('status = ["READ", "WRITE", "VISIBLE"]', 'status = ["READ", "WRITE"]')
KINDS = {
    "tp": (16, 'type="thin-pool" metadata="tp_tmeta" pool="tp_tdata" transaction_id=3 chunk_size=128'
               ' discards="passdown" zero_new_blocks=1'),
    "v1": (24, 'type="thin" thin_pool="tp" transaction_id=0 device_id=1'),
    "s1": (24, 'type="thin" thin_pool="tp" transaction_id=1 device_id=2 origin="v1"'),
}
added = ""
for i, (name, (extents, kind)) in enumerate(KINDS.items()):
    added += (f'\n{name} {{ id="AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAA{i}" status=["READ","WRITE","VISIBLE"]'
              f' segment_count=1 segment1 {{ start_extent=0 extent_count={extents} {kind} }} }}')
end = text.index("\n\t}\n", text.index("logical_volumes {"))
open(path, "w", encoding="ascii").write(text[:end] + added + text[end:])
END
"$work/lvm" vgcfgrestore --force -f "$work/text" vg >"$work/out" 2>&1 || fail "not restored: $(cat "$work/out")"
"$test" real "$work/lvm" vg tp
