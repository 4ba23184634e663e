#!/usr/bin/env python3
"""Makes families/NAME/ for every family of family_models.py, or for those named.

    python make_families.py [NAME ...]

config.json, model.safetensors   a tiny model, bfloat16, names as published
config_of_transformers5.json     the same config as transformers 5 writes it
data.jsonl                       the samples as rows that are supervised from the second token on
adapter/                         a PEFT adapter of rank 4 and alpha 8 on every linear of the layers
golden.json, golden.safetensors  what transformers, PEFT and bitsandbytes compute

Each sample runs alone, so nothing is padded, and a rotary embedding that adapts itself to the
length (`dynamic`) starts anew with each: otherwise its results would depend on what ran before.
Every number is there twice: in float32 by the stack as it is (one thread, eager attention), and in
float64 (float64.py says how). A finite difference of the float64 loss along its gradient shows that
neither went through float32. Keys of golden.json:

base       loss of the model: the mean over all targets, which are all tokens but the samples' first
adapter    the same with the adapter over the bfloat16 weights in float32 or float64, and the norm
           of the gradient of that mean over all tensors of the adapter
nf4        three steps of training: loss, and norm before clipping at 1; the base in NF4 with double
           quantization; the settings are those of three_steps.yml
greedy     a prompt and the 8 tokens that follow it by the largest logit, with the adapter over the
           bfloat16 weights; the smallest lead of a chosen token over the next

and names of golden.safetensors, S being the number of a sample, P float32 or float64:

S.logits.P       [3, V] of the base at the sample's last three positions
S.losses.P       [tokens - 1] of the base at all positions but the last
gradient.P/NAME  of the mean loss, for each tensor of the adapter, named as in the adapter's file
merged/NAME      W + scale B A in float32 for two linears, named as in model.safetensors
"""

import argparse
import copy
import json
import logging
import pathlib
import sys
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import referee  # first: it sets the environment for torch
import bitsandbytes as bnb
import bitsandbytes.functional as bnb_functional
import family_models
import float64
import peft
import safetensors.torch
import torch
import transformers

RANK, ALPHA, LEARNING_RATE, STEPS, NEW_TOKENS, LAST = 4, 8, 1e-2, 3, 8, 3
MODEL_FILE = "model.safetensors"


def auto_class(family):
    if family.wraps_text:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def save_tensors(file, tensors):
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)


def write_model(family, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(family.config, indent=2, sort_keys=True) + "\n")
    config = transformers.AutoConfig.from_pretrained(folder)
    model = auto_class(family).from_config(copy.deepcopy(config))
    tied = set(model.all_tied_weights_keys)
    tensors = {
        family.published_name(name): family_models.random_weight(family, name, tuple(value.shape))
        for name, value in model.state_dict().items()
        if name not in tied
    }
    save_tensors(folder / MODEL_FILE, tensors)
    scratch = folder / "transformers5"
    config.save_pretrained(scratch)
    (scratch / "config.json").rename(folder / "config_of_transformers5.json")
    scratch.rmdir()


def load(family, folder, nf4=False):
    """The frozen base in float32; with nf4, the linears of its text model in NF4."""
    options = referee.load_options(nf4, "eager")
    model, info = auto_class(family).from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info.values()), info
    model.requires_grad_(False)
    model.eval()
    stored = safetensors.torch.load_file(folder / MODEL_FILE)
    if nf4:
        check_quantized(family, model, stored)
        return model
    for name, value in model.state_dict().items():
        if name not in model.all_tied_weights_keys:
            assert torch.equal(value, stored.pop(family.published_name(name)).float()), name
    assert not stored, sorted(stored)
    return model


def check_quantized(family, model, stored):
    """Every linear of the text model's layers, and no head, is its tensor quantized here."""
    found = 0
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or "vision" in name or "projector" in name:
            continue
        quantized = isinstance(module, bnb.nn.Linear4bit)
        assert quantized == (name.split(".")[-1] in family.targets), name
        if not quantized:
            continue
        found += 1
        packed, state = bnb_functional.quantize_4bit(
            stored[family.published_name(name + ".weight")].float(),
            blocksize=64,
            compress_statistics=True,
            quant_type="nf4",
        )
        mine = module.weight.quant_state
        assert torch.equal(packed, module.weight.data), name
        assert torch.equal(state.absmax, mine.absmax), name
        assert torch.equal(state.state2.absmax, mine.state2.absmax), name
        assert state.offset.item() == mine.offset.item(), name
        referee.check_dequantized(name, module)
        module.support_avx512bf16_for_cpu = False  # else it would run in bfloat16
    assert found == len(family.targets) * family.text["num_hidden_layers"]


