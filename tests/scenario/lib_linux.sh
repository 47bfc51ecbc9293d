# lib_linux.sh - sourced by scenarios whose machines boot a stock kernel: `need_linux MODULE...`, then
# `linux_initrd FILE [EXTRA...] <SCRIPT`.
. "$TOP/tests/linux.sh"

# The kernel in $LINUX, and the modules of a virtio device of PCI with those that are named.
need_linux() {
    [ -x /bin/busybox ] || skip "needs the package busybox-static"
    need_cmd python3
    linux_find virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci "$@"
    # shellcheck disable=SC2154
    LINUX=$linux LINUX_MODULES=$modules
}

# An initial RAM disk with busybox, the modules, EXTRA files and a program of standard input, whose
# words are those behind " -- " of the command line.
linux_initrd() { # FILE [EXTRA...]
    linux_to=$1
    shift
    {
        echo '#!/busybox sh'
        echo '/busybox mkdir -p /bin /etc /proc /sys /tmp && /busybox --install -s /bin'
        echo 'export PATH=/bin; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
        echo 'echo "hosts: files dns" >/etc/nsswitch.conf' # else the C library asks what is not there
        for module in $LINUX_MODULES; do echo "insmod /${module##*/}"; done
        cat
        echo 'poweroff -f'
    } >"$WORK/.init"
    # shellcheck disable=SC2086
    python3 "$TOP/tests/virt/monitor/cpio.py" "$WORK/.init" "$linux_to" /bin/busybox $LINUX_MODULES "$@"
}
