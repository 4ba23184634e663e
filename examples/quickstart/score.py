#!/usr/bin/env python3
"""Compares generated answers with the records of test.jsonl, character by character.

    python3 score.py prompts TEST.jsonl                        the conversations without answers
    python3 score.py compare TEST.jsonl BEFORE.jsonl AFTER.jsonl

BEFORE and AFTER hold one line {"text": ...} for each row of TEST, as `tessera generate` prints it.
"""

import json
import sys


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def prompts(test):
    for row in read(test):
        print(json.dumps({"messages": row["messages"][:-1]}))


def show(label, text):
    first, *rest = text.splitlines() or [""]
    print(f"  {label:<9} {first}")
    for line in rest[:5]:
        print(f"            {line}")
    if len(rest) > 5:
        print(f"            ... ({len(rest) - 5} more lines)")


def same_record(text, wanted):
    """Whether the text holds the record, whatever stands around it and however it is spaced."""
    try:
        return json.loads(text[text.index("{") : text.rindex("}") + 1]) == json.loads(wanted)
    except ValueError:
        return False


def compare(test, before, after):
    rows, answers = read(test), [[row["text"].strip() for row in read(f)] for f in (before, after)]
    wanted = [row["messages"][-1]["content"] for row in rows]
    for path, texts in zip((before, after), answers):
        if len(texts) != len(wanted):
            sys.exit(f"score: {path} has {len(texts)} answers for {len(wanted)} rows")
    hits = [[a == w for a, w in zip(texts, wanted)] for texts in answers]
    turned = [i for i in range(len(rows)) if hits[1][i] and not hits[0][i]]
    sample = turned[0] if turned else 0
    show("message", rows[sample]["messages"][-2]["content"])
    show("before", answers[0][sample])
    show("after", answers[1][sample])
    show("expected", wanted[sample])
    missed = [i for i in range(len(rows)) if not hits[1][i]]
    if missed:
        print()
        show("missed", answers[1][missed[0]])
        show("expected", wanted[missed[0]])
    print()
    for label, texts, row in zip(("before", "after"), answers, hits):
        alike = sum(map(same_record, texts, wanted))
        exact = f"exact match {label:<6} {sum(row):3d} of {len(row)}"
        print(f"  {exact}   (the right record in any layout: {alike})")


def main():
    usage = "usage: score.py prompts TEST | score.py compare TEST BEFORE AFTER"
    match sys.argv[1:]:
        case ["prompts", test]:
            prompts(test)
        case ["compare", test, before, after]:
            compare(test, before, after)
        case _:
            sys.exit(usage)


if __name__ == "__main__":
    main()
