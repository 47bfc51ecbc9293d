#!/bin/sh
# Push to a real registry and pull back, with and without a login; another client agrees.
# rows: OPS-11
. "$(dirname "$0")/lib.sh"
need_root
need_cmd docker-registry htpasswd skopeo curl
need_busybox

port=$((21000 + $$ % 10000))
at=127.0.0.1:$port
htpasswd -Bbn anna secret >"$WORK/users"
cat >"$WORK/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $WORK/registry}, delete: {enabled: true}}
http: {addr: "$at", net: tcp}
auth: {htpasswd: {realm: test, path: $WORK/users}}
YML
docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
server=$!
on_exit() { kill $server 2>/dev/null || :; wait $server 2>/dev/null || :; }
up() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://$at/v2/")" = 401 ]; }
within 10 up

strata image tag busybox "$at/team/box:1" >/dev/null
fails 1 strata image push --plain-http "$at/team/box:1"
echo wrong | fails 1 strata image login --plain-http --user anna --password-stdin "$at"
echo secret | strata image login --plain-http --user anna --password-stdin "$at" >/dev/null
strata image push --plain-http "$at/team/box:1" >/dev/null
pushed=$(strata image inspect --json busybox | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["digest"])')
is "another client sees it" \
    "$(skopeo inspect --tls-verify=false --creds anna:secret --format '{{.Digest}}' "docker://$at/team/box:1")" "$pushed"

strata image delete "$at/team/box:1" busybox >/dev/null
strata image prune >/dev/null
is "gone here" "$(strata image list --quiet)" ""
strata image pull --plain-http "$at/team/box:1" >/dev/null
is "it runs" "$(strata run --rm "$at/team/box:1" echo pulled)" pulled

skopeo copy -q --dest-tls-verify=false --dest-creds anna:secret "oci:$STATE/images:$at/team/box:1" \
    "docker://$at/theirs:2"
strata image pull --plain-http "$at/theirs:2" >/dev/null
is "theirs runs" "$(strata run --rm "$at/theirs:2" echo theirs)" theirs
fails 1 strata image pull --plain-http "$at/nosuch:1"
has "names the image" "$OUT" "nosuch"

# A guest of an image that is not here yet.
strata image delete "$at/theirs:2" "$at/team/box:1" >/dev/null
strata image prune >/dev/null
fails 125 strata run --rm --pull never "$at/theirs:2" true
is "fetched for a guest" "$(strata run --rm "$at/theirs:2" echo fetched)" fetched

# A build fetches what it stands on; short names and mirrors come from a file that is empty at first.
strata image delete "$at/theirs:2" >/dev/null
printf 'FROM %s/theirs:2\nRUN echo built >/built\n' "$at" >"$WORK/Containerfile"
fails 1 strata image build --pull never --tag above "$WORK"
has "not fetched" "$OUT" "is not in the store"
strata image build --plain-http --tag above "$WORK" >/dev/null
is "fetched for a build" "$(strata run --rm above cat /built)" built
echo 'FROM box' >"$WORK/Containerfile"
echo 'CMD ["echo", "short"]' >>"$WORK/Containerfile"
fails 1 strata image build --tag short "$WORK"
has "asks for a full name" "$OUT" "full reference"
fails 1 strata image pull box
has "as pull does" "$OUT" "registries.json"
echo "{\"names\": {\"box\": \"$at/team/box:1\"}}" >"$STATE/registries.json"
fails 1 strata image build --tag short "$WORK" # no tag was given: 'latest' is wanted
printf 'FROM box:1\nCMD ["echo", "short"]\n' >"$WORK/Containerfile"
strata image build --tag short "$WORK" >/dev/null
is "by a short name" "$(strata run --rm short)" short
has "named both ways" "$(strata image list --quiet)" "box:1"
echo "{\"default\": \"$at/team\", \"mirrors\": {\"far.example\": [\"127.0.0.1:1\", \"$at\"]}}" >"$STATE/registries.json"
strata image delete box:1 >/dev/null
strata image pull box:1 >/dev/null
strata image pull far.example/team/box:1 >/dev/null
is "from a mirror" "$(strata run --rm far.example/team/box:1 echo mirrored)" mirrored
echo '{"nmaes": {}}' >"$STATE/registries.json"
fails 1 strata image pull box:1
has "a misspelt member" "$OUT" "nmaes"
