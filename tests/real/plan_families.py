#!/usr/bin/env python3
"""The plan of a run against the most memory that the run has, for each family of models: a model of
random weights, from the golden of the family scaled up, is trained for two steps.
Usage: plan_families.py TESSERA [FAMILY ...]
Where none is named, TESSERA_SEED chooses eight of them; without it, or with TESSERA_WHOLE, all.

The plan leaves out the program itself, which has some 15 MiB. Takes a few seconds and 600 MB of
memory for each family on two cores, and 100 MB of disk."""
import array
import json
import os
import pathlib
import random
import struct
import sys
import tempfile

from gemma3_270m import run

FAMILIES = pathlib.Path(__file__).resolve().parent.parent / "golden" / "families"
BOUND = 0.05

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 512, 1408, 8, 2, 64, 16384
TOKENS = 1024  # of a row
# Goldens have 3 to 7 layers and samples of some 40 tokens.
REPEATED, LENGTHENED = 2, 32
SETTINGS = f"""adapter: qlora
lora_r: 16
sequence_len: {TOKENS}
sample_packing: false
micro_batch_size: 2
gradient_accumulation_steps: 1
max_steps: 2
learning_rate: 1e-4
device: cpu
threads: 2
"""

SIZES = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_attention_heads": HEADS,
         "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCAB}
LENGTHS = ("max_position_embeddings", "original_max_position_embeddings", "sliding_window")
BY_LAYER = ("layer_types", "no_rope_layers")
def scaled_text(text, layers):
    """The config of a text model with larger sizes, longer lengths and more layers."""
    scaled = dict(text)
    for key, value in text.items():
        if key in SIZES:
            scaled[key] = SIZES[key]
        elif key in LENGTHS and value:
            scaled[key] = value * LENGTHENED
        elif key in BY_LAYER and value:
            scaled[key] = (value * layers)[:layers]
        elif key in ("rope_scaling", "rope_parameters") and value:
            scaled[key] = scaled_text(value, layers)
        elif key in ("short_factor", "long_factor"):  # one for each pair of rotated elements
            pairs = HEAD_DIM // 2 * 3 // 4
            scaled[key] = sorted((value * pairs)[:pairs])
    if "num_hidden_layers" in text:
        scaled["num_hidden_layers"] = layers
    if text.get("max_window_layers", layers) < text.get("num_hidden_layers", 0):
        scaled["max_window_layers"] = text["max_window_layers"] * REPEATED
    return scaled


