# linux.sh - read by the scripts that boot a distribution's kernel: where it is.
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /); tools/check fetches one.
# STRATA_RELEASE: where the optimised programs lie; a boot under the sanitizers takes four times as long.

# linux_find MODULE... - sets `linux`, the newest kernel there, and `modules`, the paths of those modules that the
# kernel has as files; ends the script as skipped where there is no kernel, or where none of the modules is a file.
linux_find() {
    below=${STRATA_LINUX:-/}
    linux=$(find "$below/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
    modules=
    for name; do
        modules="$modules $(find "$below/lib/modules" -name "$name.ko" 2>/dev/null | sort | tail -n 1)"
    done
    if [ -z "$linux" ]; then
        echo "skipped: no Linux kernel below $below/boot (STRATA_LINUX)"
        exit 77
    fi
    if [ $# -gt 0 ] && [ -z "$(echo $modules)" ]; then
        echo "skipped: no modules of the kernel below $below/lib/modules (STRATA_LINUX)"
        exit 77
    fi
}

# linux_program PATH - prints where that program is in the optimised build, if there is one, else PATH.
linux_program() {
    if [ -x "${STRATA_RELEASE:-}/${1##*/}" ]; then
        echo "$STRATA_RELEASE/${1##*/}"
    else
        echo "$1"
    fi
}
