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

# What a build is told beside its file; the base image's triggers; one instruction at a time.
printf 'FROM busybox\nONBUILD COPY data /here\nONBUILD RUN cat /here >/twice\n' >"$WORK/src/base"
strata image build "$WORK/src" --file "$WORK/src/base" --tag base >/dev/null
printf 'FROM base\nLABEL a=file\nRUN <<EOF\n#!/bin/sh -e\ncat /here /twice >/all\nEOF\n' >"$WORK/src/child"
strata image build "$WORK/src" --file "$WORK/src/child" --tag child --label a=told --label b=2 >/dev/null
is "triggered" "$(strata run --rm child cat /all)" "data
data"
is "labels" "$(strata image inspect --json child | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["config"]["Labels"])')" "{'a': 'told', 'b': '2'}"
is "no debris in the layer" "$(strata run --rm child ls -A /dev | grep build-script || :)" ""
strata create --name still child >/dev/null
strata image commit still quiet --change 'ENTRYPOINT ["/bin/echo"]' --change 'CMD ["said"]' >/dev/null
strata delete still >/dev/null
is "changed" "$(strata run --rm quiet)" said
fails 1 strata image import "$WORK/made.dir" --change 'CMD x' other
has "only for root file systems" "$OUT" "root file system"
mkdir -p "$WORK/tree/bin"
cp /bin/busybox "$WORK/tree/bin/"
touch "$WORK/tree/manifest.json" # looks like an archive of images
tar -C "$WORK/tree" -cf "$WORK/tree.tar" .
fails 1 strata image import "$WORK/tree.tar" tree
strata image import --format tar --change 'CMD ["/bin/busybox", "echo", "a tree"]' "$WORK/tree.tar" tree >/dev/null
is "a root file system" "$(strata run --rm tree)" "a tree"
fails 1 strata image import --format oci "$WORK/tree" tree
has "no layout" "$OUT" "no OCI layout"
fails 1 strata image build busybox --include vim
has "no packages" "$OUT" "only 'debian'"
strata image delete base child quiet tree >/dev/null

# A layer may link to a file of the layers below it, as some builders write it.
python3 - "$WORK/made.dir" "$WORK/linked" <<'PYTHON'
import hashlib, io, json, shutil, sys, tarfile
shutil.copytree(sys.argv[1], sys.argv[2])
at = sys.argv[2] + "/blobs/sha256/"
def load(d): return json.load(open(at + d["digest"][7:]))
def save(data, **more):
    digest = hashlib.sha256(data).hexdigest()
    open(at + digest, "wb").write(data)
    return dict(more, digest="sha256:" + digest, size=len(data))
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as t:
    link = tarfile.TarInfo("srv/linked")
    link.type, link.linkname = tarfile.LNKTYPE, "srv/file"
    t.addfile(link)
index = json.load(open(sys.argv[2] + "/index.json"))
manifest = load(index["manifests"][0])
config = load(manifest["config"])
manifest["layers"].append(save(tar.getvalue(), mediaType="application/vnd.oci.image.layer.v1.tar"))
config["rootfs"]["diff_ids"].append(manifest["layers"][-1]["digest"])
config["history"].append({"created_by": "a link"})
manifest["config"].update(save(json.dumps(config).encode()))
index["manifests"][0].update(save(json.dumps(manifest).encode()))
json.dump(index, open(sys.argv[2] + "/index.json", "w"))
PYTHON
strata image import "$WORK/linked" linked >/dev/null
is "the link" "$(strata run --rm linked linked)" "hello you"
is "is one file" "$(strata run --rm --user 0 --entrypoint sh linked -- -c 'stat -c %i /srv/file /srv/linked | uniq | wc -l')" 1
strata run --rm --user 0 --entrypoint sh linked -- -c 'echo changed >/srv/linked'
is "and stays for others" "$(strata run --rm linked file)" "hello you"
strata image delete linked >/dev/null

# Damage behind our back is found, and is not used.
strata image verify >/dev/null
blob=$STATE/images/blobs/sha256/$(strata image inspect --json changed | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["digest"][7:])')
chmod 600 "$blob"
cp "$blob" "$WORK/blob"
printf '\n' >>"$blob"
fails 1 strata image verify
has "what is wrong" "$OUT" "is damaged"
fails 125 strata run --rm changed true
has "not used" "$OUT" "damaged"
cp "$WORK/blob" "$blob"
strata image verify >/dev/null

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
