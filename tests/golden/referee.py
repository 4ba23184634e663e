"""The stack Tessera is compared with: transformers + PEFT + bitsandbytes, on the CPU.

Import this module before torch: it fixes the environment that the recorded numbers need.
It knows how the base is loaded and quantized, how initial adapters are made, and how an adapter's
update is summarized. Versions used: torch 2.15.0, transformers 5.23.0, peft 0.21.0,
bitsandbytes 0.50.2.

Initial adapters follow a rule that needs no library, so that a test in any language can make them:

    tensors    sorted by name as bytes ("layers.10." before "layers.2."), t = 0, 1, ...
    element i  of tensor t (row-major) takes h = splitmix64(start + t * 2**32 + i), start = 1234
    u          = (h >> 40) * 2**-23 - 1                exact in float32, in [-1, 1)
    value      = float32(u) * float32(s), rounded once
    s          = 1 / sqrt(in_features), taken in double, for lora_A [r, in]
                 0.01 for lora_B [out, r]
    splitmix64(x), mod 2**64:
                 x += 0x9E3779B97F4A7C15; x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
                 x = (x ^ x >> 27) * 0x94D049BB133111EB; return x ^ x >> 31

An update (final minus initial adapter) is summarized by the L2 norm of each tensor, four final
elements of each, and 64 signed projections of the whole: with the tensors in the order above laid
end to end and j the index in that,

    p[k] = sum over j of (bit k of splitmix64(5678 + j) ? -1 : +1) * d[j]

The mean over k of (p[k] - q[k])**2 estimates |d - e|**2 (standard error 18 %); bit-equal updates
give equal projections up to the order of the sum.
"""

import os

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # bitsandbytes compiles some of its own fallbacks
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")

import json
import logging
import pathlib
import warnings
import zlib

import numpy as np
import torch

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as bnb_cpu
import bitsandbytes.functional as bnb_functional
import peft
import safetensors.torch
import transformers

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA = 16, 32
IGNORE = -100

warnings.filterwarnings("ignore", message=".*activation_checkpointing.*", category=FutureWarning)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


class _FlatBlocks:
    """bitsandbytes' native library with one repair.

    Its AVX-512 dequantize_4bit (0.50.2) restarts the blocks at every row when in_features is above
    64 and no multiple of the block size; quantize_4bit and every other path run blocks over the
    flat tensor. Calling it with a single row makes the AVX-512 path follow the flat rule as well,
    though with one thread, so whole blocks per row are left as they are.
    """

    def __init__(self, native):
        self._native = native

    def __getattr__(self, name):
        function = getattr(self._native, name)
        if not name.startswith(("cdequantize_blockwise_cpu_nf4", "cdequantize_blockwise_cpu_fp4")):
            return function

        def one_row(codes, absmax, out, blocksize, rows, columns):
            if columns.value % blocksize.value:
                rows, columns = type(rows)(1), type(columns)(rows.value * columns.value)
            return function(codes, absmax, out, blocksize, rows, columns)

        return one_row


bnb_cpu.lib = _FlatBlocks(bnb_cpu.lib)


def versions():
    return {m.__name__: m.__version__ for m in (torch, transformers, peft, bnb, np)}


def set_threads(n):
    torch.set_num_threads(n)
    torch.use_deterministic_algorithms(True)


def read_rows(path):
    lines = pathlib.Path(path).read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def load_options(nf4, attention):
    """Of from_pretrained: all in float32; with nf4 linears in NF4 with double quantization."""
    options = {"dtype": torch.float32, "attn_implementation": attention}
    if nf4:
        options["device_map"] = {"": "cpu"}
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    return options


def load_base(model_dir, nf4=True, attention="eager"):
    """The frozen base in float32; with nf4 its decoder linears in NF4 with double quantization."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the mean of the scales depends on the thread count
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_dir, **load_options(nf4, attention)
    )
    torch.set_num_threads(threads)
    model.requires_grad_(False)
    model.config.use_cache = False
    if nf4:
        check_quantized(model, model_dir)
        for module in model.modules():
            if isinstance(module, bnb.nn.Linear4bit):
                module.support_avx512bf16_for_cpu = False  # else evaluation would run in bfloat16
    return model


def check_quantized(model, model_dir):
    """The decoder's linears alone are 4-bit and equal their checkpoint tensors quantized here."""
    tensors = {}
    for file in sorted(pathlib.Path(model_dir).glob("*.safetensors")):
        tensors |= safetensors.torch.load_file(file)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = 0
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        quantized = isinstance(module, bnb.nn.Linear4bit)
        assert quantized == (name.split(".")[-1] in TARGETS), name
        if quantized:
            found += 1
            packed, state = bnb_functional.quantize_4bit(
                tensors[name + ".weight"].float(),
                blocksize=64,
                compress_statistics=True,
                quant_type="nf4",
            )
            mine = module.weight.quant_state
            assert torch.equal(packed, module.weight.data), name
            assert mine.blocksize == 64 and mine.state2.blocksize == 256, name
            assert torch.equal(state.absmax, mine.absmax), name
            assert torch.equal(state.state2.absmax, mine.state2.absmax), name
            assert state.offset.item() == mine.offset.item(), name
            check_dequantized(name, module)
    torch.set_num_threads(threads)
    assert found == len(TARGETS) * model.config.num_hidden_layers


