#!/usr/bin/env python3
"""Asks a referee again: runs the script that made goldens and compares what it writes now with what
is committed, or shows the referee what Tessera writes.

    check.py TESSERA NAME...    # the checks of these names
    check.py --list             # the names
    check.py --planted          # each golden, with one value of it changed, must differ
    check.py --planted TESSERA  # each check of what Tessera writes must fail where that is changed

TESSERA_REFEREES names the folder of a Python environment (docs/referees.md). A check that lacks it,
or a package in it, is skipped with exit code 77, which ctest knows."""

import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import alike
import live
from goldens import GOLDENS

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
SHARED = HERE.parents[2] / "shared" / "data"
SKIPPED = 77
VARIABLE = "TESSERA_REFEREES"


def skip(name, reason):
    """run.sh knows these two lines."""
    print(f"referees.{name}: Skipped\n{reason}")
    sys.exit(SKIPPED)


def python_of(name):
    """The environment's Python."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        skip(name, f"{VARIABLE} names no Python environment")
    python = pathlib.Path(folder).absolute() / "bin" / "python3"
    if not os.access(python, os.X_OK):
        sys.exit(f"{VARIABLE}: {folder} is no Python environment: it has no bin/python3")
    return python


@functools.cache
def versions_in(python):
    # Of several of one name the first counts, as for an import.
    code = ("import importlib.metadata as m, json; "
            "print(json.dumps({d.name.lower().replace('_', '-'): d.version "
            "for d in reversed(list(m.distributions()))}))")
    return json.loads(subprocess.check_output([python, "-c", code], text=True))


def required():
    """Package to version, as docs/referees.md has them installed."""
    files = sorted(HERE.glob("requirements*.txt"))
    return dict(line.split("==") for file in files for line in file.read_text().split())


def require(name, packages, python):
    found = versions_in(python)
    for package in packages:
        if package not in found:
            skip(name, f"{VARIABLE} names a Python environment without {package}")
    return [f"{package} is {found[package]}, not {version}" for package, version in
            required().items() if package in packages and found[package] != version]  # fmt: skip


def run(python, script, *arguments, folder):
    """Runs a script of the referee's; its words are shown where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [python, script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, errors="replace",
                          capture_output=True)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-4000:]
        sys.exit(f"{pathlib.Path(script).name} failed:\n{said}")
    return done.stdout


def check_golden(name, golden, python, tessera):
    """The script runs in a copy of tests/golden, so that nothing that is committed changes."""
    if golden.shared and not SHARED.is_dir():
        skip(name, "there is no ../shared/data")
    words = {"TESSERA": tessera, "PYTHON": python, "SHARED": SHARED}
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch) / "golden"
        shutil.copytree(GOLDEN, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for output in golden.outputs:
            if not golden.keeps:
                (copy / output).unlink()
        arguments = [words.get(argument, argument) for argument in golden.arguments]
        printed = run(python, copy / golden.script, *arguments, folder=copy)
        if golden.prints:
            (copy / golden.outputs[0]).write_text(printed)
        faults = []
        for output in golden.outputs:
            faults += alike.differences(GOLDEN / output, copy / output, golden.tolerance)
    return faults


def check_planted():
    """Needs no referee: is a changed golden found to differ, and an unchanged one not?"""
    faults = []
    with tempfile.TemporaryDirectory() as scratch:
        for golden in GOLDENS.values():
            for output in golden.outputs:
                committed, copy = GOLDEN / output, pathlib.Path(scratch) / pathlib.Path(output).name
                shutil.copy(committed, copy)
                if alike.differences(committed, copy, golden.tolerance):
                    faults.append(f"{output} differs from itself")
                alike.plant(copy, golden.tolerance)
                if not alike.differences(committed, copy, golden.tolerance):
                    faults.append(f"{output}: a changed value is not seen")
    print("\n".join(faults) or "each changed golden differs")
    return int(bool(faults))


def check_planted_outputs(tessera):
    """planted.py takes the place of the program. `wandb_lines` looks at the lines of a page."""
    python_of("finds_faults_in_what_is_written")
    environment = {**os.environ, "TESSERA_PROGRAM": tessera}
    missed = []
    for name in [*live.CHECKS.keys() - {"wandb_lines"}, "export"]:
        done = subprocess.run([HERE / "check.py", HERE / "planted.py", name], env=environment,
                              text=True, capture_output=True)  # fmt: skip
        said = (done.stdout + done.stderr).strip().splitlines()[-1]
        print(f"{name}: {done.returncode}: {said}", flush=True)
        broken = re.search(r"(?m)^tessera \w+ failed", done.stdout + done.stderr)
        if broken or done.returncode not in (1, SKIPPED):
            missed.append(name)
    return int(bool(missed))


def main():
    if sys.argv[1:2] == ["--planted"]:
        return check_planted_outputs(sys.argv[2]) if sys.argv[2:] else check_planted()
    if sys.argv[1:] == ["--list"]:
        print("\n".join([*GOLDENS, *live.CHECKS]))
        return 0
    tessera, *names = sys.argv[1:]
    failed = False
    for name in names:
        python = python_of(name)
        one = GOLDENS.get(name) or live.CHECKS[name]
        others = require(name, one.packages, python)
        if name in GOLDENS:
            faults = check_golden(name, one, python, tessera)
        else:
            ask = functools.partial(run, python)
            with tempfile.TemporaryDirectory() as scratch:
                faults = one.check(pathlib.Path(tessera), ask, pathlib.Path(scratch))
        for line in faults[:20] + (others if faults else []):
            print(f"referees.{name}: {line}")
        print(f"referees.{name}: {len(faults) or 'no'} difference{'' if len(faults) == 1 else 's'}")
        failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