def logits_of(model, ids):
    for rotary in float64.rotary_embeddings(model):
        if rotary.rope_type == "dynamic":
            rotary.inv_freq = rotary.original_inv_freq.clone()
            rotary.max_seq_len_cached = rotary.original_max_seq_len
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def losses_of(model, ids):
    return torch.nn.functional.cross_entropy(
        logits_of(model, ids)[:-1], torch.tensor(ids[1:]), reduction="none"
    )


def targets_of(samples):
    return sum(len(ids) - 1 for ids in samples)


def trained(model):
    named = model.named_parameters()
    return {name.replace(".default.", "."): p for name, p in named if p.requires_grad}


def backward(model, samples):
    """Adds the gradient of the mean loss; returns that loss."""
    loss = 0.0
    for ids in samples:
        part = losses_of(model, ids).sum() / targets_of(samples)
        part.backward()
        loss += part.item()
    return loss


def norm_of(gradients):
    return torch.cat([g.double().reshape(-1) for g in gradients.values()]).norm().item()


def write_adapter(family, model, folder, name):
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=family.peft_targets(),
        task_type="CAUSAL_LM",
        base_model_name_or_path=name,
    )
    model = peft.get_peft_model(model, config)
    params = trained(model)
    shapes = {key: tuple(p.shape) for key, p in params.items()}
    assert len(shapes) == 2 * len(family.targets) * family.text["num_hidden_layers"]
    values = family_models.random_adapter(shapes)
    with torch.no_grad():
        for key, p in params.items():
            p.copy_(values[key])
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    text = json.loads((folder / "adapter_config.json").read_text())
    if isinstance(text["target_modules"], list):  # PEFT holds a set, whose order changes
        text["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    (folder / "adapter_model.safetensors").chmod(0o644)
    return model


def train(model, samples):
    params = list(trained(model).values())
    optimizer = torch.optim.AdamW(
        params, lr=LEARNING_RATE, weight_decay=0.0, foreach=False, fused=False
    )
    steps = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with float64.Float64() if params[0].dtype == torch.float64 else torch.enable_grad():
            loss = backward(model, samples)
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=False).item()
        optimizer.step()
        steps.append({"loss": loss, "grad_norm": norm})
    return steps


def check_double(model, samples, gradients):
    """The loss's slope along its gradient is the gradient's norm, to more digits than float32."""
    norm, step = norm_of(gradients), 1e-5
    sides = []
    params = trained(model)
    before = {name: p.detach().clone() for name, p in params.items()}
    with torch.no_grad():
        for side in (step, -step):
            for name, p in params.items():
                p.copy_(before[name] + side / norm * gradients[name])
            total = sum(losses_of(model, ids).sum().item() for ids in samples)
            sides.append(total / targets_of(samples))
        for name, p in params.items():
            p.copy_(before[name])
    slope = (sides[0] - sides[1]) / (2 * step)
    assert abs(slope / norm - 1) < 1e-6, (slope, norm)


def greedy(model, ids):
    ids, start, lead = list(ids), len(ids), float("inf")
    for _ in range(NEW_TOKENS):
        top = logits_of(model, ids)[-1].topk(2)
        lead = min(lead, (top.values[0] - top.values[1]).item())
        ids.append(int(top.indices[0]))
    return {"prompt": ids[:start], "tokens": ids[start:], "smallest_lead": lead}


def clear_continuation(name, family, model):
    """Of the first random prompt where no token is chosen by a hair."""
    rng = family_models.rng_of("prompt", name)
    for _ in range(200):
        prompt = rng.integers(0, family_models.SAMPLED_BELOW, family.prompt).tolist()
        found = greedy(model, prompt)
        if found["smallest_lead"] > 1e-2 and len(set(found["tokens"])) > 3:
            return found
    raise SystemExit(f"{name}: every continuation is close or repeats itself")


def merged_linears(family, model):
    merged = model.merge_and_unload().state_dict()
    last = f"layers.{family.text['num_hidden_layers'] - 1}."
    wanted = (family.targets[0] + ".weight", "mlp.down_proj.weight")
    return {
        f"merged/{family.published_name(name)}": value
        for name, value in merged.items()
        if last in name and name.endswith(wanted) and "vision" not in name
    }


