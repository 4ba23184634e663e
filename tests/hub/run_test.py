#!/usr/bin/env python3
"""Runs whose model and data set are on a hub on loopback.
Usage: run_test.py TESSERA WRITE_MODEL [TEST ...]"""
import json
import pathlib
import subprocess
import sys
import unittest

import fetching

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "data"))
from tiny_model import alpaca_rows, lines, write_model  # noqa: E402

WRITE_MODEL = []  # the path of the program
SETTINGS = ["sequence_len=64", "micro_batch_size=2", "global_batch_size=4", "max_steps=2",
            "overwrite_output_dir=true"]


class Runs(fetching.Fetching):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.model.mkdir()
        write_model(WRITE_MODEL[0], self.model)
        self.rows = {"data/train-00000-of-00001.jsonl": lines(alpaca_rows(20)).encode(),
                     "data/test-00000-of-00001.jsonl": lines(alpaca_rows(9, seed=4)).encode()}
        for name, content in self.rows.items():
            (self.folder / pathlib.Path(name).name).write_bytes(content)
        names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        self.hub.add("org/tiny", {name: (self.model / name).read_bytes() for name in names},
                     large={"model.safetensors"})
        self.hub.add("org/rows", {**self.rows, "README.md": b"# Rows"}, kind="datasets")

    def run_command(self, command, *settings, **environment):
        done = subprocess.run(
            [*fetching.PROGRAM, command, self.model / "config.yml", *SETTINGS, *settings],
            cwd=self.folder, env={**self.environment, **environment}, capture_output=True,
            text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def train(self, base_model, dataset, **environment):
        self.run_command("train", f"base_model={base_model}", f"datasets=[{dataset}]",
                         f"output_dir={self.folder}/run", **environment)
        config = json.loads((self.folder / "run/adapter_config.json").read_text())
        return ((self.folder / "run/adapter_model.safetensors").read_bytes(),
                config["base_model_name_or_path"])

    def fetched(self, repository):
        (snapshot,) = (self.repository(repository) / "snapshots").iterdir()
        return sorted(str(path.relative_to(snapshot))
                      for path in snapshot.rglob("*") if path.is_file())

    def test_the_hub_and_the_disk_give_the_same_bytes(self):
        local, _ = self.train(self.model, "{path: train-00000-of-00001.jsonl, type: alpaca}")
        ours, base = self.train("org/tiny", "{path: org/rows, type: alpaca}")
        self.assertEqual(ours, local)
        self.assertEqual(base, "org/tiny")
        # Of the data set, only the split that was asked for.
        self.assertEqual(self.fetched("datasets--org--rows"),
                         ["README.md", "data/train-00000-of-00001.jsonl"])
        # What is in the cache needs no hub.
        again, _ = self.train("org/tiny", "{path: org/rows, type: alpaca}", HF_HUB_OFFLINE="1")
        self.assertEqual(again, local)
        other, _ = self.train("org/tiny", "{path: org/rows, type: alpaca, split: test}")
        self.assertNotEqual(other, local)
        self.assertIn("data/test-00000-of-00001.jsonl", self.fetched("datasets--org--rows"))

    def test_the_card_of_a_data_set_names_its_files(self):
        card = (b"---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n"
                b"    path: a/*.jsonl\n  - split: test\n    path: b/*.jsonl\n---\n")
        train, test = self.rows.values()
        self.hub.add("org/card", {"README.md": card, "a/x.jsonl": train, "b/y.jsonl": test,
                                  "c/z.jsonl": test}, kind="datasets")
        local, _ = self.train("org/tiny", "{path: train-00000-of-00001.jsonl, type: alpaca}")
        ours, _ = self.train("org/tiny", "{path: org/card, name: main, type: alpaca}")
        self.assertEqual(ours, local)
        self.assertEqual(self.fetched("datasets--org--card"), ["README.md", "a/x.jsonl"])

    def test_plan_and_data_fetch_no_weights(self):
        self.run_command("plan", "base_model=org/tiny")
        self.run_command("data", "base_model=org/tiny", "datasets=[{path: org/rows, type: alpaca}]")
        self.assertNotIn("model.safetensors", self.fetched("models--org--tiny"))


if __name__ == "__main__":
    WRITE_MODEL.append(str(pathlib.Path(sys.argv.pop(2)).resolve()))
    fetching.main()
