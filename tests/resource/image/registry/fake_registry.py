#!/usr/bin/python3
"""A registry for tests, good or hostile by the name of the repository.

Prints its port (and the port of a second listener, another "host") on the first line.
GET /stats answers what was served.  Ends when standard input closes.
"""
import base64, gzip, hashlib, http.server, io, json, os, random, sys, tarfile, threading, time, urllib.parse

MiB = 1 << 20
lock = threading.Lock()
stats = {"put_bytes": 0, "refreshed": 0, "blob_bytes": 0, "foreign_auth": 0, "tokens": 0, "requests": 0, "most": 0, "now": 0}
counts = {}
uploads = {}  # "REPO/ID": the bytes that came
ports = []


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_layer(seed, size):
    data = random.Random(seed).randbytes(size)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        info = tarfile.TarInfo("file%d" % seed)
        info.size = size
        t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make_image(arch, seeds, size):
    blobs, layers, diffs = {}, [], []
    for seed in seeds:
        plain = make_layer(seed, size)
        packed = gzip.compress(plain, 1, mtime=0)
        blobs[sha(packed)] = packed
        diffs.append(sha(plain))
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                       "digest": sha(packed), "size": len(packed)})
    config = json.dumps({"architecture": arch, "os": "linux", "config": {"Env": ["A=" + arch]},
                         "rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    blobs[sha(config)] = config
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                           "digest": sha(config), "size": len(config)}, "layers": layers}
    return manifest, blobs


GOOD, BLOBS = make_image("amd64", [1, 2, 3, 4], 2 * MiB)
BIG, big_blobs = make_image("amd64", [5], 6 * MiB)
OTHER, other_blobs = make_image("arm64", [6], 1000)
BLOBS.update(big_blobs)
BLOBS.update(other_blobs)
manifests = {}


def desc(manifest, **more):
    data = json.dumps(manifest).encode()
    manifests[sha(data)] = data
    return dict({"mediaType": manifest["mediaType"], "digest": sha(data), "size": len(data)}, **more)


