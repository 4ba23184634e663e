#!/usr/bin/env python3
"""`tessera fetch` against a hub on loopback, under the faults of networks and servers.
Usage: hub_test.py TESSERA [TEST ...]"""
import contextlib
import hashlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import threading
import unittest

import fetching
from fetching import CONFIG, MODEL, TOKEN, WEIGHTS
import server

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Choices(fetching.Fetching):
    def test_a_model_is_what_it_needs(self):
        more = {"model.safetensors.index.json": b"{}", "chat_template.jinja": b"{{ x }}",
                "additional_chat_templates/rag.jinja": b"", "merges.txt": b"a b",
                "tokenizer.model": b"m", "generation_config.json": b"{}"}
        others = {"pytorch_model.bin": b"p", "pytorch_model.bin.index.json": b"{}",
                  "original/params.json": b"{}", "original/consolidated.00.pth": b"p",
                  "onnx/model.onnx": b"o", "tf_model.h5": b"h", "flax_model.msgpack": b"f",
                  "consolidated.safetensors": b"c", "modeling.py": b"evil()", "a.gguf": b"g",
                  ".gitattributes": b"", "LICENSE": b""}
        self.hub.add("org/model", {**MODEL, **more, **others})
        folder, err = self.fetch("org/model")
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        self.assertEqual(found, set(MODEL) - {"README.md"} | set(more))
        self.assertIn("fetched model org/model: 9 files", err)

    def test_consolidated_weights_where_there_are_no_others(self):
        self.hub.add("org/model", {"params.json": b"{}", "consolidated.safetensors": b"c"})
        folder, _ = self.fetch("org/model")
        self.assertEqual((folder / "consolidated.safetensors").read_bytes(), b"c")

    def test_globs(self):
        self.add_model()
        folder, _ = self.fetch("org/model", "--include", "*.md", "--include", "tok*",
                               "--exclude", "*.json")
        self.assertEqual([path.name for path in folder.iterdir()], ["README.md"])
        folder, _ = self.fetch("org/model", "--exclude", "*.safetensors")
        self.assertEqual(sorted(path.name for path in folder.iterdir()),
                         ["README.md", "config.json", "tokenizer.json"])
        self.refuse("org/model", "--include", "*.exe", says="has no such files")

    def test_data_sets_are_fetched_whole(self):
        files = {"README.md": b"#", "data/train 1.jsonl": b"{}\n" * 5000, "data/b/ü%.csv": b"1,2"}
        self.hub.add("org/data", files, kind="datasets", large={"data/train 1.jsonl"})
        folder, _ = self.fetch("org/data", "--dataset")
        for name, content in files.items():
            self.assertEqual((folder / name).read_bytes(), content)
        self.assertEqual(folder.parent.parent, self.repository("datasets--org--data"))
        folder, _ = self.fetch("org/data", "--dataset", "--include", "data/")
        self.refuse("org/data", says="has no model org/data: check the name and whether it is a "
                                     "data set")

    def test_gguf_files_are_named(self):
        files = {"m-Q4_K_M.gguf": b"four", "q8/m-00001-of-00002.gguf": b"one",
                 "q8/m-00002-of-00002.gguf": b"two", "README.md": b"#"}
        self.hub.add("org/model", files)
        self.refuse("org/model", says=["has GGUF files and no safetensors",
                                       "org/model/m-Q4_K_M.gguf, org/model/q8/m-00001-of"])
        path, _ = self.fetch("org/model/m-Q4_K_M.gguf")
        self.assertEqual(path.read_bytes(), b"four")
        self.assertEqual([file.name for file in path.parent.iterdir()], ["m-Q4_K_M.gguf"])
        path, _ = self.fetch("org/model/q8/m-00001-of-00002.gguf@main")
        self.assertEqual(path.with_name("m-00002-of-00002.gguf").read_bytes(), b"two")
        self.refuse("org/model/x.gguf", says="has no file x.gguf; it has m-Q4_K_M.gguf")

    def test_pickles_are_not_read(self):
        self.hub.add("org/model", {"config.json": b"{}", "pytorch_model.bin": b"p"})
        self.refuse("org/model", says=["no safetensors, but pytorch_model.bin", "may hold code"])
        self.hub.add("org/model", {"config.json": b"{}"})
        self.refuse("org/model", says="has no weights")

    def test_names(self):
        for name in ["../up", "/root", "a/b/c", "org/", "a..b/c", "org/name@../../x", "org/na me",
                     "org/name@"]:
            self.refuse(name, says="expected a name of the Hugging Face hub", code=2)
        self.add_model()
        self.refuse("org/model@main", "--revision", "x", says="leave out --revision", code=2)
        self.refuse("org/model", "--revision", "a b", says="expected a branch", code=2)
        self.refuse("org/model/a.gguf", "--include", "x", says="names a file", code=2)
        self.assertEqual(self.hub.requests, [])

    def test_revisions(self):
        repository = self.add_model(commit="b" * 40)
        repository.revisions.add("refs/pr/1")
        folder, _ = self.fetch("org/model@refs/pr/1")
        self.assertEqual(folder.name, "b" * 40)
        ref = self.repository() / "refs" / "refs" / "pr" / "1"
        self.assertEqual(ref.read_text(), "b" * 40)
        self.refuse("org/model", "--revision", "v9",
                    says=["model org/model has no revision 'v9'", "/org/model/tree/main"])


