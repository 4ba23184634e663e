#!/usr/bin/env python3
"""What Jinja2 prints for small templates, with the environment that transformers gives chat
templates.

    python make_jinja_golden.py

needs transformers and Jinja2. It reads jinja/expressions.json beside this script, which holds the
variables that all templates see and a list of snippets, and gives each "template" of it its
"output", or "error": true where it fails in any way. To add one, add its template there.
"""

import json
import pathlib

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

GOLDEN = pathlib.Path(__file__).parent / "jinja" / "expressions.json"


def rendered(template, variables):
    try:
        return {"output": _compile_jinja_template(template).render(**variables)}
    except Exception:
        return {"error": True}


def main():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    lines = []
    for snippet in golden["snippets"]:
        variables = json.loads(json.dumps(golden["variables"]))
        template = snippet["template"]
        lines.append(json.dumps({"template": template, **rendered(template, variables)},
                                ensure_ascii=False))
    made_by = f"transformers {transformers.__version__}, Jinja2 {jinja2.__version__}"
    head = json.dumps({"made_by": made_by, "variables": golden["variables"]}, ensure_ascii=False)
    GOLDEN.write_text(head[:-1] + ', "snippets": [\n' + ",\n".join(lines) + "\n]}\n",
                      encoding="utf-8", newline="\n")
    print(len(lines), "snippets")


if __name__ == "__main__":
    main()
