#!/usr/bin/env python3
"""Every part of a tokenizer.json, by the `tokenizers` package.

    python make_tokenizer_kinds.py

writes beside this script, under tokenizer/kinds/:
    parts.json   of each normalizer, pre-tokenizer and regular expression: what becomes of random
                 strings, as hashes
    NAME.json    a small tokenizer of that kind, and the ids and texts that it makes of them

The strings are those of make_tokenizer_golden.py. A hash is FNV-1a, 32 bits, of the results of ten
strings on end; every result, or every word of it, is followed by a zero byte.
"""

import json
import pathlib
import random

import sentencepiece
from tokenizers import AddedToken, Tokenizer, models, trainers

from make_tokenizer_golden import TEXTS, hash_tens, random_string
from tokenizer_components import (
    REGEXES,
    byte_level,
    charsmap,
    metaspace,
    normalizers,
    pre_tokenizers,
    replace,
    sequence,
    split,
    strip,
)

OUT = pathlib.Path(__file__).parent / "tokenizer" / "kinds"
STRINGS = 100
TEXT_COUNT = 40  # for the small tokenizers

WORDS = [
    "",
    " ",
    "  two  spaces  ",
    "The lighthouse keeper counted the waves.",
    "caf\u00e9 na\u00efve",
    "\u0130stanbul \u01c5 \u1e9e",
    "\u65e5\u672c\u8a9e \u4e2d\u6587",
    "a\u0301\u0323b",
    "\ufb01x \u2460 \u00bd",
    "12345 3.14",
    "line\nfeed\r\n",
    "one<s>two</s> <mask> <pad>  x",
    "\u2581the",
    "<0x0A>",
    "\U0001f600\u200d\U0001f525",
]


def tokenizer_of(**members):
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"},
    }
    return dict(spec, **members)


def loaded(spec):
    return Tokenizer.from_str(json.dumps(spec))


def zero_ended(parts):
    return "".join(part + "\0" for part in parts).encode()


def normalized(spec, strings):
    normalizer = loaded(tokenizer_of(normalizer=spec)).normalizer
    return hash_tens([zero_ended([normalizer.normalize_str(text)]) for text in strings])


def cut(spec, strings):
    pre_tokenizer = loaded(tokenizer_of(pre_tokenizer=spec)).pre_tokenizer
    return hash_tens(
        [
            zero_ended(word for word, _ in pre_tokenizer.pre_tokenize_str(text)) if text else b""
            for text in strings
        ]
    )


def parts(strings):
    return {
        "strings": len(strings),
        "normalizers": [{"spec": s, "hash": normalized(s, strings)} for s in normalizers()],
        "pre_tokenizers": [
            {"spec": s, "hash": cut(s, strings)}
            for s in [*pre_tokenizers(), *(split({"Regex": r}) for r in REGEXES)]
        ],
    }


def trained_bpe(**options):
    """Vocabulary and merges on words, spelt with the affixes that are given."""
    affixes = {key: value for key, value in options.items() if value and "fix" in key}
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **options))
    from tokenizers import pre_tokenizers as steps

    tokenizer.pre_tokenizer = steps.Whitespace()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=300,
            show_progress=False,
            special_tokens=["<unk>"],
            limit_alphabet=60,
            **affixes,
        ),
    )
    return json.loads(tokenizer.to_str())["model"]


def unigram(byte_fallback):
    tokens = [
        "\u2581",
        "\u2581the",
        "\u2581th",
        "e",
        "th",
        "t",
        "h",
        "\u2581a",
        "nd",
        "and",
        "ing",
        "in",
        "s",
        "o",
        "u",
        "r",
        "a",
        "n",
        "d",
        "l",
        "i",
        "g",
        "\u2581wa",
        "ves",
        "ve",
        "v",
        "w",
        "k",
        "p",
        "er",
        "\u00e9",
        "f",
        "fi",
        "c",
        "count",
        "ed",
        ".",
        ",",
        "1",
        "2",
        "12",
        "\u65e5\u672c",
        "\u65e5",
        "\u8a9e\u8a9e",
        "xx",
    ]
    vocab = [["<unk>", 0.0]] + [[t, -1.0 - 0.5 * (i % 7)] for i, t in enumerate(tokens)]
    if byte_fallback:
        vocab += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    return {
        "type": "Unigram",
        "unk_id": 0,
        "byte_fallback": byte_fallback,
        "vocab": vocab + [["s", -9.0]],
    }  # a token listed twice


def word_level():
    words = [
        "<unk>",
        "[CLS]",
        "[SEP]",
        "the",
        "lighthouse",
        "keeper",
        "counted",
        "waves",
        ".",
        ",",
        "and",
        "cafe",
        "naive",
        "12345",
        "3",
        "14",
        "\u65e5",
        "\u672c",
        "\u8a9e",
        "one",
        "two",
        "\u2581",
        "hello",
        "world",
        "s",
    ]
    return {"type": "WordLevel", "unk_token": "<unk>", "vocab": {w: i for i, w in enumerate(words)}}


def added(first, *contents):
    flags = {
        "<s>": {"special": True},
        "<mask>": {"special": True, "lstrip": True},
        "<pad>": {"rstrip": True},
        "one": {"single_word": True, "normalized": True},
    }
    return [
        dict(
            {
                "id": first + i,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": False,
            },
            **flags.get(content, {}),
        )
        for i, content in enumerate(contents)
    ]


def template(before, after, ids):
    token = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ids]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": token[:before] + [text] + token[-after:],
        "pair": token[:before] + [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": value, "tokens": [name] * len(value)}
            for name, value in ids.items()
        },
    }


