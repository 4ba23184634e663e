#!/usr/bin/env python3
"""Writes tokenizer/named_tokens.json: what transformers makes of the files beside a tokenizer.json
that name tokens: tokenizer_config.json, special_tokens_map.json, added_tokens.json.

Needs transformers 5 (5.24.0 wrote the file). Reads tokenizer/byte_level.json.
"""
import json
import tempfile
from pathlib import Path

import transformers

GOLDEN = Path(__file__).parent / "tokenizer"
SPEC = json.loads((GOLDEN / "byte_level.json").read_text())
TEXT = "a <think> the <both> b <|im_end|> <mask> one he <tool> in"
DECODER = {
    str(token["id"]): {key: value for key, value in token.items() if key != "id"}
    for token in SPEC["added_tokens"]
}
NEXT_ID = max(token["id"] for token in SPEC["added_tokens"]) + 1


def added(content, **flags):
    return {"content": content, "__type": "AddedToken", **flags}


def around(before, after):
    """A post-processor with these tokens before and after a text."""
    ids = {token["content"]: token["id"] for token in SPEC["added_tokens"]}
    piece = [{"Sequence": {"id": "A", "type_id": 0}}]
    def special(tokens):
        return [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]

    return {
        "type": "TemplateProcessing",
        "single": special(before) + piece + special(after),
        "pair": piece + [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in before + after
        },
    }


