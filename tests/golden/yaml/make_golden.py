"""Writes golden.json: YAML texts and the trees PyYAML builds from them, scalars kept as text.

Run: python make_golden.py (needs PyYAML). A null is what PyYAML's resolver calls one.
"""
import json
import pathlib

import yaml

TEXTS = [
    "a: 1",
    "a: 1\nb: two\nc: 2e-4\n",
    "# only\na: b # after\n\n\n# end",
    "a:\n",
    "a: ~\nb: null\nc: ''\nd: 'null'\n",
    "a: [1, 2, three]\nb: {c: d, e: [f]}\n",
    "a:\n- x\n- y\nb:\n  - z\n",
    "datasets:\n  - path: a.jsonl\n    type: alpaca\n  - path: b.jsonl\n",
    "- 1\n- - 2\n  - 3\n- a: b\n  c: d\n",
    "a: 'it''s'\nb: \"tab\\there \\u00e9 \\x41 \\\"q\\\"\"\n",
    "a: |\n  line one\n  line two\n\nb: >\n  folded\n  text\n",
    "a: |-\n  strip\nb: >-\n  folded\n  more\n",
    "a: plain\n  continued\n  here\nb: 1\n",
    "a: x#y\nb: 'x #y'\nc: http://host/p?q=1\n",
    "a: \"folded\n  double\"\n",
    "'quoted key': 1\n\"other\": 2\n",
    "a: -1\nb: +2\nc: .5\nd: 1_000\ne: 1e3\n",
    "a: yes\nb: No\nc: on\nd: TRUE\n",
    "a: []\nb: {}\n",
    "{a: 1, b: [x, y], c: }\n",
    "[{path: x, type: alpaca}, {path: y}]",
    "---\na: 1\n",
    "%YAML 1.2\n---\na: 1\n",
    "a: \u00fcn\u00efcode \u65e5\u672c\n",
    "  a: 1\n  b: 2\n",
    "a: {path: 'C:\\\\x', other: \"C:\\\\y\"}\n",
    "a: [x,\n    y,\n    # comment\n    z]\n",
    "just text",
    "a: -b\n",
]


def tree(node):
    if isinstance(node, yaml.MappingNode):
        return {key.value: tree(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [tree(item) for item in node.value]
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


golden = [{"text": text, "tree": tree(yaml.compose(text, Loader=yaml.SafeLoader))}
          for text in TEXTS]
path = pathlib.Path(__file__).with_name("golden.json")
path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
