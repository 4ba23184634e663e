#!/usr/bin/env python3
"""Makes export/: what llama.cpp makes of the files that `tessera export` writes.

    python make_export_golden.py TESSERA LLAMA_PYTHON [NAME ...]

TESSERA is the program, LLAMA_PYTHON a Python with llama-cpp-python. This one needs numpy, torch,
transformers, peft, safetensors and gguf.

quantized.json  per type and tensor: llama.cpp's type and the fingerprint of its bytes, after
                llama_model_quantize of the f32 file of a model that the test makes, too
losses.json     per family: llama.cpp's mean loss of the samples of families/NAME/golden.json, and
                its greedy tokens, for the base, for the merged model, and for the base with the
                adapter applied by llama.cpp; and the losses of a float64 run of transformers. Of
                families whose tiny model llama.cpp computes otherwise, a twin is made with what is
                `changed` in its config; twins are computed here alone
NAME limits losses.json to these families, and prints them only.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import safetensors.numpy
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "families")]
from referee import splitmix64  # noqa: E402  first: it sets the environment for torch
import family_models  # noqa: E402
import float64  # noqa: E402
import make_families  # noqa: E402
from quantized_folder import fingerprint  # noqa: E402

OUT = HERE / "export"
TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_k_m", "q5_k_m", "q6_k")
# As tests/launch/export_test.cpp: two blocks of 256 in a row, but for ffn_down's.
SIZES = {"hidden_size": 256, "intermediate_size": 288, "num_hidden_layers": 8,
         "num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 96}  # fmt: skip

# llama.cpp has no architecture for the one, and does not scale the long samples of the other.
LEFT_OUT = {"ministral", "llama_dynamic"}

# What is changed in a family's config so that llama.cpp computes what transformers does.
YARN = {"factor": 4.0, "original_max_position_embeddings": 16, "rope_type": "yarn"}
TWINS = {
    "exaone4": {"head_dim": 16, "sliding_window": None, "layer_types": ["full_attention"] * 4},
    "gemma2": {"query_pre_attn_scalar": 20},
    "gemma3_text": {"query_pre_attn_scalar": 20},
    "gemma3": {"query_pre_attn_scalar": 16},
    "glm": {"head_dim": 16},
    "mistral": {"sliding_window": None},
    "olmo3": {"rope_scaling": YARN},
    "phi3": {"sliding_window": None, "rope_scaling": None},
    "qwen2": {"use_sliding_window": False},
    "qwen3": {"attention_bias": False, "rope_scaling": YARN},
    "smollm3": {"no_rope_layers": [1, 1, 1, 0]},
}


def llama(python, *arguments):
    command = [python, str(HERE / "llama_cpp_referee.py"), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def export(tessera, folder, out, kind, *options):
    command = [tessera, "export", "--base_model", folder, "--output", out, "--type", kind]
    command.extend(options)
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def write_model(folder):
    """A Llama whose weights are splitmix64's: element i of tensor t is value i + t * 2**32, times
    0.1; of the norms times 0.5, plus 1. Tensors are counted in the order of their names."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rms_norm_eps": 1e-5,
              "max_position_embeddings": 64, "tie_word_embeddings": False, "bos_token_id": 0,
              "eos_token_id": 1, "torch_dtype": "float32", **SIZES}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**config))
    tensors = {}
    for t, (name, value) in enumerate(sorted(model.state_dict().items())):
        hashes = splitmix64(np.arange(value.numel(), dtype=np.uint64) + np.uint64(t << 32))
        unit = (hashes >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
        norm = value.dim() == 1
        scaled = unit * np.float32(0.5 if norm else 0.1) + np.float32(norm)
        tensors[name] = scaled.reshape(tuple(value.shape))
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def quantized(tessera, python, scratch):
    folder = scratch / "model"
    folder.mkdir()
    write_model(folder)
    export(tessera, folder, scratch / "f32.gguf", "f32")
    golden = {}
    for kind in TYPES:
        file = scratch / f"{kind}.gguf"
        llama(python, "quantize", scratch / "f32.gguf", file, kind)
        golden[kind] = {
            tensor.name: [tensor.tensor_type.name, f"{fingerprint(tensor.data.tobytes()):016x}"]
            for tensor in gguf.GGUFReader(file).tensors
        }
    return golden


def twin_of(name):
    """The family's model, or its twin."""
    family = copy.deepcopy(family_models.FAMILIES[name])
    family.text.update(TWINS.get(name, {}))
    return family


def transformers_loss(model, samples):
    with torch.no_grad(), float64.Float64():
        parts = [make_families.losses_of(model, ids).sum().item() for ids in samples]
    return sum(parts) / make_families.targets_of(samples)


def family_of(name, tessera, python, scratch):
    golden = json.loads((HERE / "families" / name / "golden.json").read_text())
    folder = HERE / "families" / name
    out = {}
    if name in TWINS:
        out["changed"] = TWINS[name]
        folder = scratch / name
        family = twin_of(name)
        make_families.write_model(family, folder)
        model = make_families.load(family, folder)
        make_families.write_adapter(family, model, folder / "adapter", name)
        adapter = transformers_loss(float64.to_float64(model), golden["samples"])
        model = make_families.load(family, folder)
        base = transformers_loss(float64.to_float64(model), golden["samples"])
    else:
        base, adapter = (golden[key]["float64"]["loss"] for key in ("base", "adapter"))
    out["float64"] = {"base": base, "adapter": adapter}
    rows = scratch / "rows.json"
    prompt = golden["greedy"]["prompt"]
    rows.write_text(json.dumps({"samples": golden["samples"], "prompt": prompt}))
    files = [scratch / f"{name}.{kind}.gguf" for kind in ("base", "merged", "lora")]
    lora = ("--adapter", folder / "adapter")
    export(tessera, folder, files[0], "f32")
    export(tessera, folder, files[1], "f32", *lora)
    export(tessera, folder, files[2], "f32", *lora, "--adapter_only")
    out["base"] = llama(python, "losses", files[0], rows)
    out["merged"] = llama(python, "losses", files[1], rows)
    out["applied"] = llama(python, "losses", files[0], rows, files[2])
    return out


def describe(name, of):
    parts = [f"{name:12}"]
    for kind, exact in (("base", "base"), ("merged", "adapter"), ("applied", "adapter")):
        parts.append(f"{kind} {of[kind]['loss'] - of['float64'][exact]:+.1e}")
    print(*parts, "greedy", of["merged"]["greedy"] == of["applied"]["greedy"], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera")
    parser.add_argument("llama_python")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    programs = (arguments.tessera, arguments.llama_python)
    torch.set_num_threads(1)
    losses = {}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name in arguments.names or sorted({*family_models.FAMILIES} - LEFT_OUT):
            losses[name] = family_of(name, *programs, scratch)
            describe(name, losses[name])
        if arguments.names:
            return
        OUT.mkdir(exist_ok=True)
        version = llama(arguments.llama_python, "version")
        golden = {"llama_cpp_python": version, "families": losses}
        (OUT / "losses.json").write_text(json.dumps(golden, indent=1) + "\n")
        golden = {"llama_cpp_python": version, "types": quantized(*programs, scratch)}
        (OUT / "quantized.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
