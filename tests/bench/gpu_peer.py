#!/usr/bin/env python3
"""One row of gpu.sh by the Hugging Face stack:
gpu_peer.py tiny|8B|70B ROWS TOKENS [cpu] [bf16] [kept] [json=FILE]
A Llama of random weights, its layers' linears in bitsandbytes' NF4 with double quantization, or in
bfloat16 (`bf16`), PEFT's LoRA of r = 16 on them, gradient checkpointing (`kept`: none), SDPA, fused
AdamW; four micro-batches a step on one GPU. The median of five steps after two."""
import json
import statistics
import sys
import time

try:
    import bitsandbytes as bnb
except ImportError:  # the base can be in bfloat16
    bnb = None
import peft
import torch
import transformers

SHAPES = {  # hidden, ffn, layers, heads, kv heads, vocabulary
    "tiny": (128, 256, 4, 2, 1, 512),
    "8B": (4096, 14336, 32, 32, 8, 128256),
    "70B": (8192, 28672, 80, 64, 8, 128256),
}
WARM_UP, STEPS, MICRO_BATCHES = 2, 5, 4


def frozen(linear, device, bf16):
    shape = (linear.out_features, linear.in_features)
    if bf16:
        weight = torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(0, 0.02)
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        return linear
    layer = bnb.nn.Linear4bit(linear.in_features, linear.out_features, bias=False,
                              compute_dtype=torch.bfloat16, quant_type="nf4",
                              compress_statistics=True)
    weight = torch.empty(shape, dtype=torch.bfloat16)
    layer.weight = bnb.nn.Params4bit(weight.normal_(0, 0.02), requires_grad=False, quant_type="nf4",
                                     compress_statistics=True, module=layer)
    return layer.to(device)


def random_model(name, device, bf16, kept):
    hidden, ffn, layers, heads, kv, vocab = SHAPES[name]
    config = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, vocab_size=vocab,
        max_position_embeddings=8192, tie_word_embeddings=False, attn_implementation="sdpa")
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for child, linear in list(part.named_children()):
                if isinstance(linear, torch.nn.Linear):
                    setattr(part, child, frozen(linear, device, bf16))
    for module in model.modules():  # what is left: norms, embedding, head
        for key, value in list(module._parameters.items()):
            if value is not None and value.is_meta:
                made = torch.empty(value.shape, dtype=torch.bfloat16, device=device)
                made = made.fill_(1) if value.dim() == 1 else made.normal_(0, 0.02)
                module._parameters[key] = torch.nn.Parameter(made, requires_grad=False)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    if not bf16:
        model.is_loaded_in_4bit = True
    if not kept:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    model.config.use_cache = False
    return peft.get_peft_model(model, peft.LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                        "down_proj"]))


def main():
    name, rows, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    words = sys.argv[4:]
    device = "cpu" if "cpu" in words else "cuda"
    bf16, kept = "bf16" in words, "kept" in words
    if not bf16 and bnb is None:
        sys.exit("gpu_peer.py: bitsandbytes is not installed; `bf16` does without")
    torch.manual_seed(7)
    model = random_model(name, device, bf16, kept).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=device == "cuda")
    ids = torch.randint(0, SHAPES[name][5], (rows, tokens), device=device)
    seconds = []
    for step in range(WARM_UP + STEPS):
        begin = time.perf_counter()
        for _ in range(MICRO_BATCHES):
            with torch.autocast(device, torch.bfloat16):
                loss = model(input_ids=ids, labels=ids).loss
            (loss / MICRO_BATCHES).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    on, memory = "CPU", ""
    if device == "cuda":
        on = torch.cuda.get_device_name()
        memory = f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GiB"
    versions = f"transformers {transformers.__version__}, "
    versions += "bf16 base" if bf16 else f"bitsandbytes {bnb.__version__}"
    activations = "kept" if kept else "recomputed"
    tokens_per_second = MICRO_BATCHES * rows * tokens / median
    print(f"| {versions} | {name}, {SHAPES[name][2]} layers | 1 x {on} | bfloat16 "
          f"| {rows} x {tokens} | {activations} | {memory} | | {median:.3f} "
          f"| {tokens_per_second:.0f} | |")
    for path in (word[5:] for word in words if word.startswith("json=")):
        with open(path, "w") as file:
            json.dump({"peer": versions, "torch": torch.__version__, "shape": name, "device": on,
                       "rows": rows, "sequence_len": tokens, "activations": activations,
                       "seconds_per_step": median, "tokens_per_second": tokens_per_second,
                       "memory": memory}, file)
            file.write("\n")


main()