def tensors_of(file):
    """Names and shapes of a safetensors file, and the bytes of each tensor."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, data = json.loads(data[8:8 + length]), data[8 + length:]
    header.pop("__metadata__", None)
    return {name: (tensor["shape"], data[slice(*tensor["data_offsets"])])
            for name, tensor in header.items()}


def scaled_shape(name, dimensions, text, of_heads):
    """Of a tensor of the text model; with of_heads, q and k have norms of single heads."""
    queries = HEADS * HEAD_DIM
    keys = KV_HEADS * HEAD_DIM if "num_key_value_heads" in text else queries
    rows = {"q_proj": queries, "k_proj": keys, "v_proj": keys, "qkv_proj": queries + 2 * keys,
            "gate_proj": INNER, "up_proj": INNER, "gate_up_proj": 2 * INNER,
            "embed_tokens": VOCAB, "lm_head": VOCAB}
    columns = {"o_proj": queries, "down_proj": INNER}
    module = name.split(".")[-2]
    if module in ("q_norm", "k_norm"):
        return [HEAD_DIM if of_heads else rows[module[0] + "_proj"]]
    if dimensions == 1:
        return [rows.get(module, HIDDEN)]
    return [rows.get(module, HIDDEN), columns.get(module, HIDDEN)]


def scaled_tensors(golden, text, layers):
    """Name and shape of each tensor; of those beside the text model, the bytes too."""
    head_dim = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    of_heads = any(name.endswith(".q_norm.weight") and shape == [head_dim]
                   for name, (shape, _) in golden.items())
    for name, (shape, data) in golden.items():
        if "vision" in name or "projector" in name:
            yield name, shape, data
            continue
        shape = scaled_shape(name, len(shape), text, of_heads)
        before, mark, after = name.partition("layers.")
        if not mark:
            yield name, shape, None
            continue
        layer, _, after = after.partition(".")
        for i in range(int(layer), layers, text["num_hidden_layers"]):
            yield f"{before}layers.{i}.{after}", shape, None


class RandomWeights:
    """Numbers of bfloat16, over and over again the same ones; norms are 1."""

    def __init__(self):
        numbers = random.Random(1)
        floats = array.array("f", (numbers.gauss(0, 0.04) for _ in range(1 << 16)))
        bits = array.array("I", floats.tobytes())
        self.block = array.array("H", (b >> 16 for b in bits)).tobytes()

    def of(self, name, count):
        if name.endswith("norm.weight"):
            return struct.pack("<H", 0x3F80) * count
        return (self.block * (2 * count // len(self.block) + 1))[:2 * count]


def write_model(family, folder, weights):
    config = json.loads((FAMILIES / family / "config.json").read_text())
    text = config.get("text_config", config)
    layers = text["num_hidden_layers"]
    layers = layers * REPEATED if layers < 6 else layers
    if "text_config" in config:
        config["text_config"] = scaled_text(text, layers)
    else:
        config = scaled_text(text, layers)
    (folder / "config.json").write_text(json.dumps(config))
    golden = tensors_of(FAMILIES / family / "model.safetensors")
    tensors = [(name, shape, data or weights.of(name, shape[0] * (shape + [1])[1]))
               for name, shape, data in scaled_tensors(golden, text, layers)]
    header, begin = {}, 0
    for name, shape, data in tensors:
        header[name] = {"dtype": "BF16", "shape": shape,
                        "data_offsets": [begin, begin + len(data)]}
        begin += len(data)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for _, _, data in tensors:
            file.write(data)
    return layers


def write_rows(file):
    numbers = random.Random(2)
    rows = [[numbers.randrange(VOCAB) for _ in range(TOKENS)] for _ in range(4)]
    file.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in rows))


def chosen():
    families = sorted(file.parent.name for file in FAMILIES.glob("*/golden.json"))
    seed = os.environ.get("TESSERA_SEED")
    if seed is None or "TESSERA_WHOLE" in os.environ:
        return families
    print(f"seed {seed}: TESSERA_SEED={seed} chooses the same families again")
    return sorted(random.Random(seed).sample(families, 8))


def main():
    tessera = pathlib.Path(sys.argv[1]).resolve()
    families = sys.argv[2:] or chosen()
    weights, wrong = RandomWeights(), []
    print(f"{'':16}{'layers':>8}{'planned':>14}{'resident':>14}")
    for family in families:
        with tempfile.TemporaryDirectory() as scratch:
            work = pathlib.Path(scratch)
            (work / "model").mkdir()
            layers = write_model(family, work / "model", weights)
            write_rows(work / "rows.jsonl")
            (work / "run.yml").write_text(SETTINGS)
            arguments = [work / "run.yml", f"base_model={work}/model", f"output_dir={work}/run",
                         f"datasets=[{{path: {work}/rows.jsonl, type: tokenized}}]"]
            planned = json.loads(run(tessera, "plan", "--json", *arguments)[0])["peak"]
            _, peak = run(tessera, "train", *arguments)
        off = peak / planned - 1
        if abs(off) > BOUND:
            wrong.append(family)
        print(f"{family:16}{layers:8}{planned >> 20:10} MiB{peak >> 20:10} MiB{100 * off:+8.1f} %",
              flush=True)
    sys.exit(f"planned is more than {BOUND:.0%} off: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
