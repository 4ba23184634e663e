"""Normalizers, pre-tokenizers and decoders as a tokenizer.json spells them, for
make_tokenizer_kinds.py: one or more of every kind, and the regular expressions of published
tokenizers."""

import base64
import functools
import pathlib
import tempfile

import sentencepiece

from make_tokenizer_golden import TEXTS


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def byte_level(add_prefix_space, use_regex):
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def metaspace(scheme, cut=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}


def replace(kind, pattern, content):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def strip(left, right):
    return {"type": "Strip", "strip_left": left, "strip_right": right}


def bytes_field(message, number):
    """The last field of that number in a protobuf message; its type is bytes or a message."""

    def varint(at):
        value = shift = 0
        while True:
            value |= (message[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                return value, at

    at, found = 0, None
    while at < len(message):
        key, at = varint(at)
        if key & 7 == 2:
            length, at = varint(at)
            if key >> 3 == number:
                found = message[at : at + length]
            at += length
        else:
            at = varint(at)[1] if key & 7 == 0 else at + (8 if key & 7 == 1 else 4)
    return found


@functools.cache
def charsmap():
    """A small map of SentencePiece's, of sequences that begin alike and of one that vanishes."""
    rules = [
        ("\u00c5", "A"),
        ("A\u030a", "\u00c5"),
        ("\ufb01", "fi"),
        ("\uff21", "A"),
        ("\u3000", " "),
        ("\u0301", ""),
        ("a\u0301\u0323", "a"),
        ("\u2460", "1"),
        ("\t", " "),
        ("\u00bd", "1/2"),
        ("\u30ab\u3099", "\u30ac"),
        ("\u1100", "\u1101"),
        ("e\u0301", "\u00e9"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        table = "".join(
            "\t".join(" ".join(f"{ord(c):X}" for c in side) for side in rule) + "\n"
            for rule in rules
        )
        (folder / "rules.tsv").write_text(table)
        (folder / "texts").write_text("\n".join(TEXTS))
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "texts"),
            model_prefix=str(folder / "small"),
            vocab_size=200,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(folder / "rules.tsv"),
            minloglevel=2,
        )
        model = (folder / "small.model").read_bytes()
    blob = bytes_field(bytes_field(model, 3), 2)  # normalizer_spec, precompiled_charsmap
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(blob).decode()}


def normalizers():
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield {"type": name}
    yield from (strip(left, right) for left in (False, True) for right in (False, True))
    yield replace("String", "th", "\u00fe")
    yield {"type": "Prepend", "prepend": "\u2581"}
    for pattern in (r"\s+", "x*", "^", "$", "(?<=a)", "[^a-z]", r"\p{M}", " {2,}"):
        yield replace("Regex", pattern, "-")
    yield charsmap()
    for flags in range(8):
        for accents in (True, False, None):
            yield {
                "type": "BertNormalizer",
                "clean_text": bool(flags & 1),
                "handle_chinese_chars": bool(flags & 2),
                "strip_accents": accents,
                "lowercase": bool(flags & 4),
            }
    yield sequence("normalizers")
    yield sequence(
        "normalizers",
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
        strip(True, True),
        {"type": "Prepend", "prepend": "_"},
    )
    yield sequence(
        "normalizers", charsmap(), strip(False, True), replace("Regex", " {2,}", "\u2581")
    )


BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")


def pre_tokenizers():
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        yield {"type": name}
    yield from ({"type": "Digits", "individual_digits": flag} for flag in (True, False))
    for behavior in BEHAVIORS:
        yield {"type": "Punctuation", "behavior": behavior}
        for invert in (False, True):
            for pattern in (
                {"String": " "},
                {"String": "the"},
                {"Regex": r"\s*"},
                {"Regex": r"\p{L}?"},
                {"Regex": "(?=[A-Z])"},
                {"Regex": "$"},
            ):
                yield split(pattern, behavior, invert)
    yield from ({"type": "CharDelimiterSplit", "delimiter": c} for c in " e\u2581")
    yield from ({"type": "FixedLength", "length": length} for length in (1, 3, 100))
    yield from (byte_level(prefix, regex) for prefix in (True, False) for regex in (True, False))
    yield from (
        metaspace(scheme, cut) for scheme in ("always", "first", "never") for cut in (True, False)
    )
    digits = {"type": "Digits", "individual_digits": True}
    for steps in (
        (
            {"type": "Punctuation", "behavior": "Contiguous"},
            byte_level(False, True),
            {"type": "Digits", "individual_digits": False},
            split({"Regex": "[0-9][0-9][0-9]"}),
        ),
        (byte_level(True, True), {"type": "Punctuation"}),
        (byte_level(False, False), byte_level(False, True)),
        ({"type": "WhitespaceSplit"}, metaspace("always")),
        (digits, metaspace("first")),
        (metaspace("always"), digits),
        ({"type": "BertPreTokenizer"}, {"type": "FixedLength", "length": 2}),
    ):
        yield sequence("pretokenizers", *steps)


# Of published tokenizers, and one or more for every construct.
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REGEXES = [
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    + CONTRACTIONS
    + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
    r"""[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    r"(\s+$)|(\d{1,3}(?=(?:\d{3})*\b))",
    r" ?[^(\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+",
    r"'s|'t| ?[[:alpha:]]+| ?[[:digit:]]+| ?[^\s[:alpha:][:digit:]]+|\s+",
    r"[\u4e00-\u9fa5\u3040-\u30ff]+",
    r"\w+|\W",
    r"[\w]+",
    r"[^\W\d]+",
    r"\b",
    r"\B",
    r"\A.",
    r".\z",
    r".\Z",
    r"^.",
    r".$",
    r"(?m:.+)",
    r".+",
    r"\N+",
    r"\R",
    r"[\S\d]+",
    r"[^\S\n]+",
    r"\h+",
    r"\H",
    r"\P{L}",
    r"\p{^L}+",
    r"[\P{L}\p{Lu}]",
    r"\p{ uppercase_letter }",
    r"\p{Punct}+",
    r"\p{Word}+",
    r"[[:punct:]]",
    r"[[:^space:]]+",
    r"[[:word:]]",
    r"[[:alnum:]]+",
    r"[[:upper:]][[:lower:]]*",
    r"[[:blank:]]",
    r"[[:cntrl:]]",
    r"[[:xdigit:]]+",
    r"[[:ascii:]]+",
    r"[a-z&&[^aeiou]]+",
    r"[^a-z&&[aeiou]]",
    r"[[a-c][x-z]\d]",
    r"[a-c[^a-y]]",
    r"(?i)the|AND",
    r"a(?i)b|c",
    r"(?i:[a-c]+)(?-i:d)?",
    r"(?<x>a|e)(?=\w)",
    r"(?<!\s)\p{P}",
    r"(?>a|ab)c?",
    r"t(?#comment)h",
    r"\x{2581}?\x41|\u00e9",
    r"\t|\v|\f|\a|\e",
    r"[+\-*/]",
    r"a{,2}e",
    r"[aeiou]{2,}?",
    r"l{1,2}+",
    r"a{x}|\{",
    r"e??\w",
    r"",
    r"x*",
] + [
    rf"\p{{{name}}}+"
    for name in (
        "L",
        "Lu",
        "Ll",
        "Lt",
        "Lm",
        "Lo",
        "M",
        "Me",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Po",
        "S",
        "Sm",
        "Sc",
        "Sk",
        "So",
        "Z",
        "Zs",
        "Zl",
        "Zp",
        "Cc",
        "Co",
        "Alphabetic",
        "Uppercase",
        "Lowercase",
        "White_Space",
        "Han",
        "Hiragana",
        "Katakana",
        "Hangul",
        "Latin",
        "Cyrillic",
        "Greek",
        "Arabic",
        "Hebrew",
        "Thai",
        "Devanagari",
        "Bengali",
        "Tamil",
        "Armenian",
        "Georgian",
        "Bopomofo",
        "Lao",
        "Khmer",
        "Myanmar",
        "Tibetan",
        "Ethiopic",
        "Mongolian",
    )
]
