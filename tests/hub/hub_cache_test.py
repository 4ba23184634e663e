#!/usr/bin/env python3
"""The cache that `tessera fetch` fills: its layout, what is taken from it without the hub, several
processes at once, and huggingface_hub on the same folder (skipped where the environment that
TESSERA_REFEREES names, else python3, has none).  Usage: hub_cache_test.py TESSERA [TEST ...]"""
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import threading
import unittest

import fetching
from fetching import CONFIG, MODEL, TOKEN, WEIGHTS
import server

REFEREES = os.environ.get("TESSERA_REFEREES")
PYTHON = os.path.join(os.path.abspath(REFEREES), "bin", "python3") if REFEREES else "python3"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
WEIGHTS_FILE = "model.safetensors"


class Layout(fetching.Fetching):
    def test_folders_and_links(self):
        self.add_model()
        self.hub.add("org/data", {"a/b/c.csv": b"1"}, kind="datasets")
        folder, _ = self.fetch("org/model")
        repository = self.repository()
        self.assertEqual(folder, repository / "snapshots" / server.COMMIT)
        self.assertEqual((repository / "refs" / "main").read_bytes(), server.COMMIT.encode())
        self.assertEqual(os.readlink(folder / WEIGHTS_FILE), "../../blobs/" + SHA256)
        self.assertEqual(os.readlink(folder / "config.json"),
                         "../../blobs/" + server.git_hash(CONFIG))
        folder, _ = self.fetch("org/data", "--dataset")
        self.assertEqual(os.readlink(folder / "a" / "b" / "c.csv"),
                         "../../../../blobs/" + server.git_hash(b"1"))
        modes = {path.stat().st_mode & 0o777 for path in (repository / "blobs").iterdir()}
        umask = os.umask(0)
        os.umask(umask)
        self.assertEqual(modes, {0o666 & ~umask})

    def test_where_the_cache_is(self):
        self.add_model()
        home = self.folder
        for expected, environment in [
                (home / ".cache" / "huggingface" / "hub", {"HF_HOME": ""}),
                (home / "xdg" / "huggingface" / "hub",
                 {"HF_HOME": "", "XDG_CACHE_HOME": str(home / "xdg")}),
                (home / "hf" / "hub", {"HF_HOME": "~/hf", "XDG_CACHE_HOME": str(home / "xdg")}),
                (home / "old", {"HUGGINGFACE_HUB_CACHE": str(home / "old")}),
                (home / "new", {"HF_HUB_CACHE": str(home / "new"),
                                "HUGGINGFACE_HUB_CACHE": str(home / "old")})]:
            folder, _ = self.fetch("org/model", **environment)
            self.assertEqual(folder.parents[2], expected)
        self.refuse("org/model", HF_HOME="$SCRATCH/x", says="HF_HOME: '$SCRATCH/x' names a var")

    def test_nothing_is_fetched_twice(self):
        self.add_model()
        self.fetch("org/model")
        self.hub.requests.clear()
        folder, err = self.fetch("org/model")
        self.check_model(folder)
        self.assertEqual((err, len(self.hub.requests)), ("", 1))  # the list alone
        self.fetch("org/model", "--revision", server.COMMIT)
        self.assertEqual(len(self.hub.requests), 1)  # a commit does not change

    def test_a_new_commit_takes_what_is_the_same(self):
        repository = self.add_model()
        self.fetch("org/model")
        repository.commit = "b" * 40
        repository.files["config.json"] = b"{ }"
        self.hub.requests.clear()
        folder, _ = self.fetch("org/model")
        self.assertEqual(folder.name, "b" * 40)
        self.assertEqual((folder / "config.json").read_bytes(), b"{ }")
        self.assertEqual((folder / WEIGHTS_FILE).read_bytes(), WEIGHTS)
        self.assertEqual([request.path.split("/")[-1] for request in self.hub.requests],
                         ["main", "config.json"])
        self.assertEqual((self.repository() / "refs" / "main").read_text(), "b" * 40)

    def test_a_new_commit_has_what_the_old_one_lacks(self):
        repository = self.add_model()
        weights = repository.files.pop(WEIGHTS_FILE)
        self.fetch("org/model", "--include", "*.json")
        self.refuse("org/model", HF_HUB_OFFLINE="1", says="has no weights")
        repository.files[WEIGHTS_FILE] = weights
        repository.commit = "b" * 40
        self.check_model(self.fetch("org/model")[0])

    def test_damage_in_the_cache(self):
        self.add_model()
        folder, _ = self.fetch("org/model")
        (self.repository() / "blobs" / SHA256).write_bytes(b"short")
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to("../../blobs/gone")
        self.check_model(self.fetch("org/model")[0])
        (self.repository() / "refs" / "main").write_text("../../..")
        self.check_model(self.fetch("org/model")[0])
        self.assertEqual((self.repository() / "refs" / "main").read_text(), server.COMMIT)

    def test_a_mirror_that_lists_names_alone(self):
        self.add_model().bare = True
        self.check_model(self.fetch("org/model")[0])
        self.assertEqual(self.blobs(), sorted(
            [SHA256, server.git_hash(CONFIG), server.git_hash(MODEL["tokenizer.json"])]))
        self.assertEqual(len(self.hub.asked(WEIGHTS_FILE, "HEAD", "hub")), 1)
        self.assertEqual(len(self.hub.asked(WEIGHTS_FILE, "HEAD", "cdn")), 0)
        shutil.rmtree(self.cache)
        self.hub.faults[WEIGHTS_FILE] = [{"send": b"x" + WEIGHTS[1:]}] * 2
        self.refuse("org/model", says="is not what the hub lists, twice")


