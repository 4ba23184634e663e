#!/usr/bin/env python3
"""Writes prompt_messages.json: what TRL learns of rows whose prompt and completion are lists of
messages, by the preparation of its SFTTrainer.

    python make_prompt_messages_golden.py

Needs TRL 1.16.0 and transformers 5.24.0. The tokenizer has one token a byte and ChatML's special
tokens, the template is ChatML without a system text of its own. "text" is the whole row. "learned"
is what completion_mask covers, without what a template adds and nobody says: the headers of the
messages of a completion, and the line break behind each message.
"""
import json
import pathlib
import re
import types

from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import SFTTrainer

OUT = pathlib.Path(__file__).parent / "prompt_messages.json"
CHATML = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
          "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def turn(role, content):
    return {"role": role, "content": content}


ROWS = [
    {"prompt": [turn("user", "Hi")], "completion": [turn("assistant", "Hello.")]},
    {"prompt": [turn("system", "Be brief."), turn("user", "2 + 2?")],
     "completion": [turn("assistant", " 4\n")]},
    {"prompt": [turn("user", "a"), turn("assistant", "b"), turn("user", "c")],
     "completion": [turn("assistant", "d")]},
    {"prompt": [turn("user", "ä €")], "completion": [turn("assistant", "ß\n\nü")]},
    {"prompt": [turn("user", "a")],
     "completion": [turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]},
    {"prompt": [turn("system", "s")], "completion": [turn("assistant", "")]},
]


def byte_tokenizer():
    vocab = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in
                                  ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>",
                                   chat_template=CHATML)


def prepared(row, tokenizer):
    """The row as SFTTrainer hands it to its collator."""
    args = types.SimpleNamespace(dataset_num_proc=None, dataset_text_field="text", max_length=None,
                                 packing=False, shuffle_dataset=False, eval_packing=None,
                                 assistant_only_loss=False, dataset_kwargs=None)
    trainer = types.SimpleNamespace(_tokenizer=tokenizer, completion_only_loss=True,
                                    chat_template=None)
    return SFTTrainer._prepare_dataset(trainer, Dataset.from_list([row]), tokenizer, args, False,
                                       None, "train")[0]


def main():
    tokenizer = byte_tokenizer()
    golden = []
    for row in ROWS:
        ready = prepared(row, tokenizer)
        ids, labels = ready["input_ids"], ready["labels"]
        said = tokenizer.decode([i for i, label in zip(ids, labels) if label != -100])
        said = re.sub(r"<\|im_start\|>\w+\n", "", said).replace("<|im_end|>\n", "<|im_end|>")
        golden.append({"row": row, "text": tokenizer.decode(ids), "learned": said})
    OUT.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


main()