class Networks(fetching.Fetching):
    def setUp(self):
        super().setUp()
        self.model = self.add_model()

    def plant(self, *faults, file="model.safetensors"):
        self.hub.faults[file] = list(faults)

    def ranges(self):
        return [request.headers.get("Range")
                for request in self.hub.asked("model.safetensors", place="cdn")]

    def test_the_token_goes_to_the_hub_alone(self):
        self.check_model(self.fetch("org/model", HF_TOKEN=TOKEN)[0])
        for request in self.hub.requests:
            expected = f"Bearer {TOKEN}" if request.place == "hub" else None
            self.assertEqual(request.headers.get("Authorization"), expected)
            self.assertEqual(request.headers["Accept-Encoding"], "identity")
        self.assertEqual(len(self.hub.asked("model.safetensors", place="cdn")), 1)

    def test_a_terminal_shows_a_live_line(self):
        terminal, end = pty.openpty()
        self.addCleanup(os.close, terminal)
        done = subprocess.run([*fetching.PROGRAM, "fetch", "org/model"], stderr=end, check=True,
                              env=self.environment, stdout=subprocess.DEVNULL)
        os.close(end)
        self.assertEqual(done.returncode, 0)
        shown = b""
        with contextlib.suppress(OSError):  # which tells the end
            while piece := os.read(terminal, 1 << 16):
                shown += piece
        shown = shown.decode()
        self.assertIn("\rfetching model org/model: file 1 of 3 (config.json), 0 KiB of 1000 KiB",
                      shown)
        self.assertIn("fetched model org/model: 3 files, 1000 KiB in ", shown)

    def test_a_renamed_repository(self):
        self.hub.add("org/old", {}).moved_to = "org/model"
        folder, _ = self.fetch("org/old")
        self.check_model(folder)

    def test_redirects_that_lead_nowhere(self):
        circle = {"status": 302, "headers": {"Location": "/api/models/org/model/revision/main"}}
        self.plant(*[circle] * 20, file="api")
        self.refuse("org/model", says="redirects in a circle")
        for target in ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"]:
            self.plant({"status": 302, "headers": {"Location": target}}, file="api")
            self.refuse("org/model", says="not safe to follow")

    def test_cut_connections_are_resumed(self):
        self.plant({"cut": 1000}, {"cut": 5000}, {"cut": 0}, {"cut": 200000})
        folder, err = self.fetch("org/model")
        self.check_model(folder)
        self.assertEqual(self.ranges(),
                         [None, "bytes=1000-", "bytes=6000-", "bytes=6000-", "bytes=206000-"])
        self.assertIn("lost the connection", err)
        self.assertIn("; trying again\n", err)

    def test_an_answer_without_a_length_that_ends_early(self):
        self.plant({"send": WEIGHTS[:3000], "close": True})
        self.check_model(self.fetch("org/model")[0])
        self.assertEqual(self.ranges(), [None, "bytes=3000-"])

    def test_a_server_without_ranges(self):
        self.plant({"cut": 700000}, {"whole": True, "cut": 10}, {"whole": True})
        self.check_model(self.fetch("org/model")[0])

    def test_a_connection_that_always_breaks(self):
        self.plant({"cut": 500000}, *[{"cut": 0}] * 5)
        self.refuse("org/model", says=["lost the connection to 127.0.0.1",
                                       "488 KiB of 1000 KiB of model.safetensors are here",
                                       "running again goes on from there"])
        self.assertEqual(len(self.ranges()), 6)
        self.assertIn(SHA256 + ".incomplete", self.blobs())
        self.hub.requests.clear()
        self.plant()
        self.check_model(self.fetch("org/model")[0])
        self.assertEqual(self.ranges(), ["bytes=500000-"])
        self.assertFalse([name for name in self.blobs() if "incomplete" in name])

    def test_a_connection_that_stalls(self):
        event = threading.Event()
        self.addCleanup(event.set)
        self.plant({"stall": event, "after": 4321})  # the library judges after five seconds
        folder, err = self.fetch("org/model", HF_HUB_DOWNLOAD_TIMEOUT="1")
        self.check_model(folder)
        self.assertEqual(self.ranges(), [None, "bytes=4321-"])
        self.assertIn("too slow", err)

    def test_an_interrupt_leaves_what_is_there(self):
        event = threading.Event()
        self.addCleanup(event.set)
        self.plant({"stall": event, "after": 123456})
        process = self.start("org/model")
        part = self.repository() / "blobs" / (SHA256 + ".incomplete")
        while not part.exists() or part.stat().st_size < 123456:
            self.assertIsNone(process.poll())
            event.wait(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)
        self.check_model(self.fetch("org/model")[0])
        self.assertEqual(self.ranges(), [None, "bytes=123456-"])

    def test_content_that_is_not_the_one_listed(self):
        wrong = b"x" + WEIGHTS[1:]
        for file, sent in [("model.safetensors", wrong), ("model.safetensors", wrong + b"x"),
                           ("model.safetensors", wrong[:-1]), ("config.json", b"{}" + CONFIG[2:])]:
            with self.subTest(file=file, bytes=len(sent)):
                shutil.rmtree(self.folder / "home", ignore_errors=True)
                self.plant({"send": sent}, file=file)
                folder, err = self.fetch("org/model")
                self.check_model(folder)
                self.assertIn("; fetching it once more", err)
                shutil.rmtree(self.folder / "home")
                self.plant(*[{"send": sent}] * 2, file=file)
                self.refuse("org/model", says=f"{file} is not what the hub lists, twice")
                self.assertFalse([name for name in self.blobs() if "incomplete" in name])
                self.assertFalse((self.repository() / "snapshots" / server.COMMIT / file).exists())

    def test_a_part_that_was_not_asked_for(self):
        self.plant({"cut": 1000}, {"begin": 500})
        folder, err = self.fetch("org/model")
        self.check_model(folder)
        self.assertIn("another part than the one from byte 1000 on", err)

    def test_damage_in_what_an_earlier_run_left(self):
        blobs = self.repository() / "blobs"
        blobs.mkdir(parents=True)
        part = blobs / (SHA256 + ".incomplete")
        part.write_bytes(b"damaged")
        folder, err = self.fetch("org/model")
        self.check_model(folder)
        self.assertIn("instead of " + SHA256, err)
        shutil.rmtree(self.folder / "home")
        blobs.mkdir(parents=True)
        part.write_bytes(WEIGHTS * 2)  # longer than the file
        self.check_model(self.fetch("org/model")[0])

    def test_busy_servers(self):
        self.plant({"status": 429, "headers": {"Retry-After": "0"}}, {"status": 500},
                   {"status": 429, "headers": {"RateLimit": '"api";r=0;t=0'}}, {"status": 503},
                   file="api")
        self.plant({"status": 502}, {"status": 504}, {"status": 408}, file="model.safetensors")
        folder, err = self.fetch("org/model", TESSERA_HUB_PAUSE="0")
        self.check_model(folder)
        for status in [429, 500, 503, 502, 504, 408]:
            self.assertIn(f"answers {status} (", err)
        self.plant(*[{"status": 503}] * 6, file="api")
        shutil.rmtree(self.folder / "home")
        self.refuse("org/model", says="answers 503 (the server is not available)")
        self.assertEqual(self.hub.faults["api"], [])

    def test_other_answers_are_not_tried_again(self):
        for status in [400, 410, 418, 501]:
            self.plant({"status": status}, file="api")
            self.refuse("org/model", says=f"answers {status}")
        self.plant({"status": 403}, file="model.safetensors")
        self.refuse("org/model", says=["model.safetensors", "answers 403"])

    def test_a_hub_that_is_not_there(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            self.refuse("org/model", says="cannot reach 127.0.0.1", HF_ENDPOINT=url)
        self.refuse("org/model", says="HF_ENDPOINT: expected a URL such", HF_ENDPOINT="hub")
        line = self.refuse("org/model", says="HF_ENDPOINT: expected a URL without a user's name",
                           HF_ENDPOINT="http://me:tulip@127.0.0.1")
        self.assertNotIn("tulip", line)

    def test_certificates(self):
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        file = self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", file, "-out", self.folder / "only.pem"],
                       check=True, capture_output=True)
        file.write_text(file.read_text() + (self.folder / "only.pem").read_text())
        hub = server.Hub(certificate=file)
        self.addCleanup(hub.close)
        hub.repositories = self.hub.repositories
        self.refuse("org/model", HF_ENDPOINT=hub.url, says=["certificate", "SSL_CERT_FILE names"])
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]:
            shutil.rmtree(self.folder / "home", ignore_errors=True)
            self.check_model(self.fetch("org/model", HF_ENDPOINT=hub.url, **{name: str(file)})[0])

    def test_a_machine_without_libcurl(self):
        for name in ["libcurl.so.4", "libcurl-gnutls.so.4"]:
            (self.folder / name).touch()
        self.refuse("org/model", LD_LIBRARY_PATH=str(self.folder), says="apt install libcurl4")


