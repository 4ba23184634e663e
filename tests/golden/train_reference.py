#!/usr/bin/env python3
"""Golden training: a few QLoRA steps with transformers + PEFT + bitsandbytes, every rule in sight.

    python train_reference.py --model DIR --data FILE --adapter-in DIR --out JSON --adapter-out DIR

Data: one JSON object per line with input_ids and labels (same length, unshifted; -100 = not
supervised). The rules:

* rows are taken in file order, again from the top when the file ends; a micro-batch is
  --micro-batch-size rows padded on the right to its longest row, a step is --accumulation of them;
* position p predicts labels[p + 1], so labels[0] never counts; loss = sum of the cross-entropy over
  the step's supervised positions divided by their number in the whole step;
* the norm of the gradient over all adapter tensors is taken before clipping; the gradients are
  multiplied by min(1, max_grad_norm / (norm + 1e-6));
* AdamW as torch has it (decoupled decay first, eps added to sqrt(v / (1 - beta2^t)));
* step s = 0, 1, ... runs at lr * s / warmup while s < warmup, so the first step of a warmup moves
  nothing; then at lr * (1 + cos(pi * (s - warmup) / (steps - warmup))) / 2;
* base frozen in NF4 with double quantization (block 64), quantized with one thread; all arithmetic
  in float32; head, embedding and norms as in the checkpoint; no dropout.

Numbers in the JSON are Python's repr of a float: shortest digits that read back as the same double.
"""

import argparse
import json
import pathlib

import referee  # first: it sets the environment for torch
import torch
import transformers


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--adapter-in", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--adapter-out", required=True)
    parser.add_argument("--base-name", default="", help="for adapter_config.json")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--warmup-steps", type=int, default=2)
    parser.add_argument("--beta1", type=float, default=0.9)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--eps", type=float, default=1e-8)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="eager")
    return parser.parse_args()


def micro_batch(rows):
    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), referee.IGNORE, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for r, row in enumerate(rows):
        n = len(row["input_ids"])
        ids[r, :n] = torch.tensor(row["input_ids"])
        labels[r, :n] = torch.tensor(row["labels"])
        mask[r, :n] = 1
    return ids, mask, labels


def cross_entropy_sum(model, ids, mask, labels):
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]).float(),
        labels[:, 1:].reshape(-1),
        ignore_index=referee.IGNORE,
        reduction="sum",
    )


def supervised(labels):
    return int((labels[:, 1:] != referee.IGNORE).sum())


def mean_loss(model, rows, size):
    """Over the whole file, without an update."""
    total, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(rows), size):
            ids, mask, labels = micro_batch(rows[first : first + size])
            total += cross_entropy_sum(model, ids, mask, labels).item()
            count += supervised(labels)
    return total / count


def main():
    args = arguments()
    referee.set_threads(args.threads)
    rows = referee.read_rows(args.data)
    model = referee.load_base(args.model, nf4=True, attention=args.attention)
    model = referee.attach_adapter(model, args.adapter_in, trainable=True)
    model.train()
    named = {n.replace(".default.", "."): p for n, p in model.named_parameters() if p.requires_grad}
    before = referee.read_adapter(args.adapter_in)
    assert named.keys() == before.keys()

    optimizer = torch.optim.AdamW(
        named.values(),
        lr=args.lr,
        betas=(args.beta1, args.beta2),
        eps=args.eps,
        weight_decay=args.weight_decay,
        foreach=False,
        fused=False,
    )
    schedule = transformers.get_cosine_schedule_with_warmup(
        optimizer, args.warmup_steps, args.steps
    )

    loss_before = mean_loss(model, rows, args.micro_batch_size)
    steps, first_gradients, cursor = [], {}, 0
    for step in range(args.steps):
        batches = []
        for _ in range(args.accumulation):
            taken = [rows[(cursor + k) % len(rows)] for k in range(args.micro_batch_size)]
            cursor += args.micro_batch_size
            batches.append(micro_batch(taken))
        tokens = sum(supervised(labels) for _, _, labels in batches)

        loss = 0.0
        for ids, mask, labels in batches:
            part = cross_entropy_sum(model, ids, mask, labels) / tokens
            part.backward()
            loss += part.item()
        if step == 0:
            first_gradients = {name: p.grad.double().norm().item() for name, p in named.items()}
            assert all(norm > 0 for norm in first_gradients.values())
        norm = torch.nn.utils.clip_grad_norm_(named.values(), args.max_grad_norm, foreach=False)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        steps.append(
            {
                "step": step + 1,
                "loss": loss,
                "grad_norm": norm.item(),
                "learning_rate": rate,
                "supervised_tokens": tokens,
            }
        )
        print("  ".join(f"{key} {value!r}" for key, value in steps[-1].items()), flush=True)

    loss_after = mean_loss(model, rows, args.micro_batch_size)
    print(f"mean loss of the file: {loss_before!r} -> {loss_after!r}")
    after = {name: p.detach().clone() for name, p in named.items()}
    referee.write_adapter(args.adapter_out, after, args.base_name or pathlib.Path(args.model).name)

    paths = {"model", "data", "adapter_in", "out", "adapter_out", "base_name"}
    hyper = {key: value for key, value in vars(args).items() if key not in paths}
    hyper |= {"lora_r": referee.RANK, "lora_alpha": referee.ALPHA, "lora_targets": referee.TARGETS}
    result = {
        "versions": referee.versions(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "hyperparameters": hyper,
        "steps": steps,
        "loss_of_file_before": loss_before,
        "loss_of_file_after": loss_after,
        "first_step_gradient_l2": dict(sorted(first_gradients.items())),
        "quantized": dict(sorted(referee.quantized_digest(model).items())),
        "adapter": referee.update_summary(before, after),
    }
    pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
