#!/usr/bin/env python3
"""examples/quality/run.sh --small: what it prints, that it goes on after it was killed, and the
pieces that its figures rest on: rounded weights, rows, statistics.
Usage: small_study_test.py FOLDER, which holds tessera and bench_round_weights."""
import fcntl
import itertools
import json
import math
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quality"
sys.path.insert(0, str(EXAMPLE))
import figures  # noqa: E402
import tasks  # noqa: E402

BLOCK = 64


def study(build, output, *options):
    return subprocess.Popen(
        [EXAMPLE / "run.sh", "--small", "--output", output, *options], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "TESSERA_BUILD": str(build)})


def safetensors(folder):
    """Name to numbers, of float16 tensors."""
    data = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    for name, tensor in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            assert tensor["dtype"] == "F16", tensor
            begin, end = tensor["data_offsets"]
            count = (end - begin) // 2
            yield name, struct.unpack(f"<{count}e", data[8 + size + begin:8 + size + end])


def sections(page):
    """Title to lines."""
    parts = [part.split("\n", 1) for part in page.split("\n## ")]
    return {title: body.splitlines() for title, body in parts}


def rows(lines, table=0):
    """First cell to the others, of one of the tables."""
    tables = [list(lines) for is_row, lines in
              itertools.groupby(lines, lambda line: line.startswith("|")) if is_row]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[table][2:]]
    return {first: others for first, *others in cells}