class Golden:
    def __init__(self, name, family, folder):
        self.name, self.family, self.folder = name, family, folder
        self.samples = family_models.samples_of(name, family)
        self.tensors = {}
        self.numbers = {
            "versions": referee.versions(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "samples": self.samples,
            "targets": targets_of(self.samples),
            "base": {},
            "adapter": {},
            "nf4": {},
        }

    def add_base(self, precision, model):
        total = 0.0
        for s, ids in enumerate(self.samples):
            with torch.no_grad():
                losses = losses_of(model, ids)
                self.tensors[f"{s}.logits.{precision}"] = logits_of(model, ids)[-LAST:].clone()
            self.tensors[f"{s}.losses.{precision}"] = losses
            total += losses.sum().item()
        self.numbers["base"][precision] = {"loss": total / targets_of(self.samples)}

    def add_adapter(self, precision, model):
        loss = backward(model, self.samples)
        gradients = {name: p.grad for name, p in trained(model).items()}
        assert all(g.abs().max() > 0 for g in gradients.values())
        for name, g in gradients.items():
            self.tensors[f"gradient.{precision}/{name}"] = g
        self.numbers["adapter"][precision] = {"loss": loss, "grad_norm": norm_of(gradients)}
        return gradients

    def with_adapter(self, model):
        return referee.attach_adapter(model, self.folder / "adapter", trainable=True).eval()

    def make(self):
        load_base = lambda **options: load(self.family, self.folder, **options)
        self.add_base("float32", load_base())
        model = write_adapter(self.family, load_base(), self.folder / "adapter", self.name)
        self.add_adapter("float32", model)
        self.tensors |= merged_linears(self.family, model)
        model = float64.to_float64(load_base())
        with float64.Float64():
            self.add_base("float64", model)
        model = float64.to_float64(self.with_adapter(load_base()))
        with float64.Float64():
            gradients = self.add_adapter("float64", model)
            check_double(model, self.samples, gradients)
            with torch.no_grad():
                self.numbers["greedy"] = clear_continuation(self.name, self.family, model)
        quantized = self.with_adapter(load_base(nf4=True))
        self.numbers["nf4"]["float32"] = train(quantized, self.samples)
        quantized = float64.to_float64(self.with_adapter(load_base(nf4=True)))
        self.numbers["nf4"]["float64"] = train(quantized, self.samples)
        self.write()

    def write(self):
        for runs in (self.numbers["base"], self.numbers["adapter"], self.numbers["nf4"]):
            assert runs["float32"] != runs["float64"]
        rows = [{"input_ids": ids, "labels": ids} for ids in self.samples]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / "data.jsonl").write_text(lines)
        text = ",\n".join(
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in self.numbers.items()
        )
        (self.folder / "golden.json").write_text("{" + text + "}\n")
        save_tensors(self.folder / "golden.safetensors", self.tensors)


def describe(golden):
    numbers, tensors = golden.numbers, golden.tensors
    spread = torch.cat([v for k, v in tensors.items() if k.endswith("logits.float64")]).std()
    lead = numbers["greedy"]["smallest_lead"]
    print(f"{golden.name}: logits spread {spread:.2f}, lead {lead:.3f}")
    for key in ("base", "adapter"):
        exact, single = numbers[key]["float64"], numbers[key]["float32"]
        print(f"  {key}", {k: f"{v:.6f} {single[k] / v - 1:+.1e}" for k, v in exact.items()})
    for exact, single in zip(numbers["nf4"]["float64"], numbers["nf4"]["float32"], strict=True):
        print("  nf4", {k: f"{v:.6f} {single[k] / v - 1:+.1e}" for k, v in exact.items()})
    for file in ("model.safetensors", "golden.safetensors"):
        print(f"  {file} {(golden.folder / file).stat().st_size // 1024} KiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(family_models.FAMILIES))
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*base_model_name_or_path.*")  # set on purpose
    referee.set_threads(1)
    for name in parser.parse_args().names:
        family = family_models.FAMILIES[name]
        write_model(family, HERE / name)
        golden = Golden(name, family, HERE / name)
        golden.make()
        describe(golden)


if __name__ == "__main__":
    main()