class WithoutTheHub(fetching.Fetching):
    def setUp(self):
        super().setUp()
        self.model = self.add_model()

    def test_offline(self):
        for offline in [{"HF_HUB_OFFLINE": "1"}, {"TRANSFORMERS_OFFLINE": "yes"}]:
            shutil.rmtree(self.folder / "home", ignore_errors=True)
            name = list(offline)[0]
            self.refuse("org/model", says=["not in the cache", f"{name} forbids"], **offline)
            self.fetch("org/model", HF_HUB_OFFLINE="0", TRANSFORMERS_OFFLINE="1")
            self.hub.requests.clear()
            folder, err = self.fetch("org/model", **offline)
            self.check_model(folder)
            self.assertEqual(err, "")
            self.fetch("org/model@" + server.COMMIT, **offline)
            (folder / WEIGHTS_FILE).unlink()
            self.refuse("org/model", says=f"the cache lacks {WEIGHTS_FILE}", **offline)
            self.refuse("org/model@dev", says="not in the cache", **offline)
            self.assertEqual(self.hub.requests, [])

    def test_no_network(self):
        folder, _ = self.fetch("org/model")
        self.hub.close()
        found, err = self.fetch("org/model")
        self.assertEqual(found, folder)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertIn("cannot reach 127.0.0.1", err)
        self.assertIn("; taking what the cache has of it", err)
        (folder / "config.json").unlink()
        self.refuse("org/model", says="cannot reach 127.0.0.1")

    def test_a_hub_that_refuses(self):
        folder, _ = self.fetch("org/model")
        for refusal in [(401, {"X-Error-Code": "GatedRepo"}), (404, {}), (503, {})]:
            self.model.refusal = refusal
            found, err = self.fetch("org/model")
            self.assertEqual(found, folder)
            self.assertIn("taking what the cache has", err)
        self.model.refusal = 404, {"X-Error-Code": "RevisionNotFound"}
        self.refuse("org/model", says="has no revision 'main'")

    def test_an_interrupted_fetch_is_not_taken_for_a_model(self):
        self.hub.faults[WEIGHTS_FILE] = [{"status": 400}]
        self.refuse("org/model", says="answers 400")
        self.refuse("org/model", HF_HUB_OFFLINE="1", says=f"the cache lacks {WEIGHTS_FILE}")


