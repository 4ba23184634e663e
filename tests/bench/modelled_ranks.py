"""What `tessera plan` says of more ranks than one has: a step's time, the bytes that come to a node
and the messages that a rank sends. Nothing of it is measured. growth.py imports it."""
import json
import subprocess

import random_checkpoint

PER_NODE = 8
SHAPES = {
    "8B": {"layers": 32, "hidden": 4096, "ffn": 14336, "heads": 32, "kv_heads": 8,
           "vocab": 128256, "tied": False},
    "70B": {"layers": 80, "hidden": 8192, "ffn": 28672, "heads": 64, "kv_heads": 8,
            "vocab": 128256, "tied": False},
}
LENGTH, FIXED = 4096, 512  # tokens of a row; rows of a step that does not grow with the ranks
BENT = 0.6
CASES = [  # model, device, sharding, whether the step grows with the ranks
    ("70B", "H100", "hybrid", True),
    ("70B", "H100", "full", True),
    ("70B", "H100", "hybrid", False),
    ("8B", "RTX 4090", "replicate", True),
    ("8B", "RTX 4090", "full", True),
    ("8B", "RTX 4090", "replicate", False),
]


def finished_subtrees(first, count):
    """How many maximal aligned subtrees cover micro-batches [first, first + count)."""
    trees = 0
    while count > 0:
        size = 1 << (count.bit_length() - 1)
        if first:
            size = min(size, first & -first)
        first, count, trees = first + size, count - size, trees + 1
    return trees


def dealt(rank, ranks, total):
    """A rank's micro-batches: the first, and how many."""
    share, more = divmod(total, ranks)
    return rank * share + min(rank, more), share + (rank < more)


def messages(ranks, rows, layers, full):
    """That the first rank sends to other nodes in a step: of each subtree that its node has
    finished, a slice to the same member of each other node; its slice of the sum likewise; with
    `full` its shard of each layer that is gathered to every rank of another node. As they stand in
    docs/sharding.md; libraries may join or split them."""
    nodes = ranks // PER_NODE
    count = sum(dealt(rank, ranks, rows)[1] for rank in range(PER_NODE))
    sent = (finished_subtrees(0, count) + 1) * (nodes - 1)
    if full:  # each direction begins with two layers that are still there
        sent += dealt(0, ranks, rows)[1] * (2 * layers - 4) * (ranks - PER_NODE)
    return sent


def plan(study, folder, case, ranks, rows):
    model, device, sharding, _ = case
    (folder / model).mkdir(exist_ok=True)
    (folder / model / "config.json").write_text(json.dumps(
        random_checkpoint.config_of(SHAPES[model])))
    config = folder / "modelled.yml"
    config.write_text(json.dumps({"base_model": str(folder / model), "sharding": sharding,
                                  "bnb_4bit_compute_dtype": "bfloat16", "sequence_len": LENGTH,
                                  "global_batch_size": rows}))
    done = subprocess.run([study.tessera, "plan", config, "--json", "--ranks", str(ranks),
                           "--ranks_per_node", str(PER_NODE), "--profile", device],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    said = json.loads(done.stdout)
    time = said["time"]
    return {"seconds": time["seconds_per_step"], "rate": time["tokens_per_second"],
            "bound": time["bound"], "exchange": time["exchange"], "gather": time["gather"],
            "bytes": said["bytes_between_nodes"], "memory": said["device_total"]}


def measure(study, tiny):
    """Rows of the table, case by case."""
    rows = []
    for case in CASES[-1:] if tiny else CASES:
        model, device, sharding, grows = case
        for ranks in [64, 128] if tiny else [64, 256, 512, 1024, 4096]:
            batch = ranks if grows else FIXED
            key = f"modelled: {model} {device} {sharding} {batch} rows, {ranks} ranks"
            said = study.once(key, lambda: plan(study, study.folder, case, ranks, batch))
            full = sharding == "full"
            rows.append({"model": model, "device": device, "sharding": sharding, "grows": grows,
                         "ranks": ranks, "rows": batch, "plan": said,
                         "messages": messages(ranks, batch, SHAPES[model]["layers"], full)})
    return rows


def bend(rows):
    """The first number of ranks of a case that gives less than BENT of what the first one's rate
    promises; None where there is none."""
    first = rows[0]
    for row in rows:
        if row["plan"]["rate"] < BENT * first["plan"]["rate"] * row["ranks"] / first["ranks"]:
            return row["ranks"]
    return None