class Refusals(fetching.Fetching):
    def refused(self, status, code, message="", says=(), **environment):
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        repository = self.add_model()
        repository.refusal = (status, headers)
        return self.refuse("org/model", says=says, **environment)

    def test_they_are_told_apart(self):
        token = {"HF_TOKEN": TOKEN}
        self.refused(401, "RepoNotFound", says=["has no model org/model", "set HF_TOKEN if it"])
        self.refused(404, "RepoNotFound", says="the token of HF_TOKEN must be able", **token)
        self.refused(401, "", says="set HF_TOKEN if it is private")
        self.refused(401, "", "Invalid credentials in Authorization header",
                     says="does not accept the token of HF_TOKEN (Invalid", **token)
        self.refused(401, "RepoNotFound", "Invalid credentials in Authorization header",
                     says="does not accept the token", **token)
        self.refused(401, "GatedRepo", says=["gated: accept its terms at", "/org/model, then set"])
        self.refused(403, "GatedRepo", says="the token of HF_TOKEN has no access", **token)
        self.refused(403, "", "Access to this resource is disabled.", says="is disabled")
        self.refused(403, "", "Your token is too weak", says="answers 403: Your token is too weak")
        self.refuse("org/none", says="has no model org/none")
        self.refuse("org/none", "--dataset", says="has no data set org/none")

    def test_the_token_is_never_shown(self):
        self.hub.faults["api"] = [{"status": 403, "headers": {"X-Error-Message": "you sent TOKEN"}}]
        self.add_model()
        line = self.refuse("org/model", says="you sent Bearer ...", HF_TOKEN=TOKEN)
        self.assertNotIn("keep", line)
        self.refuse("org/model", says="HF_TOKEN: this is no token", HF_TOKEN=TOKEN + "\x01x")

    def test_where_tokens_come_from(self):
        self.add_model()
        home = self.folder / "home"
        home.mkdir()
        (home / "token").write_text(f"{TOKEN}-home\n")
        (self.folder / "other").write_text(f"{TOKEN}-other")
        path = str(self.folder / "other")
        for expected, environment in [
                ("-home", {}), ("-other", {"HF_TOKEN_PATH": path}),
                ("-old", {"HUGGING_FACE_HUB_TOKEN": TOKEN + "-old", "HF_TOKEN_PATH": path}),
                ("-new", {"HUGGING_FACE_HUB_TOKEN": "x", "HF_TOKEN": f" {TOKEN}-new \n"}),
                (None, {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})]:
            self.hub.requests.clear()
            self.fetch("org/model", **environment)
            sent = self.hub.requests[0].headers.get("Authorization")
            self.assertEqual(sent, expected and f"Bearer {TOKEN}{expected}")


