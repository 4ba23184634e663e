#!/usr/bin/env python3
"""How many tokens of some rows transformers holds to be the most likely, on tiny_llama.

Writes evaluate/rows.jsonl and evaluate/golden.json beside this file. The rows are answers that the
model itself gives (greedy, float32), with tokens of some changed, so that rows are right as a
whole, in part or nowhere. Needs torch and transformers; run on a CPU.
Usage: make_evaluate_golden.py
"""

import json
import pathlib

import torch
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 12


def make_rows(model, vocab):
    generator = torch.Generator().manual_seed(7)
    rows = []
    for row in range(ROWS):
        prompt = torch.randint(vocab, (1, 3 + row), generator=generator)
        answer = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                                max_new_tokens=4 + row % 5, min_new_tokens=4 + row % 5)[0]
        ids = answer.tolist()
        labels = [-100] * prompt.shape[1] + ids[prompt.shape[1]:]
        for changed in range(row % 4):  # none in every fourth row
            at = len(ids) - 1 - 2 * changed
            if labels[at] == -100:
                break
            ids[at] = labels[at] = (ids[at] + 1 + changed) % vocab
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def score(model, row):
    ids = torch.tensor([row["input_ids"]])
    labels = torch.tensor(row["labels"])[1:]
    with torch.no_grad():
        logits = model(ids).logits[0, :-1].float()
    mask = labels != -100
    right = (logits.argmax(-1) == labels)[mask]
    loss = torch.nn.functional.cross_entropy(logits[mask].double(), labels[mask])
    return {"tokens": int(mask.sum()), "correct": int(right.sum()), "loss": float(loss),
            "exact": bool(right.all())}


def main():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(HERE / "tiny_llama", dtype=torch.float32).eval()
    rows = make_rows(model, model.config.vocab_size)
    out = HERE / "evaluate"
    out.mkdir(exist_ok=True)
    (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = [score(model, row) for row in rows]
    tokens = sum(s["tokens"] for s in scores)
    golden = {
        "rows": scores,
        "loss": sum(s["loss"] * s["tokens"] for s in scores) / tokens,
        "token_accuracy": sum(s["correct"] for s in scores) / tokens,
        "exact_match": sum(s["exact"] for s in scores) / len(scores),
        "tokens": tokens,
    }
    (out / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print({key: value for key, value in golden.items() if key != "rows"})


if __name__ == "__main__":
    main()