class SmallStudy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.output = pathlib.Path(tempfile.mkdtemp())
        cls.build = pathlib.Path(BUILD)
        killed = study(cls.build, cls.output)
        for line in killed.stderr:
            if line.startswith("[9/"):
                break
        else:
            raise AssertionError("the study ended before it was killed")
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        cls.page, cls.talk = cls.finish()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.output)

    @classmethod
    def finish(cls):
        child = study(cls.build, cls.output)
        page, talk = child.communicate()
        assert child.returncode == 0, talk
        return page, talk

    def counts(self, talk):
        """Of the measurements, and how many were missing."""
        words = talk.split()
        return int(words[1]), int(words[3])

    def test_goes_on_after_it_was_killed(self):
        measurements, missing = self.counts(self.talk)
        self.assertGreaterEqual(missing, measurements - 10)  # of which one may be finished
        self.assertLessEqual(missing, measurements - 9)

    def test_measures_again_what_is_missing_damaged_or_made_otherwise(self):
        results = self.output / "results" / "tiny" / "orders"
        (results / "nf4" / "seed1.json").unlink()
        (results / "fp4" / "seed1.json").write_text('{"made')
        other = results / "int4" / "before.json"
        stored = json.loads(other.read_text())
        stored["made_with"]["settings"]["lora_r"] += 1
        stored["loss"] = 17
        other.write_text(json.dumps(stored))
        page, talk = self.finish()
        self.assertEqual(self.counts(talk)[1], 3)
        same, first = sections(page), sections(self.page)
        self.assertEqual(same.keys(), first.keys())
        for title in same.keys() - {"Memory of a run"}:  # which is no function of the config
            self.assertEqual(same[title], first[title], title)

    def test_prints_every_figure(self):
        for word in ("missing", "nan", "None"):
            self.assertNotIn(word, self.page)
        parts = sections(self.page)
        for task in ("Orders to JSON", "Numbers in words to digits"):
            results = rows(parts[f"random: {task}"])
            self.assertEqual(len(results), 6)
            for base, cells in results.items():
                before, after = float(cells[0]), float(cells[1])
                self.assertLess(after, before, base)
                self.assertLess(abs(after / math.log(320) - 1), 0.15, base)  # of a random model

    def test_orders_the_bases_by_the_error_of_their_weights(self):
        weights = rows(sections(self.page)["Weights"])
        bits = {base: float(cells[0]) for base, cells in weights.items()}
        self.assertEqual(bits, {"16 bits": 16, "int8, simulated": 8.5, "NF4": 4.5, "FP4": 4.5,
                                "NF4, double-quantized": 4.127, "int4, simulated": 4.5})
        for column in (3, 4):  # the model's, which is normal, too, and that of normal numbers
            error = {base: float(cells[column]) for base, cells in weights.items()}
            self.assertEqual(sorted(error, key=error.get),
                             ["16 bits", "int8, simulated", "NF4", "NF4, double-quantized",
                              "int4, simulated", "FP4"])
            self.assertLess(abs(error["NF4"] - 9.2), 0.1)

    def test_finds_equal_bits_and_a_difference(self):
        runs = rows(sections(self.page)["Equal bits"])
        ranks = sum("ranks" in what for what in runs)
        self.assertEqual(ranks, 3 if shutil.which("mpirun") else 0)
        self.assertEqual(len(runs), 5 + ranks)
        for what, (_, reading) in runs.items():
            self.assertEqual(reading, "other" if what == "8-bit state" else "equal", what)

    def test_nf4_values(self):
        """Of both accounts; by hand: Q(1/17) and Q(2/17) are the outermost finite quantiles below
        0, and the outermost of 15 areas begins at Q(1/15)."""
        codes = rows(sections(self.page)["Two accounts of NF4's values"], 1)
        self.assertEqual(codes["1"][0], "-0.6962")
        outer, next_outer = (1.5647 + 1.1868) / 2, (1.1868 + 0.9289) / 2
        self.assertAlmostEqual(float(codes["1"][1]), -next_outer / outer, places=3)
        outer, next_outer = 15 * 0.12935, 15 * (0.21515 - 0.12935)  # of densities
        self.assertAlmostEqual(float(codes["1"][2]), -next_outer / outer, places=2)

    def test_rounds_linears_to_a_grid_and_nothing_else(self):
        folder = self.output / "models" / "tiny"
        exact = dict(safetensors(folder / "float16"))
        for kind, levels in (("int4", 7), ("int8", 127)):
            rounded = dict(safetensors(folder / kind))
            self.assertEqual(rounded.keys(), exact.keys())
            moved = 0
            for name, weights in exact.items():
                if "_proj" not in name:
                    self.assertTrue(rounded[name] == weights, name)  # whose difference is long
                elif ".layers.0." in name:
                    moved += sum(a != b for a, b in zip(weights, rounded[name]))
                    self.check_grid(weights, rounded[name], levels)
            self.assertGreater(moved, 100000)

    def check_grid(self, weights, rounded, levels):
        for first in range(0, len(weights), BLOCK):
            block = weights[first:first + BLOCK]
            scale = max(map(abs, block)) / levels
            for exact, there in zip(block, rounded[first:first + BLOCK]):
                half = abs(there) * 2**-11 + 2**-25  # of float16
                self.assertLessEqual(abs(there - round(there / scale) * scale), half)
                self.assertLessEqual(abs(there - exact), scale / 2 + half + 1e-7)

    def test_refuses_a_folder_that_another_study_writes_to(self):
        with open(self.output / "lock", "w", encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            child = study(self.build, self.output)
            page, talk = child.communicate()
        self.assertEqual((child.returncode, page), (1, ""))
        self.assertEqual(talk, f"study: another study is writing to {self.output}; wait for it, or "
                               "give another --output\n")

    def test_refuses_a_model_that_is_not_there(self):
        child = study(self.build, self.output, "--models", "nowhere")
        page, talk = child.communicate()
        self.assertEqual((child.returncode, page), (2, ""))
        self.assertIn("nowhere is none of smollm2, gemma3_270m, and no path", talk)


class Pieces(unittest.TestCase):
    def test_asks_nothing_that_is_learned(self):
        for name, task in tasks.TASKS.items():
            asked, learned = (dict(itertools.islice(task(seed), 100)) for seed in (0, 1))
            self.assertGreater(len(asked), 90)
            self.assertFalse(asked.keys() & learned.keys(), name)
            self.assertFalse(set(asked.values()) & set(learned.values()), name)
            self.assertNotEqual(learned, dict(itertools.islice(task(2), 100)))

    def test_writes_numbers_in_words(self):
        for number, words in ((4085, "four thousand and eighty-five"),
                              (9217, "nine thousand two hundred and seventeen"),
                              (1300, "one thousand three hundred"), (2000, "two thousand"),
                              (7012, "seven thousand and twelve"), (1040, "one thousand and forty")):
            self.assertEqual(tasks.in_words(number), words)

    def test_reads_differences(self):
        sample = figures.Sample([1, 2, 3])
        self.assertEqual((sample.mean, sample.spread), (2, 1))
        self.assertEqual(sample.spread_text(1), "2.0 ± 1.0")
        self.assertEqual(sample.difference_text(2), "+2.00 ± 0.58")
        self.assertEqual(sample.reading(), "within noise")  # 2 / 0.577 is below 4.303
        self.assertEqual(figures.Sample([1.5, 2, 2.5]).reading(), "higher")
        self.assertEqual(figures.Sample([-1.5, -2, -2.5]).reading(), "lower")
        self.assertEqual(figures.Sample([0, 0]).reading(), "equal")
        self.assertEqual(figures.Sample([1]).reading(), "one run: cannot be told")
        none = figures.Sample([])
        self.assertEqual((none.spread_text(1), none.reading()), ("missing", "missing"))


if __name__ == "__main__":
    BUILD = sys.argv.pop(1)
    unittest.main()
