"""Prints the history in the .wandb file of an offline run: a JSON object per step.

    python read_wandb.py FILE.wandb    # wandb 0.31

The file is a log as LevelDB writes it: after a header, blocks of 32 KiB with chunks, each with a
checksum, a length and whether a record begins or ends in it."""

import json
import struct
import sys

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(data):
    at, record = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        piece = data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        record = piece if kind in (FULL, FIRST) else record + piece
        if kind in (FULL, LAST):
            yield record


for content in records(open(sys.argv[1], "rb").read()):
    record = wandb_internal_pb2.Record()
    record.ParseFromString(content)
    if record.WhichOneof("record_type") == "history":
        items = record.history.item
        print(json.dumps({"/".join(item.nested_key) or item.key: json.loads(item.value_json)
                          for item in items}))  # fmt: skip
