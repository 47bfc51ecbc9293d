#!/bin/sh
# A service with a database on a block volume: backed up to the pool's slow tier while it writes, its disk destroyed,
# made anew of the backups, at work again with all that was acknowledged before the backup.
# timeout: 200
# rows: STO-05 STO-07 STO-11 OPS-10
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd sqlite3 python3 mkfs.ext4 e2fsck
[ -c /dev/loop-control ] || skip "needs loop devices"
need_busybox
libraries=$(dirname "$(ldd "$(command -v sqlite3)" | sed -n 's/.*libc\.so\.6 => \(.*\) (.*/\1/p')")
loader=$(ldd "$(command -v sqlite3)" | sed -n 's/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) (.*/\1/p')
[ -n "$loader" ] || skip "needs a sqlite3 with shared libraries"
mkdir "$WORK/tools" "$WORK/ld"
cp "$(command -v sqlite3)" "$WORK/tools/sqlite3"
cp "$loader" "$WORK/ld/"

strata pool create p --member "$WORK/usual" --member "$WORK/slow,class=archive" >/dev/null
strata volume create --pool p --class archive old >/dev/null
archive=$(strata volume inspect --json old | sed -n 's/.*"path": "\(.*\)".*/\1/p' | head -n 1)
case $archive in "$WORK/slow/"*) ;; *) fail "the archive lies at $archive" ;; esac
strata volume create --pool p --size 64M --format qcow2 --filesystem ext4 data >/dev/null

start() { # NAME - a database that grows, and who serves it
    strata run -d --name "$1" --network none -v data:/data -v "$WORK/tools:/tools:ro" -v "$WORK/ld:$(dirname "$loader"):ro" \
        -v "$libraries:/libraries:ro" busybox sh -c 'export LD_LIBRARY_PATH=/libraries
            /tools/sqlite3 -cmd ".timeout 10000" /data/book "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS line(n INTEGER PRIMARY KEY, text TEXT)" >/dev/null
            httpd -p 8080 -h /data
            while :; do
                /tools/sqlite3 -cmd ".timeout 10000" /data/book "INSERT INTO line(text) VALUES (hex(randomblob(400))); SELECT max(n) FROM line" >/data/told.new &&
                    mv /data/told.new /data/told
            done' >/dev/null
}
ask() { # NAME SQL
    strata exec "$1" sh -c "LD_LIBRARY_PATH=/libraries /tools/sqlite3 -cmd '.timeout 10000' /data/book '$2'"
}
served() { strata exec "$1" wget -qO - http://127.0.0.1:8080/told; }
has_lines() { [ "$(served "$1" 2>/dev/null || echo 0)" -ge "$2" ]; }

start web
within 30 has_lines web 20
strata volume backup data "$archive/data" >/dev/null
first=$(served web)
has_more() { has_lines web $((first + 20)); }
within 30 has_more
before=$(served web)
is "kept in use" "$(strata volume backup --json data "$archive/data" | sed -n 's/.*"kind": "\(.*\)".*/\1/p')" changes
within 30 has_lines web $((before + 1))
is "on the slow tier" "$(find "$WORK/usual" -name '*.qcow2' | wc -l) $(find "$WORK/slow" -name '000?.qcow2' | wc -l)" "0 2"

# The original is destroyed.
strata delete --force web >/dev/null
within 10 is_free data
strata volume delete --snapshots data >/dev/null
is "nothing is left of it" "$(find "$WORK/usual/layers" -type f)" ""
strata volume restore "$archive/data" data --pool p >/dev/null
start again
within 30 has_lines again $((before + 1))
is "the database" "$(ask again 'PRAGMA integrity_check')" ok
now=$(ask again 'SELECT count(*) = max(n) FROM line')
is "no line is missing" "$now" 1
[ "$(ask again 'SELECT max(n) FROM line')" -ge "$before" ] || fail "lines that were told before the backup are gone"
strata delete --force again >/dev/null

# So it is as of the first of them.
within 10 is_free data
strata volume delete --snapshots data >/dev/null
strata volume restore --at 0001 "$archive/data" data --pool p >/dev/null
strata run --rm --network none -v data:/data -v "$WORK/tools:/tools:ro" -v "$WORK/ld:$(dirname "$loader"):ro" \
    -v "$libraries:/libraries:ro" busybox sh -c 'LD_LIBRARY_PATH=/libraries /tools/sqlite3 -cmd ".timeout 10000" /data/book "PRAGMA integrity_check; SELECT max(n) FROM line"' >"$WORK/said"
is "as of the first" "$(head -n 1 "$WORK/said")" ok
[ "$(tail -n 1 "$WORK/said")" -lt "$before" ] || fail "the first backup has what came later"
within 10 is_free data
strata volume delete --snapshots data >/dev/null
strata volume delete old >/dev/null
