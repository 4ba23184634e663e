"""The scripts of tests/golden that can run again, with what they write."""

import dataclasses
import pathlib

FAMILIES = sorted(path.parent.name for path in (pathlib.Path(__file__).resolve().parents[1] /
                                                "golden/families").glob("*/golden.json"))
TORCH = ("torch", "transformers")
PEFT = (*TORCH, "peft")
STACK = (*PEFT, "bitsandbytes")


@dataclasses.dataclass(frozen=True)
class Golden:
    script: str  # in tests/golden
    outputs: tuple
    packages: tuple
    # Relative, of floats. What is stored as bits, and all else, has to be equal.
    tolerance: float = 0.0
    arguments: tuple = ()
    shared: bool = False  # reads ../shared/data
    keeps: bool = False  # the script reads its outputs first
    prints: bool = False  # the script prints its output


GOLDENS = {
    "tensorboard": Golden("make_tensorboard_golden.py",
                          ("tensorboard/first", "tensorboard/resumed"), ("tensorboard",)),
    "early_stopping": Golden("make_early_stopping_golden.py", ("early_stopping.json",), TORCH),
    "schedules": Golden("make_schedule_golden.py", ("optim/schedulers.json",),
                        (*TORCH, "axolotl")),
    "label_smoothing": Golden("make_label_smoothing_golden.py", ("ops/label_smoothing.json",),
                              TORCH, 1e-12),
    "neftune": Golden("make_neftune_golden.py", ("ops/neftune.json",), TORCH, 1e-7),
    "loraplus": Golden("make_loraplus_golden.py", ("optim/loraplus.json",), PEFT),
    "optimizer": Golden("make_optim_golden.py",
                        ("optim/adamw.json", "optim/clip.json", "optim/schedule.json"), TORCH),
    "optimizer_8bit": Golden("make_optim_8bit_golden.py", ("optim/adamw_8bit.json",),
                             ("torch", "bitsandbytes"), 1e-6),
    "generate": Golden("make_generate_golden.py", ("generate/tiny_llama.json",), STACK, 1e-5),
    "evaluate": Golden("make_evaluate_golden.py", ("evaluate/rows.jsonl", "evaluate/golden.json"),
                       TORCH, 1e-5),
    "training": Golden("train_reference.py", ("tiny_llama/golden.json",), STACK, 1e-5,
                       ("--model", "tiny_llama", "--data", "tiny_llama/data.jsonl",
                        "--adapter-in", "tiny_llama/adapter_in",
                        "--out", "tiny_llama/golden.json", "--adapter-out", "tiny_llama/out")),
    "quantize": Golden("make_quantized_golden.py", ("quantized/tiny_llama.json",), STACK),
    "quantized_bits": Golden("make_quant_golden.py",
                             ("quant/maps.txt", "quant/blockwise4.txt", "quant/mean.txt",
                              "quant/small.txt"),
                             ("torch", "bitsandbytes")),
    "fp8": Golden("make_fp8_golden.py", ("quantized/fp8.json",), TORCH),
    "targets": Golden("targets/make_targets_golden.py", ("targets/golden.json",), PEFT),
    "patterns": Golden("targets/make_patterns_golden.py", ("targets/patterns.json",), PEFT),
    "modules_to_save": Golden("modules_to_save/make_modules_to_save.py",
                              ("modules_to_save/golden.json",), STACK, 1e-4),
    "families": Golden("families/make_families.py",
                       tuple(f"families/{name}/golden.{kind}" for name in FAMILIES
                             for kind in ("json", "safetensors")), STACK, 1e-5),
    "family_configs": Golden("make_family_configs.py", ("family_configs.json",), TORCH, 1e-6),
    "attention": Golden("attention/make_attention_golden.py", ("attention/attention.json",),
                        TORCH, 2e-7),
    "operators": Golden("ops/make_ops_golden.py", ("ops/ops.json",), TORCH, 1e-6, prints=True),
    "jinja": Golden("make_jinja_golden.py", ("jinja/expressions.json",), TORCH, keeps=True),
    "masks": Golden("make_masks_golden.py", ("masks/masks.json",), ("transformers", "trl"),
                    arguments=("SHARED",), shared=True),
    "prompt_messages": Golden("make_prompt_messages_golden.py", ("prompt_messages.json",),
                              ("transformers", "trl")),
    "named_tokens": Golden("make_named_tokens_golden.py", ("tokenizer/named_tokens.json",),
                           ("transformers",)),
    "vocabularies": Golden("make_vocabulary_golden.py",
                           ("tokenizer/vocabularies/golden.json",),
                           ("transformers", "sentencepiece", "tiktoken", "protobuf")),
    "gguf": Golden("make_gguf_golden.py",
                   ("gguf/blocks.safetensors", "gguf/tiny.gguf", "gguf/tiny.safetensors"),
                   (*TORCH, "gguf")),
    "gguf_blocks": Golden("make_gguf_encode.py", ("gguf_encode/blocks.safetensors",),
                          ("llama-cpp-python", "safetensors", "xxhash")),
    "safetensors": Golden("make_safetensors_golden.py", ("safetensors/mixed.safetensors",),
                          ("torch", "safetensors")),
    "yaml": Golden("yaml/make_golden.py", ("yaml/golden.json",), ("pyyaml",)),
    "export": Golden("make_export_golden.py", ("export/losses.json", "export/quantized.json"),
                     (*PEFT, "gguf", "llama-cpp-python"), 1e-6, ("TESSERA", "PYTHON")),
}