INDEX = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
    desc(OTHER, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
    desc(GOOD, platform={"os": "linux", "architecture": "amd64"})]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, body=b"", headers={}, length=None):
        self.send_response(code)
        for k, v in headers.items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def bump(self, key, n=1):
        with lock:
            counts[key] = counts.get(key, 0) + n
            return counts[key]

    def is_token_ok(self):
        return self.headers.get("Authorization", "") == "Bearer opensesame"

    def challenge(self, realm):
        self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', {
            "WWW-Authenticate": 'Bearer realm="%s",service="fake",scope="x"' % realm})

    def token(self):
        with lock:
            stats["tokens"] += 1
        auth = self.headers.get("Authorization", "")
        if "open" not in self.path and auth != "Basic " + base64.b64encode(b"ann:secret").decode():
            return self.answer(401)
        self.answer(200, b'{"token":"opensesame"}')

    # ---- what clients send; the name of the repository says what goes wrong ----

    def take(self, limit):
        """At most `limit` bytes of the body; the rest is cut off with the connection."""
        length = int(self.headers.get("Content-Length", "0"))
        data = b""
        while len(data) < min(length, limit):
            piece = self.rfile.read(min(65536, min(length, limit) - len(data)))
            if not piece:
                break
            data += piece
        with lock:
            stats["put_bytes"] += len(data)
        return data, len(data) == length

    def refresh(self):
        """A token for an identity token: a form, never a query."""
        data, _ = self.take(MiB)
        form = urllib.parse.parse_qs(data.decode())
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != ["long/lived+token"] \
                or not form.get("scope") or self.headers.get("Authorization"):
            return self.answer(400, b'{"error":"invalid_grant"}')
        with lock:
            stats["refreshed"] += 1
        self.answer(200, b'{"access_token":"opensesame","refresh_token":"long/lived+token"}')

    def do_POST(self):
        path = self.path.split("?")[0]
        if path.startswith("/token"):
            return self.refresh()
        repo = path.split("/")[2]
        self.take(0)
        key = "%s/%d" % (repo, self.bump("uploads"))
        uploads[key] = b""
        self.answer(202, b"", {"Location": self.place(repo, key), "Range": "0-0"})

    def place(self, repo, key):
        port = ports[1] if repo == "elsewhere" else ports[0]
        return "http://127.0.0.1:%d/uploads/%s?state=x" % (port, key)

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def do_PATCH(self):
        self.send(False)

    def do_PUT(self):
        path = self.path.split("?")[0]
        if "/manifests/" in path:
            data, _ = self.take(4 * MiB)
            return self.answer(201, b"", {"Docker-Content-Digest": sha(data)})
        self.send(True)

    def send(self, last):
        key = self.path.split("?")[0][len("/uploads/"):]
        repo = key.split("/")[0]
        if self.headers.get("Authorization") and self.server.server_address[1] != ports[0]:
            with lock:
                stats["foreign_auth"] += 1
        if key not in uploads:
            self.take(0)
            return self.hang_up()
        big = int(self.headers.get("Content-Length", "0")) > 65536
        turn = self.bump(repo + ".send") if big else 0
        if repo == "busy" and turn == 1:
            self.take(1 << 40)
            return self.answer(503)
        limit = 1 << 40
        if big and (repo == "never" or repo == "rewinds" or repo == "drops" and turn <= 4 or
                    repo in ("forgets", "lies", "elsewhere") and turn == 1):
            limit = MiB + MiB // 2
        if big and repo == "never":
            limit = 1000
        if repo == "outoforder" and turn == 2:
            uploads[key] = uploads[key][:1000]  # lost what it had said to have
        start = self.headers.get("Content-Range")
        if start and repo != "lies" and int(start.split("-")[0]) != len(uploads[key]):
            self.take(1 << 40)
            return self.answer(416, b"", {"Range": "0-%d" % (len(uploads[key]) - 1)})
        data, whole = self.take(limit)
        if repo != "never" or not big:
            uploads[key] += data
        if not whole:
            if repo == "forgets":
                del uploads[key]
            return self.hang_up()
        if not last:
            return self.answer(202, b"", {"Location": self.place(repo, key), "Range": "0-%d" % (len(uploads[key]) - 1)})
        digest = urllib.parse.parse_qs(self.path.split("?")[1])["digest"][0]
        if sha(uploads[key]) != digest:
            return self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        BLOBS[digest] = uploads.pop(key)
        if repo == "silent" and big and self.bump("silent") == 1:
            return self.hang_up()  # took it all, and never said so
        self.answer(201, b"", {"Docker-Content-Digest": digest})

    def how_far(self, key):
        repo = key.split("/")[0]
        if key not in uploads:
            return self.answer(404)
        have = len(uploads[key])
        if repo == "lies":
            have = 3 * MiB  # more than it got
        if repo == "rewinds" and self.bump("rewinds") % 2 == 0:
            uploads[key] = b""
            have = 0
        self.answer(204, b"", {"Location": self.place(repo, key), "Range": "0-%d" % max(have - 1, 0)})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        with lock:
            stats["requests"] += 1
        path = self.path.split("?")[0]
        here = self.server.server_address[1]
        if path == "/stats":
            with lock:
                return self.answer(200, json.dumps(stats).encode())
        if path.startswith("/token"):
            return self.token()
        if path.startswith("/elsewhere/"):
            if self.headers.get("Authorization"):
                with lock:
                    stats["foreign_auth"] += 1
            return self.blob("good", path.split("/")[-1])
        if path.startswith("/uploads/"):
            return self.how_far(path[len("/uploads/"):])
        if path == "/v2/":
            return self.answer(200, b"{}")
        parts = path.split("/")
        repo, kind, what = parts[2], parts[3], parts[4]
        if repo == "identity" and not self.is_token_ok():
            return self.challenge("http://127.0.0.1:%d/token" % ports[0])
        if repo.startswith("token") and not self.is_token_ok():
            return self.challenge("http://127.0.0.1:%d/token" % ports[0])
        if repo == "opentoken" and not self.is_token_ok():
            return self.challenge("http://127.0.0.1:%d/token/open" % ports[0])
        if repo == "realm":
            return self.challenge("http://tokens.example/token")
        if repo == "brokentoken":
            return self.challenge("http://127.0.0.1:%d/v2/" % ports[0])
        if repo == "basic" and not self.headers.get("Authorization", "").startswith("Basic "):
            return self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        if repo == "nobody":
            return self.answer(401, b"", {"WWW-Authenticate": "Negotiate"})
        if repo == "forbidden":
            return self.answer(403, b'{"errors":[{"code":"DENIED","message":"go \\u001b[31m away"}]}')
        if kind == "manifests":
            return self.manifest(repo, what)
        return self.blob(repo, what)

    def manifest(self, repo, what):
        kind = "application/vnd.oci.image.manifest.v1+json"
        if what in manifests:
            return self.answer(200, manifests[what], {"Content-Type": json.loads(manifests[what])["mediaType"]})
        if repo == "hugemanifest":
            return self.answer(200, b" " * (5 * MiB), {"Content-Type": kind})
        if repo == "hugeheaders":
            return self.answer(200, b"{}", {"X-%d" % i: "y" * 8000 for i in range(50)})
        if repo == "badjson":
            return self.answer(200, b'{"schemaVersion": 2,', {"Content-Type": kind})
        if repo == "notobject":
            return self.answer(200, b'[1]', {"Content-Type": kind})
        if repo == "schema1":
            return self.answer(200, b'{"schemaVersion": 1}', {"Content-Type": kind})
        if repo == "artifact":
            body = dict(GOOD, config=dict(GOOD["config"], mediaType="application/x-thing"))
            return self.answer(200, json.dumps(body).encode(), {"Content-Type": kind})
        if repo == "baddigest":
            body = dict(GOOD, layers=[dict(GOOD["layers"][0], digest="sha256:../../../../etc/passwd")])
            return self.answer(200, json.dumps(body).encode(), {"Content-Type": kind})
        if repo == "badsize":
            body = dict(GOOD, layers=[dict(GOOD["layers"][0], size=-5)])
            return self.answer(200, json.dumps(body).encode(), {"Content-Type": kind})
        if repo == "fewlayers":
            body = dict(GOOD, layers=GOOD["layers"][:2])
            return self.answer(200, json.dumps(body).encode(), {"Content-Type": kind})
        if repo == "liar":
            return self.answer(200, json.dumps(GOOD).encode(), {
                "Content-Type": kind, "Docker-Content-Digest": "sha256:" + "0" * 64})
        if repo == "loop":
            return self.answer(307, b"", {"Location": self.path})
        if repo == "nowhere":
            return self.answer(302, b"", {"Location": "file:///etc/passwd"})
        if repo == "down":
            return self.answer(503)
        if repo == "flaky" and self.bump("flaky.manifest") <= 2:
            return self.answer(502)
        if repo == "index" or repo == "indexindex":
            body = INDEX
            if repo == "indexindex":
                body = dict(INDEX, manifests=[desc(INDEX, platform={"os": "linux", "architecture": "amd64"})])
            return self.answer(200, json.dumps(body).encode(), {"Content-Type": body["mediaType"]})
        image = BIG if repo in ("cut", "cutonce", "norange", "late") else GOOD
        self.answer(200, json.dumps(image).encode(), {"Content-Type": kind})

    def blob(self, repo, what):
        data = BLOBS.get(what)
        if data is None:
            return self.answer(404)
        layer = len(data) > 4096
        if repo == "redirect" and layer:
            return self.answer(307, b"", {"Location": "http://127.0.0.1:%d/elsewhere/%s" % (ports[1], what)})
        if repo == "wrongdigest" and layer:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if repo == "short" and layer:
            data = data[:-1]
        if repo == "long" and layer:
            data = data + b"x"
        if repo == "wrongconfig" and not layer:
            data = b"{" + data[1:-1] + b" "
        if repo == "gone" and layer:
            return self.answer(404)
        if repo == "flaky" and layer and self.bump("flaky." + what) <= 1:
            return self.answer(500)
        if repo == "endless" and layer:
            return self.endless()
        if repo == "slow" and layer:
            return self.slow()
        self.send_part(repo, data, layer)

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"10000\r\n" + b"z" * 65536 + b"\r\n")
        except OSError:
            self.close_connection = True

    def slow(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.5)
        except OSError:
            pass
        self.close_connection = True

    def send_part(self, repo, data, layer):
        start, code, headers = 0, 200, {}
        ask = self.headers.get("Range")
        if ask and repo != "norange":
            start = int(ask.split("=")[1].split("-")[0])
            if start >= len(data):
                return self.answer(416)
            if repo == "late":  # answers with another part than asked
                start -= 1
            headers["Content-Range"] = "bytes %d-%d/%d" % (start, len(data) - 1, len(data))
            code = 206
        body = data[start:]
        cut = None
        if layer and repo in ("cut", "late"):
            cut = 2 * MiB
        if layer and repo in ("cutonce", "norange") and self.bump(repo) == 1:
            cut = 2 * MiB
        with lock:
            stats["now"] += 1
            stats["most"] = max(stats["most"], stats["now"])
        if layer and repo == "good":
            time.sleep(0.1)
        if cut is not None and cut < len(body):
            self.answer(code, body[:cut], headers, len(body))
            self.wfile.flush()
            body = body[:cut]
            self.close_connection = True
        else:
            self.answer(code, body, headers)
        with lock:
            stats["now"] -= 1
            if layer:
                stats["blob_bytes"] += len(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
ports += [s.server_address[1] for s in servers]
for s in servers:
    threading.Thread(target=s.serve_forever, daemon=True).start()
print(*ports, flush=True)
sys.stdin.read()
os._exit(0)