class Together(fetching.Fetching):
    def test_two_processes_fetch_once(self):
        self.add_model()
        event = threading.Event()
        self.hub.faults[WEIGHTS_FILE] = [{"stall": event, "after": 1000}]
        first = self.start("org/model")
        while not self.hub.asked(WEIGHTS_FILE, place="cdn"):
            self.assertIsNone(first.poll())
            event.wait(0.01)
        second = self.start("org/model")
        line = second.stderr.readline()
        self.assertIn(f"waiting for process {first.pid} on ", line)
        event.set()
        for process in [first, second]:
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, err)
            self.assertEqual(out.strip(), str(self.repository() / "snapshots" / server.COMMIT))
        self.assertEqual(len(self.hub.asked(WEIGHTS_FILE, place="cdn")), 2)  # resumed once

    def test_many_processes_at_once(self):
        self.add_model()
        for _ in range(3):
            shutil.rmtree(self.cache, ignore_errors=True)
            self.hub.requests.clear()
            processes = [self.start("org/model") for _ in range(4)]
            for process in processes:
                _, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, err)
            self.check_model(self.repository() / "snapshots" / server.COMMIT)
            self.assertEqual(len(self.hub.asked(WEIGHTS_FILE, place="cdn")), 1)

    def test_a_blob_that_python_fetches(self):
        self.add_model()
        locks = self.cache / ".locks" / "models--org--model"
        locks.mkdir(parents=True)
        with open(locks / (SHA256 + ".lock"), "w", encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            process = self.start("org/model")
            self.assertIn("waiting for another process", process.stderr.readline())
            blobs = self.repository() / "blobs"
            (blobs / SHA256).write_bytes(WEIGHTS)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(self.hub.asked(WEIGHTS_FILE), [])
        self.check_model(self.repository() / "snapshots" / server.COMMIT)


class Python(fetching.Fetching):
    """huggingface_hub is the judge."""

    @classmethod
    def setUpClass(cls):
        if subprocess.run([PYTHON, "-c", "import huggingface_hub"], capture_output=True,
                          check=False).returncode != 0:
            reason = f"{PYTHON} has no huggingface_hub"
            print(f"hub_cache_test.py: Skipped\nhub_cache_test.py: {reason}")  # run.sh knows these
            raise unittest.SkipTest(reason)

    def setUp(self):
        super().setUp()
        self.environment["HF_HUB_DISABLE_XET"] = self.environment["DO_NOT_TRACK"] = "1"
        self.add_model()
        self.hub.add("org/data", {"data/a b.jsonl": b"{}\n" * 999, "x.csv": b"1"}, kind="datasets",
                     large={"data/a b.jsonl"})

    def python(self, code, **environment):
        """What the code prints as JSON."""
        done = subprocess.run([PYTHON, "-c", "import json\nfrom huggingface_hub import *\n" + code],
                              env={**self.environment, **environment}, capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_python_reads_what_tessera_fetched(self):
        folder, _ = self.fetch("org/model")
        data, _ = self.fetch("org/data", "--dataset")
        self.fetch("org/model", "--revision", server.COMMIT, "--include", "README.md")
        self.hub.close()
        found = self.python(f"""
one = hf_hub_download("org/model", "{WEIGHTS_FILE}", local_files_only=True)
commit = hf_hub_download("org/model", "README.md", revision="{server.COMMIT}",
                         local_files_only=True)
cache = scan_cache_dir()
files = {{repo.repo_id: sorted(str(file.file_path) for version in repo.revisions
                             for file in version.files) for repo in cache.repos}}
print(json.dumps({{
    "one": one, "commit": commit,
    "model": snapshot_download("org/model", local_files_only=True),
    "data": snapshot_download("org/data", repo_type="dataset", local_files_only=True),
    "nothing": try_to_load_from_cache("org/model", "none.json"),
    "warnings": [str(warning) for warning in cache.warnings],
    "incomplete": len(getattr(cache, "incomplete_files", ())), "files": files,
    "refs": [sorted(version.refs) for repo in cache.repos for version in repo.revisions]}}))""")
        self.assertEqual(found, {
            "one": str(folder / WEIGHTS_FILE), "commit": str(folder / "README.md"),
            "model": str(folder), "data": str(data), "nothing": None, "warnings": [],
            "incomplete": 0, "refs": [["main"], ["main"]],
            "files": {"org/model": sorted(str(folder / name) for name in MODEL),
                      "org/data": [str(data / "data" / "a b.jsonl"), str(data / "x.csv")]}})

    def test_tessera_reads_what_python_fetched(self):
        model = self.python(f"""
for name in {sorted(set(MODEL) - {"README.md"})}:
    path = hf_hub_download("org/model", name)
print(json.dumps(path))""")
        data = self.python("""
path = hf_hub_download("org/data", "data/a b.jsonl", repo_type="dataset")
print(json.dumps(path))""")
        for environment in [{"HF_HUB_OFFLINE": "1"}, {}]:
            self.hub.requests.clear()
            folder, err = self.fetch("org/model", **environment)
            self.assertEqual((str(folder), err), (str(folder.parent / server.COMMIT), ""))
            self.assertEqual(model, str(folder / "tokenizer.json"))
            self.check_model(folder)
            self.assertEqual(len(self.hub.requests), 0 if environment else 1)
        folder, _ = self.fetch("org/data", "--dataset", HF_HUB_OFFLINE="1")
        self.assertEqual(data, str(folder / "data" / "a b.jsonl"))

    def test_python_goes_on_where_tessera_began(self):
        self.fetch("org/model")
        self.hub.requests.clear()
        found = self.python("""
print(json.dumps([hf_hub_download("org/model", name) for name in
                  ["config.json", "model.safetensors", "README.md"]]))""")
        folder = self.repository() / "snapshots" / server.COMMIT
        self.assertEqual(found, [str(folder / name) for name in
                                 ["config.json", WEIGHTS_FILE, "README.md"]])
        fetched = [request.path.split("/")[-1] for request in self.hub.requests
                   if request.method == "GET" and "/resolve/" in request.path]
        self.assertEqual(fetched, ["README.md"])

    def test_the_same_names_of_blobs(self):
        self.fetch("org/model")
        ours = self.blobs()
        shutil.rmtree(self.cache)
        self.python("""
for name in ["config.json", "model.safetensors", "tokenizer.json"]:
    hf_hub_download("org/model", name)
print(1)""")
        self.assertEqual(self.blobs(), ours)

    def test_the_same_token(self):
        for environment in [{"HF_TOKEN": TOKEN}, {"HUGGING_FACE_HUB_TOKEN": f" {TOKEN}x\n"}]:
            found = self.python("print(json.dumps(get_token()))", **environment)
            self.fetch("org/model", **environment)
            asked = self.hub.asked("/api/models/org/model/revision/main")[-1]
            self.assertEqual(asked.headers["Authorization"], f"Bearer {found}")


if __name__ == "__main__":
    fetching.main()
