"""For the tests of `tessera fetch`: a hub on loopback, a cache of its own, and the program."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import server

PROGRAM = []  # the path of tessera: main() sets it
TOKEN = "hf_keepThisOffTheScreen"

CONFIG = b'{"model_type": "llama"}'
WEIGHTS = bytes(range(256)) * 4000
MODEL = {"config.json": CONFIG, "tokenizer.json": b"{}", "README.md": b"# A model",
         "model.safetensors": WEIGHTS}


class Fetching(unittest.TestCase):
    def setUp(self):
        self.hub = server.Hub()
        self.addCleanup(self.hub.close)
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.cache = self.folder / "home" / "hub"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "no_proxy": "*",
            "HF_HOME": str(self.folder / "home"), "HF_ENDPOINT": self.hub.url,
            "TESSERA_HUB_PAUSE": "0", "OMP_WAIT_POLICY": "passive",
            **{key: value for key, value in os.environ.items() if key.endswith("SAN_OPTIONS")}}

    def add_model(self, **more):
        return self.hub.add("org/model", MODEL, large={"model.safetensors"}, **more)

    def start(self, *arguments, **environment):
        return subprocess.Popen([*PROGRAM, "fetch", *arguments], cwd=self.folder,
                                env={**self.environment, **environment}, text=True,
                                errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run_program(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        self.assertNotIn(TOKEN, out + err)
        return process.returncode, out, err

    def fetch(self, *arguments, **environment):
        """The folder that is printed, and stderr."""
        code, out, err = self.run_program(*arguments, **environment)
        self.assertEqual(code, 0, err)
        self.assertTrue(out.endswith("\n"), out)
        return pathlib.Path(out[:-1]), err

    def refuse(self, *arguments, says=(), code=1, **environment):
        """The last line of stderr, which has to say this."""
        found, out, err = self.run_program(*arguments, **environment)
        self.assertEqual((found, out), (code, ""), err)
        line = err.splitlines()[-1]
        self.assertTrue(line.startswith("tessera: "), line)
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, line)
        return line

    def repository(self, name="models--org--model"):
        return self.cache / name

    def blobs(self, name="models--org--model"):
        return sorted(path.name for path in (self.repository(name) / "blobs").iterdir())

    def check_model(self, folder):
        """As MODEL, but for what a model does not need."""
        files = {str(path.relative_to(folder)): path.read_bytes()
                 for path in folder.rglob("*") if path.is_file()}
        self.assertEqual(files, {key: value for key, value in MODEL.items() if key != "README.md"})


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: " + sys.argv[0] + " TESSERA [TEST ...]")
    PROGRAM[:] = [str(pathlib.Path(sys.argv.pop(1)).resolve())]
    unittest.main(module="__main__")