DECODER_OF_BYTES = sequence(
    "decoders",
    replace("String", "\u2581", " "),
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
)


def bpe_kinds():
    """Name and tokenizer.json, as all below."""
    bpe = trained_bpe(continuing_subword_prefix="##", end_of_word_suffix="</w>")
    yield "bpe_affixes", tokenizer_of(
        model=bpe,
        pre_tokenizer={"type": "Whitespace"},
        normalizer={"type": "Lowercase"},
        decoder=sequence(
            "decoders", replace("String", "##", ""), {"type": "BPEDecoder", "suffix": "</w>"}
        ),
        added_tokens=added(len(bpe["vocab"]), "<s>", "<mask>", "<pad>"),
    )
    plain = trained_bpe(end_of_word_suffix="</w>", fuse_unk=True)
    yield "bpe_word_ends", tokenizer_of(
        model=plain,
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "BPEDecoder", "suffix": "</w>"},
    )
    bytes_only = {
        "type": "BPE",
        "vocab": {f"<0x{b:02X}>": b for b in range(256)},
        "merges": [],
        "byte_fallback": True,
        "unk_token": None,
        "dropout": None,
        "fuse_unk": False,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
    }
    yield "bpe_fallback_of_stand_ins", tokenizer_of(
        model=bytes_only,
        pre_tokenizer=byte_level(True, True),
        decoder=sequence("decoders", {"type": "ByteFallback"}, byte_level(True, True)),
    )


def unigram_kinds():
    yield "unigram_charsmap", tokenizer_of(
        model=unigram(False),
        normalizer=charsmap(),
        pre_tokenizer=sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always")),
        decoder={
            "type": "Metaspace",
            "replacement": "\u2581",
            "prepend_scheme": "always",
            "split": True,
        },
        post_processor=template(0, 1, {"</s>": [47]}),
        added_tokens=added(47, "</s>", "<s>", "<mask>", "<pad>", "one"),
    )
    yield "unigram_bytes", tokenizer_of(
        model=unigram(True),
        pre_tokenizer=metaspace("first", cut=False),
        decoder=DECODER_OF_BYTES,
        post_processor=template(1, 1, {"a": [1, 2], "b": [3, 4, 5]}),
    )
    yield "unigram_prepend", tokenizer_of(
        model=dict(unigram(True), type="Unigram"),
        decoder=DECODER_OF_BYTES,
        normalizer=sequence(
            "normalizers",
            strip(True, True),
            {"type": "Prepend", "prepend": "\u2581"},
            replace("Regex", r"\s+", "\u2581"),
        ),
        added_tokens=added(303, "<s>", "<mask>", "<pad>", "one"),
    )


def word_level_kinds():
    yield "word_level", tokenizer_of(
        model=word_level(),
        normalizer=sequence(
            "normalizers", {"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}
        ),
        pre_tokenizer=sequence(
            "pretokenizers", {"type": "Whitespace"}, {"type": "Digits", "individual_digits": False}
        ),
        added_tokens=added(25, "<s>", "<mask>", "<pad>"),
    )
    yield "word_level_bert", tokenizer_of(
        model=word_level(),
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "Fuse"},
        post_processor={"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
    )
    yield "word_level_roberta", tokenizer_of(
        model=word_level(),
        pre_tokenizer=byte_level(True, True),
        decoder=sequence(
            "decoders",
            {"type": "Strip", "content": "e", "start": 1, "stop": 1},
            replace("Regex", "[aeiou]+", "-"),
            {"type": "Fuse"},
            replace("String", "--", "="),
        ),
        post_processor=sequence(
            "processors",
            {
                "type": "RobertaProcessing",
                "sep": ["[SEP]", 2],
                "cls": ["[CLS]", 1],
                "trim_offsets": True,
                "add_prefix_space": True,
            },
            template(1, 1, {"x": [5], "y": [6]}),
        ),
    )


def untyped_kinds():
    untyped = unigram(False)
    del untyped["type"], untyped["byte_fallback"]
    yield "untyped_unigram", tokenizer_of(
        model=untyped, pre_tokenizer=metaspace("never"), decoder=metaspace("never")
    )


def kinds():
    yield from bpe_kinds()
    yield from unigram_kinds()
    yield from word_level_kinds()
    yield from untyped_kinds()


def kind(spec, texts):
    tokenizer = loaded(spec)
    encodings = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    around = tokenizer.encode("", add_special_tokens=True).ids
    numbers = random.Random(7)
    ids = [i for i in range(tokenizer.get_vocab_size()) if tokenizer.id_to_token(i)]
    some = [[numbers.choice(ids) for _ in range(numbers.randrange(1, 9))] for _ in range(60)]
    return {
        "tokenizer": spec,
        "around": around,
        "cases": [
            {
                "text": text,
                "ids": e.ids,
                "decoded": tokenizer.decode(e.ids, skip_special_tokens=False),
            }
            for text, e in zip(texts, encodings)
        ],
        "decoded": [
            {
                "ids": i,
                "text": tokenizer.decode(i, skip_special_tokens=False),
                "without_special": tokenizer.decode(i, skip_special_tokens=True),
            }
            for i in some
        ],
    }


def write(name, value):
    text = json.dumps(value, ensure_ascii=True)
    for key in ("spec", "text", "ids"):
        text = text.replace('{"%s"' % key, '\n{"%s"' % key)
    (OUT / f"{name}.json").write_text(text + "\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write("parts", parts([random_string(i) for i in range(STRINGS)]))
    texts = WORDS + [random_string(i) for i in range(TEXT_COUNT - len(WORDS))]
    for name, spec in kinds():
        write(name, kind(spec, texts))


if __name__ == "__main__":
    main()
