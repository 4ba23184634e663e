#!/usr/bin/env python3
"""Fails when a function has more than six parameters: an options struct is due. Kernels (.cu) and
the stand-ins for CUDA's own functions are exempt.  Usage: parameters.py ROOT [--planted]
With --planted, a function of seven has to be found, and others not: a check that cannot fail is
none."""
import pathlib
import re
import sys

MOST = 6
FOLDERS = ["runtime", "quant", "parallel", "optim", "lora", "launch", "tests"]
# "const std::vector<int>& sizes": a type and a name, as a call's argument is not.
DECLARED = re.compile(
    r"^\s*(const\s+)?[\w:]+(<.*>)?\s*(const)?[\s&*]+\w+(\[\w*\])?\s*(=.*)?$", re.S)


def without_text(source):
    source = re.sub(r"//[^\n]*", "", source)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', source)


def arguments_from(source, begin):
    """The texts between the commas of a list that begins behind its parenthesis."""
    parts, depth, angle, part = [], 1, 0, ""
    for at in range(begin, len(source)):
        char = source[at]
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return parts + [part]
        if char == "<":
            angle += 1
        elif char == ">" and source[at - 1] != "-":
            angle = max(0, angle - 1)
        if char == "," and depth == 1 and angle == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    return []


def faults_in(source, name):
    source = without_text(source)
    for call in re.finditer(r"\b([A-Za-z_]\w*)\(", source):
        arguments = arguments_from(source, call.end())
        if len(arguments) > MOST and all(DECLARED.match(a) for a in arguments):
            line = source.count("\n", 0, call.start()) + 1
            yield f"{name}:{line}: {call[1]} has {len(arguments)} parameters, more than {MOST}"


def check_planted():
    many = ("void f(int a, const std::map<int, int>& b, T* c,\n"
            "       float d, A::B e, int g[3], int h);")
    few = "void f(int a, std::map<int, int> b, int c, int d, int e, int g);"
    call = "void f() { g(a, b, c, d, e, h, i); }"
    found = [len(list(faults_in(text, "planted"))) for text in (many, few, call)]
    return [] if found == [1, 0, 0] else [f"found {found} in the planted sources, not [1, 0, 0]"]


def faults_of(root):
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            name = file.relative_to(root).as_posix()
            if file.suffix in (".h", ".cpp") and not name.startswith("tests/cuda_on_cpu/"):
                yield from faults_in(file.read_text(encoding="utf-8"), name)


if __name__ == "__main__":
    faults = check_planted() if sys.argv[2:] == ["--planted"] else list(
        faults_of(pathlib.Path(sys.argv[1])))
    print("\n".join(faults))
    sys.exit(1 if faults else 0)
