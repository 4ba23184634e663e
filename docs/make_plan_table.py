#!/usr/bin/env python3
"""Makes the tables of docs/planning.md and docs/throughput.md with `tessera plan`:
docs/make_plan_table.py TESSERA
The shapes are those of the models' public config.json files."""
import json
import pathlib
import subprocess
import sys
import tempfile

SHAPES = {  # hidden, ffn, layers, heads, kv heads, vocabulary
    "Llama-2-7B": (4096, 11008, 32, 32, 32, 32000),
    "Llama-3.1-8B": (4096, 14336, 32, 32, 8, 128256),
    "LLaMA-65B": (8192, 22016, 80, 64, 64, 32000),
    "Llama-2-70B": (8192, 28672, 80, 64, 8, 32000),
    "Llama-3.1-70B": (8192, 28672, 80, 64, 8, 128256),
    "Llama-3.1-405B": (16384, 53248, 126, 128, 8, 128256),
}
PAPER = ["lora_r=64", "optimizer=paged_adamw_32bit", "sequence_len=512", "micro_batch_size=16",
         "global_batch_size=16"]
RUNS = [  # model, words for the cards, ranks, profile, settings
    ("Llama-2-7B", "one of 8 GB", 1, "RTX 3090", ["memory_budget=7.7GiB", "sequence_len=1024",
                                                   "sharding=replicate"]),
    ("Llama-3.1-8B", "one RTX 4090", 1, "RTX 4090", ["sequence_len=4096"]),
    ("LLaMA-65B", "one RTX A6000", 1, "RTX A6000", ["sharding=replicate"] + PAPER),
    ("Llama-2-70B", "one RTX A6000", 1, "RTX A6000", ["sharding=replicate"] + PAPER),
    ("Llama-3.1-70B", "one RTX A6000", 1, "RTX A6000", ["sequence_len=2048"]),
    ("Llama-2-70B", "2 x RTX 4090", 2, "RTX 4090", ["sequence_len=2048"]),
    ("Llama-3.1-70B", "2 x RTX 4090", 2, "RTX 4090", ["sequence_len=4096"]),
    ("Llama-3.1-70B", "8 x H100", 8, "H100", ["sequence_len=4096"]),
    ("Llama-3.1-70B", "8 x A100-80GB", 8, "A100-80GB", ["sequence_len=4096"]),
    ("Llama-3.1-405B", "8 x H100", 8, "H100", ["sequence_len=4096"]),
    ("Llama-3.1-405B", "64 x H100", 64, "H100", ["sequence_len=4096", "global_batch_size=64"]),
]
PUBLISHED = [  # model, words for the cards, ranks, profile, settings, the best that was published
    ("Llama-3.1-8B", "H100", 1, "H100", ["sequence_len=4096"],
     "12,473 (NeMo, 16-bit base); 9,400 (Surogate, NF4)"),
    ("Llama-3.1-8B", "RTX 4090, whole", 1, "RTX 4090", ["sequence_len=2048"],
     "2,413 in 7.4 GiB (torchtune)"),
    ("Llama-3.1-8B", "RTX 4090, 7 GiB of it", 1, "RTX 4090",
     ["sequence_len=1024", "memory_budget=7GiB", "optimizer=paged_adamw_8bit"],
     "2,413 in 7.4 GiB (torchtune)"),
    ("Llama-3.1-70B", "8 x H100", 8, "H100", ["sequence_len=4096"],
     "1,092 (NeMo, 16-bit base); 786 (fsdp_qlora, 4 x H100)"),
    ("Llama-2-70B", "2 x RTX 4090", 2, "RTX 4090", ["sequence_len=2048"], "238 (fsdp_qlora)"),
    ("Llama-3.1-70B", "RTX A6000, 48 GB", 1, "RTX A6000", ["sequence_len=2048"], "-"),
]
KINDS = [  # of one model: what it is, settings
    ("LoRA on the 16-bit base", ["adapter=lora"]),
    ("QLoRA, plain scales", ["bnb_4bit_use_double_quant=false"]),
    ("+ double quantization", []),
    ("+ recomputed activations", ["gradient_checkpointing=true"]),
    ("+ paged optimizer", ["gradient_checkpointing=true", "optimizer=paged_adamw_32bit",
                           "optimizer_page_budget=0B"]),
]


def plan(folder, model, ranks, profile, settings):
    command = [sys.argv[1], "plan", str(folder / "run.yml"), "--json", "--ranks", str(ranks),
               "--profile", profile, f"base_model={folder / model}"] + settings
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip()


def print_published(folder):
    print("\n| model | on | context | GPU GiB | tokens/s per GPU | products | attention | adapters "
          "| elementwise | dequantize | head | published, per GPU |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for model, cards, ranks, profile, settings, published in PUBLISHED:
        p = plan(folder, model, ranks, profile, settings + ["global_batch_size=16"])
        time = p["time"]
        assert time["bound"] == "compute"
        shares = [f"{100 * part / time['compute']:.0f} %"
                  for part in (time["compute_parts"][name]
                               for name in ("products", "attention", "adapters", "elementwise",
                                            "dequantize", "head"))]
        print(f"| {model} | {cards} | {settings[0].split('=')[1]} | {gib(p['device_total'])} "
              f"| {time['tokens_per_second'] / ranks:,.0f} | {' | '.join(shares)} | {published} |")


def gib(n):
    return f"{n / 2**30:.1f}"


def main():
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "run.yml").write_text("bnb_4bit_compute_dtype: bfloat16\n")
    for name, (hidden, ffn, layers, heads, kv, vocab) in SHAPES.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({
            "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": hidden,
            "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv, "vocab_size": vocab, "torch_dtype": "bfloat16"}))

    print("| model | on | settings | GPU GiB | host GiB | base | activations | tokens/s "
          "| bound by |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model, cards, ranks, profile, settings in RUNS:
        if not any(s.startswith("global_batch_size") for s in settings):
            settings = settings + ["global_batch_size=16"]
        p = plan(folder, model, ranks, profile, settings)
        shown = ", ".join(s for s in settings if not s.startswith(("memory", "global", "sharding")))
        if isinstance(p, str):
            print(f"| {model} | {cards} | {shown} | {p} | | | | | |")
            continue
        time = p["time"]
        print(f"| {model} | {cards} | {shown} | {gib(p['device_total'])} | {gib(p['host_total'])} "
              f"| {p['sharding']} | {p['activations']} | {time['tokens_per_second']:,.0f} "
              f"| {time['bound']} |")

    model = "LLaMA-65B"
    hidden, ffn, layers, heads, kv, vocab = SHAPES[model]
    weights = layers * (4 * hidden * hidden + 3 * hidden * ffn) + 2 * vocab * hidden
    print(f"\n| {model}, r = 64, 512 tokens | base | adapters, gradients | optimizer | activations "
          "| GPU GiB |")
    print("|---|---|---|---|---|---|")
    print(f"| full fine-tuning, by formula | {gib(2 * weights)} | {gib(2 * weights)} "
          f"| {gib(8 * weights)} | - | {gib(12 * weights)} + activations |")
    common = ["lora_r=64", "sequence_len=512", "sharding=replicate", "memory_budget=4000GiB"]
    for name, settings in KINDS:
        p = plan(folder, model, 1, "RTX A6000", common + settings)
        d = p["device"]
        print(f"| {name} | {gib(d['base'] + d['embeddings'])} "
              f"| {gib(d['adapters'] + d['gradients'])} | {gib(d['optimizer'])} "
              f"| {gib(d['activations'])} | {gib(p['device_total'])} |")
    print_published(folder)


main()
