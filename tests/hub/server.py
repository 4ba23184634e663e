"""A hub of models and data sets on loopback, for tests: the API, the files, and a second port that
plays the network that large files come from ("cdn"). A test plants faults by setting attributes,
and reads what was asked in `requests`."""
import collections
import hashlib
import http.server
import json
import threading
import urllib.parse

COMMIT = "a" * 39 + "1"
Request = collections.namedtuple("Request", "place method path headers")


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    """Files by name; those in `large` lie in large storage, so they have a SHA-256 and come from
    the second port."""

    def __init__(self, files, large=(), commit=COMMIT):
        self.files, self.large, self.commit = dict(files), set(large), commit
        self.revisions = {"main", commit}
        self.listed = {}     # name -> what the list says of it, where that is not the truth
        self.extra = []      # further entries of the list
        self.bare = False    # the list has names alone, as that of a mirror
        self.refusal = None  # (status, headers) for all that is asked
        self.moved_to = None

    def entry(self, name):
        content = self.files[name]
        entry = {"rfilename": name}
        if not self.bare:
            entry.update(size=len(content), blobId=git_hash(content))
            if name in self.large:
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(),
                                "size": len(content), "pointerSize": 130}
        entry.update(self.listed.get(name, {}))
        return entry

    def listing(self):
        return {"id": "x", "sha": self.commit, "private": False, "gated": False,
                "siblings": [self.entry(name) for name in self.files] + self.extra}

    def etag(self, name):
        content = self.files[name]
        large = name in self.large
        return hashlib.sha256(content).hexdigest() if large else git_hash(content)


class Hub:
    """`faults` gives, for a name of a file or "api", a list of what the next requests meet; each is
    a dict with some of these keys:
      status, headers: answered instead of content
      cut: the connection ends after so many bytes of the content
      send: these bytes instead, with their own length
      close: and the end of the answer is the end of the connection, with no length
      stall: a threading.Event that is waited for after `after` bytes
      whole: the range that was asked for is ignored
      begin: the answer's range begins here
    """

    def __init__(self, certificate=None):
        self.repositories = {}
        self.faults = collections.defaultdict(list)
        self.requests = []
        self.api_text = None  # the API's answer, instead of a listing
        self.lock = threading.Lock()
        self.hub = self.serve("hub", certificate)
        self.cdn = self.serve("cdn", certificate)

    def serve(self, place, certificate):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # of clients that hang up
        server.place, server.state = place, self
        server.scheme = "http"
        if certificate:
            import ssl
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.scheme = "https"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01},
                         daemon=True).start()
        return server

    def url_of(self, server):
        return f"{server.scheme}://127.0.0.1:{server.server_address[1]}"

    @property
    def url(self):
        return self.url_of(self.hub)

    def close(self):
        for server in (self.hub, self.cdn):
            server.shutdown()
            server.server_close()

    def add(self, id, files, kind="models", **more):
        self.repositories[kind, id] = Repository(files, **more)
        return self.repositories[kind, id]

    def next_fault(self, name):
        with self.lock:
            faults = self.faults[name]
            return faults.pop(0) if faults else {}

    def asked(self, ending, method="GET", place=None):
        return [request for request in self.requests if request.path.endswith(ending)
                and request.method == method and place in (None, request.place)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which holds short answers back

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = urllib.parse.unquote(self.path.split("?")[0])
        state = self.server.state
        with state.lock:
            state.requests.append(Request(self.server.place, self.command, path,
                                          dict(self.headers.items())))
        try:
            if self.server.place == "cdn":
                _, kind, rest = path.split("/", 2)
                return self.answer_content(state.repositories[kind, rest.split("//")[0]],
                                           rest.split("//")[1])
            if path.startswith("/api/"):
                return self.answer_api(path)
            return self.answer_file(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, status, headers, body=b""):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.send(status, {"X-Error-Code": code, "X-Error-Message": code}, b'{"error":"no"}')

    def redirected(self, kind, id, path):
        """The repository, or None where that was answered."""
        repository = self.server.state.repositories.get((kind, id))
        if not repository:
            # As the hub has it: without an account, what is not there is not told from private.
            return self.refuse(404 if "Authorization" in self.headers else 401, "RepoNotFound")
        if repository.refusal:
            status, headers = repository.refusal
            return self.send(status, headers)
        if repository.moved_to:
            return self.send(307, {"Location": path.replace(id, repository.moved_to)})
        return repository

    def answer_api(self, path):
        state = self.server.state
        _, _, kind, rest = path.split("/", 3)
        id, revision = rest.split("/revision/")
        fault = state.next_fault("api")
        if "status" in fault:
            headers = {key: value.replace("TOKEN", self.headers.get("Authorization", ""))
                       for key, value in fault.get("headers", {}).items()}
            return self.send(fault["status"], headers, fault.get("send", b""))
        if "cut" in fault:
            return self.send_content(b"{}" * fault["cut"], 200, {}, fault)
        if state.api_text is not None:
            return self.send(200, {}, state.api_text)
        repository = self.redirected(kind, id, path)
        if not repository:
            return
        if revision not in repository.revisions:
            return self.refuse(404, "RevisionNotFound")
        self.send(200, {"X-Repo-Commit": repository.commit},
                  json.dumps(repository.listing()).encode())

    def answer_file(self, path):
        kind = "datasets" if path.startswith("/datasets/") else "models"
        id, rest = path.removeprefix("/datasets").removeprefix("/").split("/resolve/")
        name = rest.split("/", 1)[1]
        repository = self.redirected(kind, id, path)
        if not repository:
            return
        if name not in repository.files:
            return self.refuse(404, "EntryNotFound")
        if name in repository.large:
            location = self.server.state.url_of(self.server.state.cdn)
            return self.send(302, {
                "Location": f"{location}/{kind}/{id}//{urllib.parse.quote(name)}",
                "X-Repo-Commit": repository.commit,
                "X-Linked-Etag": f'"{repository.etag(name)}"',
                "X-Linked-Size": str(len(repository.files[name]))}, b"elsewhere")
        self.answer_content(repository, name)

    def answer_content(self, repository, name):
        fault = {} if self.command == "HEAD" else self.server.state.next_fault(name)
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{repository.etag(name)}"',
                   **fault.get("headers", {})}
        if "status" in fault:
            return self.send(fault["status"], fault.get("headers", {}))
        content = fault.get("send", repository.files[name])
        status, asked = 200, self.headers.get("Range")
        if asked and not fault.get("whole"):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                return self.send(416, {"Content-Range": f"bytes */{len(content)}"})
            begin = fault.get("begin", begin)
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            content, status = content[begin:], 206
        self.send_content(content, status, headers, fault)

    def send_content(self, content, status, headers, fault):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if fault.get("close"):
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if "stall" in fault:
            self.wfile.write(content[:fault["after"]])
            self.wfile.flush()
            fault["stall"].wait(60)
            self.close_connection = True
            return
        if "cut" in fault:
            content = content[:fault["cut"]]
            self.close_connection = True
        self.wfile.write(content)
