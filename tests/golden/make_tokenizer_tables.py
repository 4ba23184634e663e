#!/usr/bin/env python3
"""Writes launch/text/tokenizer/tokenizer_unicode_tables.h: what the `tokenizers` package and
utf8proc know of code points, where they differ. The package asks several libraries, each with a
Unicode of its own.

    python make_tokenizer_tables.py [libutf8proc.so.2]
"""

import ctypes
import pathlib
import subprocess
import sys

from tokenizers import normalizers, pre_tokenizers

OUT = pathlib.Path(__file__).parents[2] / "launch/text/tokenizer/tokenizer_unicode_tables.h"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
# Of UTF8PROC_CATEGORY_*.
LETTERS, MARKS, DIGIT, NUMBERS, CONNECTOR = range(1, 6), range(6, 9), 9, range(9, 12), 12

utf8proc = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libutf8proc.so.2")
utf8proc.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_int16)


def category(point):
    return utf8proc.utf8proc_category(point)


def combining_class(point):
    return utf8proc.utf8proc_get_property(point)[1]


def decomposed(point, compatible):
    """By utf8proc."""
    parts = (ctypes.c_int32 * 32)()
    boundary = ctypes.c_int(0)
    decompose, compat = 1 << 4, 1 << 2
    count = utf8proc.utf8proc_decompose_char(
        point, parts, 32, decompose | compat * compatible, ctypes.byref(boundary)
    )
    return "".join(map(chr, parts[:count]))


def removed(normalizer):
    return {c for c in POINTS if normalizer.normalize_str(chr(c)) == ""}


def kept_out(pre_tokenizer):
    """What a pre-tokenizer that removes its matches leaves out."""
    kept = pre_tokenizer.pre_tokenize_str("".join(map(chr, POINTS)))
    return set(POINTS) - {ord(c) for word, _ in kept for c in word}


def is_known_word(c):
    """As is_word_point() without its table."""
    kind = category(c)
    return (
        kind in LETTERS
        or kind in MARKS
        or kind in (DIGIT, 10, CONNECTOR)
        or c in (0x200C, 0x200D)
        or 0x24B6 <= c <= 0x24E9
        or 0x1F130 <= c <= 0x1F149
        or 0x1F150 <= c <= 0x1F169
        or 0x1F170 <= c <= 0x1F189
    )


def new_word_points():
    whitespace = pre_tokenizers.Whitespace()
    return {
        c
        for c in POINTS
        if not is_known_word(c)
        and not chr(c).isspace()
        and len(whitespace.pre_tokenize_str("a" + chr(c))) == 1
    }


def new_numeric():
    digits = pre_tokenizers.Digits(individual_digits=False)
    return {
        c
        for c in POINTS
        if category(c) not in NUMBERS and len(digits.pre_tokenize_str("1" + chr(c))) == 1
    }


def uncombining():
    """Marks that are not moved before or behind one whose class is 220 or 230."""
    nfd, found = normalizers.NFD(), set()
    for c in POINTS:
        mine = combining_class(c)
        if mine == 0 or decomposed(c, False) != chr(c):
            continue
        other = "\u0301" if mine == 220 else "\u0316"  # of the classes 230 and 220
        text = "a" + (chr(c) + other if mine > 220 else other + chr(c))
        if nfd.normalize_str(text) == text:
            found.add(c)
    return found


def undecomposed():
    found = set()
    for normalizer, compatible in ((normalizers.NFD(), False), (normalizers.NFKD(), True)):
        found |= {
            c for c in POINTS if normalizer.normalize_str(chr(c)) != decomposed(c, compatible)
        }
    return found


def bert(**on):
    flags = dict.fromkeys(
        ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False
    )
    return normalizers.BertNormalizer(**dict(flags, **on))


def table(name, text, points):
    ranges = []
    for c in sorted(points):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    rows = ", ".join(f"{{{first:#x}, {last:#x}}}" for first, last in ranges)
    return f"/// {text}\ninline constexpr CodePointRange {name}[] = {{{rows}}};\n\n"


def main():
    punctuation = {c for c in kept_out(pre_tokenizers.Punctuation("removed")) if c >= 0x80}
    OUT.write_text(
        "// Sets of code points where the reference's tables and those of utf8proc 2.8 are of different\n"
        "// versions of Unicode; written by tests/golden/make_tokenizer_tables.py.\n"
        "#pragma once\n\nnamespace tessera::launch {\n\n"
        "struct CodePointRange {\n  char32_t first, last;\n};\n\n"
        + table(
            "kNewWordPoints",
            "`\\w`, as is_word_point() has it, beyond what utf8proc knows.",
            new_word_points(),
        )
        + table("kNewNumeric", "Numbers beyond what utf8proc knows.", new_numeric())
        + table(
            "kPunctuation",
            "Punctuation beyond ASCII, as the pre-tokenizers Punctuation and Bert have it.",
            punctuation,
        )
        + table(
            "kMarks", "The marks that StripAccents removes.", removed(normalizers.StripAccents())
        )
        + table(
            "kNonspacingMarks",
            "The marks that BertNormalizer removes.",
            removed(bert(strip_accents=True)),
        )
        + table(
            "kControls",
            "What BertNormalizer removes as control characters.",
            removed(bert(clean_text=True)),
        )
        + table("kUncombining", "Marks that normalization does not put in order.", uncombining())
        + table(
            "kUndecomposed", "Characters that normalization does not take apart.", undecomposed()
        )
        + "}  // namespace tessera::launch\n"
    )
    subprocess.run(["clang-format", "-i", OUT], check=True)


if __name__ == "__main__":
    main()