# name: (config, special_tokens_map.json, added_tokens.json, post_processor)
CASES = {
    "nothing": ({}, None, None, None),
    "map_holds": (
        {"eos_token": "<|im_end|>"}, {"eos_token": "<mask>", "pad_token": "<pad>"}, None, None,
    ),
    "map_of_null_holds": ({"eos_token": "<|im_end|>"}, {"eos_token": None}, None, None),
    "map_beside_decoder": (
        {"eos_token": "<|im_end|>", "added_tokens_decoder": DECODER},
        {"eos_token": "<mask>", "pad_token": "<pad>", "additional_special_tokens": ["he"]},
        None,
        None,
    ),
    "map_beside_empty_decoder": (
        {"eos_token": "<|im_end|>", "added_tokens_decoder": {}}, {"eos_token": "<mask>"},
        None, None,
    ),
    "map_lists_are_joined": (
        {"extra_special_tokens": ["in"]}, {"extra_special_tokens": ["he"]}, None, None,
    ),
    "map_flags_hold": (
        {"eos_token": "he"},
        {"eos_token": {"content": "he", "lstrip": True, "normalized": False}},
        None, None,
    ),
    "map_flags_of_lists_hold": (
        {"extra_special_tokens": ["he"]},
        {"extra_special_tokens": [{"content": "he", "lstrip": True, "normalized": False}]},
        None, None,
    ),
    "map_leaves_own_names": (
        {"tool_token": "he"}, {"tool_token": "in", "other_token": "<think>"}, None, None,
    ),
    "map_leaves_flags_of_own_names": (
        {"tool_token": "he"},
        {"tool_token": {"content": "he", "lstrip": True, "normalized": False}},
        None, None,
    ),
    "map_additional_gives_way": (
        {"additional_special_tokens": ["in"]}, {"additional_special_tokens": ["he"]}, None, None,
    ),
    "map_additional_gives_way_to_none": (
        {"extra_special_tokens": []}, {"additional_special_tokens": ["he"]}, None, None,
    ),
    "map_additional_beside_names": (
        {"extra_special_tokens": {"think_token": "<think>"}, "additional_special_tokens": ["in"]},
        {"additional_special_tokens": ["he"]},
        None, None,
    ),
    "map_extra_joins_additional": (
        {"additional_special_tokens": ["in"]}, {"extra_special_tokens": ["he"]}, None, None,
    ),
    "map_extra_by_name_replaces": (
        {"additional_special_tokens": ["he"]}, {"extra_special_tokens": {"in_token": "in"}},
        None, None,
    ),
    "map_extra_joins_names": (
        {"extra_special_tokens": {"think_token": "<think>"}, "additional_special_tokens": ["in"]},
        {"extra_special_tokens": ["he"]},
        None, None,
    ),
    "map_names_join_names": (
        {"extra_special_tokens": {"think_token": "<think>"}},
        {"extra_special_tokens": {"in_token": "in"}},
        None, None,
    ),
    "named_token_becomes_special": ({"eos_token": "<think>"}, None, None, None),
    "named_token_keeps_other_flags": (
        {"eos_token": "<both>", "unk_token": "one"}, None, None, None,
    ),
    "named_word": ({"eos_token": "he"}, None, None, None),
    "named_word_with_flags": (
        {"eos_token": added("he", lstrip=True, rstrip=False, normalized=False, special=True)},
        None, None, None,
    ),
    "other_names": ({"cls_token": "<think>", "tool_token": "in"}, None, None, None),
    "extra_words": ({"extra_special_tokens": ["he", "in"]}, None, None, None),
    "additional_words": ({"additional_special_tokens": ["he", "in"]}, None, None, None),
    "extra_before_additional": (
        {"extra_special_tokens": ["he"], "additional_special_tokens": ["in"]}, None, None, None,
    ),
    "additional_beside_names": (
        {"extra_special_tokens": {"think_token": "<think>"}, "additional_special_tokens": ["in"]},
        None, None, None,
    ),
    "extra_keeps_flags": ({"extra_special_tokens": ["<think>", "<both>", "one"]}, None, None, None),
    "extra_by_name": ({"extra_special_tokens": {"think_token": "<think>"}}, None, None, None),
    "added_tokens": ({}, None, {"<tool>": NEXT_ID}, None),
    "added_tokens_special": (
        {"extra_special_tokens": ["<tool>"]}, None, {"<tool>": NEXT_ID, "<think>": 429}, None,
    ),
    "added_tokens_with_another_id": ({}, None, {"<tool>": NEXT_ID, "<think>": 500}, None),
    "added_tokens_beside_decoder": (
        {"added_tokens_decoder": DECODER}, None, {"<tool>": NEXT_ID}, None,
    ),
    "flag_true_beside_none": (
        {"bos_token": "<|endoftext|>", "add_bos_token": True}, None, None, around([], []),
    ),
    "flag_false_beside_bos": (
        {"bos_token": "<|endoftext|>", "add_bos_token": False}, None, None,
        around(["<|endoftext|>"], []),
    ),
    "flags_false_beside_both": (
        {
            "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>",
            "add_bos_token": False, "add_eos_token": False,
        },
        None, None, around(["<|endoftext|>"], ["<|im_end|>"]),
    ),
}


def run(config, mapped, added_tokens, post_processor):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    files = {"tokenizer_config.json": config}
    if mapped is not None:
        files["special_tokens_map.json"] = mapped
    if added_tokens is not None:
        files["added_tokens.json"] = added_tokens
    with tempfile.TemporaryDirectory() as folder:
        spec = {**SPEC, "post_processor": post_processor}
        for name, content in {**files, "tokenizer.json": spec}.items():
            (Path(folder) / name).write_text(json.dumps(content))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return {
        "files": files,
        "post_processor": post_processor,
        "ids": tokenizer(TEXT, add_special_tokens=False)["input_ids"],
        "with_special": tokenizer(TEXT)["input_ids"],
        "special": sorted(i for i, t in tokenizer.added_tokens_decoder.items() if t.special),
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
    }


def main():
    cases = {name: run(*case) for name, case in CASES.items()}
    out = {"transformers": transformers.__version__, "text": TEXT, "cases": cases}
    # A line for each case.
    cases = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.pop("cases").items())
    head = json.dumps(out)[:-1]
    (GOLDEN / "named_tokens.json").write_text(f'{head}, "cases": {{\n{cases}\n}}}}\n')


if __name__ == "__main__":
    main()