def check_dequantized(name, module):
    """The forward pass multiplies with table[code] * absmax, blocks over the flat tensor."""
    state = module.weight.quant_state
    absmax = state.state2.code[state.absmax.long()].reshape(-1)
    absmax = absmax * state.state2.absmax.repeat_interleave(256)[: absmax.numel()] + state.offset
    codes = torch.stack([module.weight.data >> 4, module.weight.data & 15], dim=-1).reshape(-1)
    flat = state.code[codes.long()][: state.shape.numel()]
    flat = flat * absmax.repeat_interleave(64)[: flat.numel()]
    used = bnb_functional.dequantize_4bit(module.weight.data, state)
    assert torch.equal(used.reshape(-1), flat), name


def quantized_digest(model):
    """Per matrix: CRC-32 (zlib's) of its codes, 8-bit scales and second scales; the offset."""
    digest = {}
    for name, module in model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            state = module.weight.quant_state
            name = name.removeprefix("base_model.model.").removesuffix(".base_layer")
            digest[name + ".weight"] = {
                "codes": zlib.crc32(module.weight.data.numpy().tobytes()),
                "absmax": zlib.crc32(state.absmax.numpy().tobytes()),
                "nested_absmax": zlib.crc32(state.state2.absmax.numpy().tobytes()),
                "nested_offset": state.offset.item(),
            }
    return digest


def lora_config(base_name):
    return peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=list(TARGETS),
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_name,
    )


def splitmix64(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def adapter_shapes(model_dir):
    """Name and shape of every adapter tensor of a Llama, in the order of the rule."""
    config = json.loads((pathlib.Path(model_dir) / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    q, kv = heads * head_dim, config["num_key_value_heads"] * head_dim
    sizes = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes = {}
    for layer in range(config["num_hidden_layers"]):
        for module, (rows, columns) in sizes.items():
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            shapes[f"{prefix}.lora_A.weight"] = (RANK, columns)
            shapes[f"{prefix}.lora_B.weight"] = (rows, RANK)
    return dict(sorted(shapes.items()))


def initial_adapter(model_dir, start=1234):
    tensors = {}
    for t, (name, shape) in enumerate(adapter_shapes(model_dir).items()):
        index = np.arange(shape[0] * shape[1], dtype=np.uint64) + np.uint64(start + (t << 32))
        unit = (splitmix64(index) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
        scale = 0.01 if ".lora_B." in name else 1.0 / np.sqrt(shape[1])
        tensors[name] = (unit.astype(np.float32) * np.float32(scale)).reshape(shape)
    return tensors


def write_adapter(directory, tensors, base_name):
    """A PEFT adapter folder: adapter_config.json and adapter_model.safetensors."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = lora_config(base_name)
    config.inference_mode = True
    config.target_modules = list(TARGETS)  # PEFT holds a set, whose order changes from run to run
    config.save_pretrained(directory)
    tensors = {name: torch.as_tensor(value).contiguous() for name, value in tensors.items()}
    file = directory / "adapter_model.safetensors"
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)


def read_adapter(directory):
    return safetensors.torch.load_file(pathlib.Path(directory) / "adapter_model.safetensors")


def attach_adapter(model, directory, trainable):
    """Loads an adapter with PEFT; every tensor of the file arrived, and there is no other."""
    model = peft.PeftModel.from_pretrained(model, directory, is_trainable=trainable)
    held = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    given = read_adapter(directory)
    assert held.keys() == given.keys(), sorted(held.keys() ^ given.keys())
    for name, value in given.items():
        assert held[name].dtype == torch.float32 and torch.equal(held[name], value.float()), name
    return model


def update_summary(before, after):
    """See the module's text."""
    tensors, parts = {}, []
    for name in sorted(before):
        d = (after[name].double() - before[name].double()).reshape(-1).numpy()
        flat = after[name].reshape(-1)
        picks = [0, len(d) // 3, 2 * len(d) // 3, len(d) - 1]
        tensors[name] = {
            "update_l2": float(np.sqrt((d * d).sum())),
            "final_samples": [{"index": i, "value": flat[i].item()} for i in picks],
        }
        parts.append(d)
    d = np.concatenate(parts)
    h = splitmix64(np.arange(len(d), dtype=np.uint64) + np.uint64(5678))
    projections = []
    for k in range(64):
        negative = ((h >> np.uint64(k)) & np.uint64(1)).astype(bool)
        projections.append(float(d.sum() - 2.0 * d[negative].sum()))
    return {
        "elements": len(d),
        "update_l2": float(np.sqrt((d * d).sum())),
        "projections": projections,
        "tensors": tensors,
    }
