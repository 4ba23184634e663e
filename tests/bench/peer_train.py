#!/usr/bin/env python3
"""The peer's speed: QLoRA steps with transformers + PEFT + bitsandbytes on the CPU.

    python peer_train.py --model DIR [--data FILE | --write-data FILE] [--steps 5] [--threads 2]

NF4 with double quantization, float32 arithmetic, rank 16 on the seven linears, AdamW, full rows of
random tokens (as packing makes them), all supervised. Prints one JSON line per step and a last one:
tokens per second (the median of the steps after the first), peak resident memory of the whole
process and of the steps alone. --write-data makes the rows for both sides and exits.
"""

import argparse
import json
import pathlib
import re
import resource
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import referee  # first of these: it sets the environment for torch
import peft
import torch


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", help="rows of input_ids and labels, all of one length")
    parser.add_argument("--write-data", help="write such rows and exit")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--lr", type=float, default=2e-4)
    return parser.parse_args()


def make_rows(args):
    vocab = json.loads((pathlib.Path(args.model) / "config.json").read_text())["vocab_size"]
    generator = torch.Generator().manual_seed(1)
    shape = (args.steps * args.micro_batch_size, args.sequence_len)
    ids = torch.randint(min(17, vocab // 2), vocab, shape, generator=generator).tolist()
    return [{"input_ids": row, "labels": row} for row in ids]


def build(args):
    dtype = getattr(torch, args.dtype)
    quantization = referee.transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = referee.transformers.AutoModelForCausalLM.from_pretrained(
        args.model,
        dtype=dtype,
        attn_implementation=args.attention,
        device_map={"": "cpu"},
        quantization_config=quantization,
    )
    model.requires_grad_(False)
    model.config.use_cache = False
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(0)
    model = peft.get_peft_model(model, referee.lora_config(args.model))
    return model.train()


def reset_peak():
    """Starts the kernel's peak-memory count anew; False where that is not allowed."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def peak_bytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def train(args, model, rows):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)
    rates = []
    for step in range(args.steps):
        first = step * args.micro_batch_size
        taken = [rows[(first + k) % len(rows)] for k in range(args.micro_batch_size)]
        ids = torch.tensor([row["input_ids"] for row in taken])
        labels = torch.tensor([row["labels"] for row in taken])
        begin = time.perf_counter()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - begin
        rates.append(ids.numel() / seconds)
        line = {"step": step + 1, "loss": loss.item(), "grad_norm": norm.item()}
        line |= {"seconds": round(seconds, 3), "tokens_per_second": round(rates[-1], 1)}
        print(json.dumps(line), flush=True)
    return statistics.median(rates[1:] or rates)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    rows = referee.read_rows(args.data) if args.data else make_rows(args)
    if args.write_data:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        pathlib.Path(args.write_data).write_text(text)
        return
    model = build(args)
    before = peak_bytes()
    separate = reset_peak()
    rate = train(args, model, rows)
    steps_peak = peak_bytes()
    summary = {
        "side": "peer",
        "tokens_per_second": round(rate, 1),
        "peak_rss_mib": round(max(before, steps_peak) / 2**20),
        "peak_rss_of_steps_mib": round(steps_peak / 2**20) if separate else None,
        "threads": args.threads,
        "dtype": args.dtype,
        "attention": args.attention,
        "gradient_checkpointing": args.gradient_checkpointing,
        "ru_maxrss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "versions": referee.versions(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
