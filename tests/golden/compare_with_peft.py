#!/usr/bin/env python3
"""Does PEFT, given an adapter that Tessera wrote, compute what Tessera computes?

    python compare_with_peft.py --base DIR --adapter DIR [--nf4] [--data rows.jsonl] [--logits JSON]

--logits  {"rows": [{"input_ids": [...], "logits_last": [V floats]}, ...]} from Tessera: prints
          the largest absolute difference to the logits of each row's last position
--data    rows of input_ids and labels: prints the mean loss of the supervised tokens, and for the
          first --show rows a greedy continuation of what comes before the first supervised token
--adapter none is the bare base. Any warning while the adapter loads is an error, and so is a tensor
          that is missing, left over or changed. Exits 1 where a logit differs by more than
          --tolerance.
"""

import argparse
import json
import pathlib
import sys
import warnings

import referee  # first: it sets the environment for torch
import torch
import train_reference


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--nf4", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--logits")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--show", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def load(args):
    model = referee.load_base(args.base, nf4=args.nf4)
    if args.adapter != "none":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # PEFT calling an older name of transformers says nothing about the adapter.
            warnings.filterwarnings("ignore", message=".*activation_checkpointing.*")
            model = referee.attach_adapter(model, args.adapter, trainable=False)
    return model.eval()


def compare_logits(model, rows):
    worst, agree = 0.0, 0
    for index, row in enumerate(rows):
        theirs = torch.tensor(row["logits_last"])
        ours = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, -1].float()
        assert ours.shape == theirs.shape, f"row {index}: {len(theirs)} logits, not {len(ours)}"
        difference = (ours - theirs).abs().max().item()
        same = int(ours.argmax()) == int(theirs.argmax())
        worst, agree = max(worst, difference), agree + same
        top = ours.abs().max().item()
        print(f"row {index}: max abs difference {difference:.3e} of {top:.3g}, same token: {same}")
    print(f"max abs difference {worst:.3e}; greedy token equal in {agree} of {len(rows)} rows")
    return worst


def prompt_of(row):
    labels = row.get("labels", [])
    first = next((p for p, label in enumerate(labels) if label != referee.IGNORE), len(labels))
    return row["input_ids"][:first] or row["input_ids"]


def continuation(model, ids, count, stop):
    ids = list(ids)
    start = len(ids)
    for _ in range(count):
        token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
        if token in stop:
            break
    return ids[start:]


def show_continuations(model, args, rows):
    stop = model.config.eos_token_id
    stop = set(stop if isinstance(stop, list) else [stop])
    tokenizer = None
    if (pathlib.Path(args.base) / "tokenizer.json").exists():
        tokenizer = referee.transformers.AutoTokenizer.from_pretrained(args.base)
    for index, row in enumerate(rows[: args.show]):
        ids = continuation(model, prompt_of(row), args.new_tokens, stop)
        print(f"row {index}: {ids}")
        if tokenizer:
            print(f"       {tokenizer.decode(ids)!r}")


def main():
    args = arguments()
    referee.set_threads(args.threads)
    model = load(args)
    worst = 0.0
    with torch.no_grad():
        if args.logits:
            worst = compare_logits(model, json.loads(pathlib.Path(args.logits).read_text())["rows"])
        if args.data:
            rows = referee.read_rows(args.data)
            if all("labels" in row for row in rows):
                print(f"mean loss of the file: {train_reference.mean_loss(model, rows, 2)!r}")
            show_continuations(model, args, rows)
    return 1 if worst > args.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
