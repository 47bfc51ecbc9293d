#!/bin/sh
# build.sh dev|release - configure once, then build, in build/NAME.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
dev) set -- dev -Dtests=true ;;
release)
    # Tests need the sanitized build; without them the release needs no cmocka.
    set -- release -Dtests=false -Db_sanitize=none -Dbuildtype=release -Db_pie=true ;;
*) echo "usage: build.sh dev|release" >&2; exit 2 ;;
esac
name=$1
shift
if [ ! -f "build/$name/build.ninja" ]; then
    meson setup "build/$name" "$@" >"/tmp/strata-setup.$$" || { cat "/tmp/strata-setup.$$"; rm -f "/tmp/strata-setup.$$"; exit 1; }
    rm -f "/tmp/strata-setup.$$"
fi
ninja -C "build/$name" --quiet
