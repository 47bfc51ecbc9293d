#!/bin/sh
# setup.sh SECTION... - make sure that the packages of those sections of
# tools/packages are installed.  As root the missing ones are installed;
# otherwise the one command to run is printed and the exit code is 1.
set -eu
list=${STRATA_PACKAGES:-$(dirname "$0")/packages}

wanted() {
    for section in "$@"; do
        awk -v want="[$section]" '
            /^\[/ { on = $1 == want; found = found || on; next }
            on && NF && $1 !~ /^#/ { print $1 }
            END { exit !found }' "$list" ||
            { echo "setup: '$list' has no section [$section]" >&2; exit 2; }
    done
}

is_installed() {
    dpkg-query -W -f '${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q '^ii'
}

[ $# -gt 0 ] || set -- build run check
names=$(wanted "$@") || exit 2
if ! command -v dpkg-query >/dev/null; then
    echo "setup: no dpkg here; this system must already have what '$list' names" >&2
    exit 0
fi
missing=
for name in $names; do
    case " $missing " in *" $name "*) continue ;; esac
    is_installed "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

echo "setup: missing packages:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "setup: run this, then try again:"
    echo "sudo apt-get install --no-install-recommends -y$missing"
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086 # a list of names
    apt-get install --no-install-recommends -y -q $missing </dev/null
}
install || { apt-get update -q </dev/null && install; }