class Strangers(fetching.Fetching):
    def test_names_that_lead_out_of_the_folder(self):
        repository = self.add_model()
        for name in ["../../../../evil.json", "/tmp/evil.json", "a/../../evil.json", "a//b.json",
                     "..", ".", "", "a/", "nul\0.json", "back\\slash.json", "line\n.json",
                     "x" * 300, "a/" * 600 + "b"]:
            with self.subTest(name=name[:40]):
                repository.extra = [{"rfilename": name, "size": 1, "blobId": "c" * 40}]
                self.refuse("org/model", says="cannot be the name of a file here")
        self.assertFalse(self.cache.exists())

    def test_answers_that_are_no_list(self):
        deep = b"[" * 100000
        commit = b'{"sha": "../../x", "siblings": []}'
        twice = (b'{"sha": "%s", "siblings": [{"rfilename": "a.json"}, {"rfilename": "a.json"}]}' %
                 server.COMMIT.encode())
        size = (b'{"sha": "%s", "siblings": [{"rfilename": "a.json", "size": -1}]}' %
                server.COMMIT.encode())
        for text, says in [(b"<html>", "model org/model at 127.0.0.1"), (b"", "org/model"),
                           (b"{}", "is HF_ENDPOINT a hub?"), (b"[]", "is HF_ENDPOINT a hub?"),
                           (deep, "org/model"), (commit, "expected a commit"),
                           (twice, "listed twice"), (size, "expected the size of a file, got -1"),
                           (b'{"sha": "\xff"}', "org/model")]:
            self.hub.api_text = text
            self.refuse("org/model", says=says)
        self.assertFalse(self.cache.exists())

    def test_a_list_without_end(self):
        self.hub.api_text = b" " * ((64 << 20) + 1)
        self.refuse("org/model", says="longer than 64 MiB")

    def test_an_error_page_without_end(self):
        self.hub.faults["api"] = [{"status": 404, "send": b"x" * (8 << 20)}]
        self.refuse("org/model", says="has no model org/model")

    def test_sizes_that_no_disk_has(self):
        repository = self.add_model()
        repository.extra = [{"rfilename": f"{number}.json", "size": 1 << 40, "blobId": "c" * 40}
                            for number in range(5000)]
        self.refuse("org/model", says=["5120000.0 GiB are to be fetched", "has room for",
                                       "HF_HUB_CACHE"])
        for size in [(1 << 40) + 1, 1 << 63, 1 << 64, 1e3, "1"]:
            repository.listed["model.safetensors"] = {"lfs": {"sha256": SHA256, "size": size}}
            self.refuse("org/model", says="expected the size of a file")
        self.assertEqual(self.hub.asked("config.json"), [])


if __name__ == "__main__":
    fetching.main()
