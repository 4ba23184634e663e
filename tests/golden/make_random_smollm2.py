#!/usr/bin/env python3
"""Writes tests/gpu/random_smollm2.json: what the training step of first_minutes.sh has to give.

    python make_random_smollm2.py ../../build/tessera ../../build/tests/ranks_write_model

Losses and gradient norms of eight steps on a random model of SmolLM2's shape, by
train_reference_float64.py and by Tessera on the CPU in float32. The model, its rows and the adapter
to begin with are made by tests/gpu/random_smollm2.sh, the same bytes on every machine.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GPU = HERE.parent / "gpu"


def of_step(step):
    return {"loss": step["loss"], "grad_norm": step["grad_norm"]}


def main():
    tessera, write_model = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([GPU / "random_smollm2.sh", write_model, folder], check=True)
        subprocess.run([tessera, "train", folder / "run.yml", f"output_dir={folder}/out",
                        "device=cpu"], check=True)
        metrics = (folder / "out/metrics.jsonl").read_text().splitlines()
        subprocess.run([sys.executable, HERE / "train_reference_float64.py", "--model", folder,
                        "--data", folder / "rows.jsonl", "--adapter-in", folder / "initial",
                        "--adapter-out", folder / "peer", "--out", folder / "float64.json",
                        "--base-name", "random"], check=True)
        exact = json.loads((folder / "float64.json").read_text())
    result = {"float64": [of_step(step) for step in exact["steps"]],
              "cpu_float32": [of_step(json.loads(line)) for line in metrics if "grad_norm" in line]}
    lines = [f'"{key}": [\n' + ",\n".join(map(json.dumps, steps)) + "\n]"
             for key, steps in result.items()]
    (GPU / "random_smollm2.json").write_text("{" + ",\n".join(lines) + "}\n")
    for exact_step, ours in zip(result["float64"], result["cpu_float32"], strict=True):
        print({key: f"{ours[key] / value - 1:.1e}" for key, value in exact_step.items()})


if __name__ == "__main__":
    main()
