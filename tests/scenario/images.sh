#!/bin/sh
# Images: built from a Containerfile with a cache, committed, moved as files, accepted by
# other tools, pruned.
# rows: OSL-07 OSL-11
. "$(dirname "$0")/lib.sh"
need_root
need_cmd skopeo umoci
need_busybox

mkdir "$WORK/src"
echo data >"$WORK/src/data"
cat >"$WORK/src/Containerfile" <<'FILE'
FROM busybox AS first
ARG WHO=world
ENV GREETING=hello
RUN mkdir -p /srv && echo "$GREETING $WHO" >/srv/file && echo $$ >/srv/mark-$WHO
FROM busybox
COPY --from=first /srv /srv
COPY --chmod=600 data /srv/data
WORKDIR /srv
USER 1000
LABEL part=test
EXPOSE 80
ENTRYPOINT ["/bin/cat"]
CMD ["file"]
FILE
strata image build "$WORK/src" --tag made:1 --build-arg WHO=you >/dev/null
is "runs" "$(strata run --rm made:1)" "hello you"
is "as its user" "$(strata run --rm --entrypoint id made:1 -- -u)" 1000
fails 1 strata run --rm made:1 data
one=$(strata image inspect --json made:1 | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["layers"])')
strata image build "$WORK/src" --tag made:2 --build-arg WHO=you >/dev/null
two=$(strata image inspect --json made:2 | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["layers"])')
is "all from the cache" "$two" "$one"
printf 'FROM busybox\nRUN exit 7\n' >"$WORK/src/bad"
fails 1 strata image build "$WORK/src" --file "$WORK/src/bad"
has "names the line" "$OUT" "2"
printf 'FROM busybox\nRUNN true\n' >"$WORK/src/bad"
fails 1 strata image build "$WORK/src" --file "$WORK/src/bad"
has "nearest word" "$OUT" "RUN"

strata image export made:1 "$WORK/made.oci.tar" --format oci
strata image export made:1 "$WORK/made.docker.tar" --format docker
strata image export made:1 "$WORK/made.dir" --format dir
is "another tool reads it" "$(skopeo inspect --format '{{index .Labels "part"}}' "oci-archive:$WORK/made.oci.tar")" test
skopeo copy -q "docker-archive:$WORK/made.docker.tar" "oci:$WORK/theirs:theirs"
strata image import "$WORK/theirs" theirs >/dev/null
is "theirs runs" "$(strata run --rm theirs)" "hello you"
umoci unpack --image "$WORK/theirs:theirs" "$WORK/unpacked" >/dev/null 2>&1
is "and is the same" "$(cat "$WORK/unpacked/rootfs/srv/file")" "hello you"

strata run --name change busybox sh -c 'echo new >/new; rm /bin/ls' 
strata image commit change changed --message "a change" >/dev/null
strata delete change >/dev/null
is "committed" "$(strata run --rm changed cat /new)" new
fails 127 strata run --rm changed ls

# Two versions of one program at once.
strata run -d --name old busybox sleep 1000 >/dev/null
strata run -d --name new changed sleep 1000 >/dev/null
strata exec old ls / >/dev/null
fails 127 strata exec new ls /
fails 1 strata image delete changed
has "in use" "$OUT" "guest"
strata delete --force old new >/dev/null
strata image delete made:1 made:2 theirs changed >/dev/null
strata image prune >/dev/null
is "what is left" "$(strata image list --quiet)" "busybox:latest"
