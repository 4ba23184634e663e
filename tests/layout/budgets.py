#!/usr/bin/env python3
"""Fails when a file has more than 600 lines, a line more than 100 columns, a function more than 100
lines (a kernel: 120), and when the six files of the tour have more than 1,200 lines together.
Columns are not counted in raw strings of C++, in URLs, and in lines of Python that hold nothing but
literals: rows of a table.  Usage: budgets.py ROOT [--planted]
With --planted, each fault of a made-up tree has to be found: a check that cannot fail is none."""
import ast
import pathlib
import re
import sys
import tempfile

MOST_LINES, MOST_COLUMNS, MOST_OF_TOUR = 600, 100, 1200
MOST_OF_FUNCTION, MOST_OF_KERNEL = 100, 120
TOUR = ["launch/main.cpp", "launch/run/train.cpp", "lora/decoder/training_pass.cpp",
        "lora/decoder/block.cpp", "lora/adapter/linear.cpp", "parallel/layer_scheduler.cpp"]
FOLDERS = [".", "cmake", "docs", "examples", "runtime", "quant", "parallel", "optim", "lora",
           "launch", "tests"]
CPP = (".h", ".cpp", ".cu")

# A line of literals and brackets.
ROW = re.compile(r"""([frb]*("(\\.|[^"\\])*"|'(\\.|[^'\\])*')|0x[\dA-Fa-f]+|True|False|None"""
                 r"|[][{}():, +\d.])*$")
# What may hold braces without meaning them. A line that begins with '#' may go on behind a '\'.
SILENT = re.compile(
    r'(?P<raw>\bR"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)")|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'|^[ \t]*\#(?:\\\n|[^\n])*", re.S | re.M)
NAMESPACE = re.compile(r"(inline\s+)?(namespace|extern)\b")
# Behind the parameters of a function or of a lambda, or behind a capture.
END_OF_HEAD = re.compile(
    r"[)\]]\s*((const|noexcept|override|final|mutable|try|&&?)\s*)*(->[^;]*)?\s*$", re.S)
LABEL = re.compile(r"\s*((public|protected|private)\s*:(?!:)\s*)+$")
OF_CONSTRUCTOR = re.compile(r"\)\s*(noexcept\s*)?:[^:].*\}\s*$", re.S)


def quiet(source):
    """The source with nothing but blanks and line ends in strings, comments and directives."""
    return SILENT.sub(lambda text: re.sub(r"[^\n]", " ", text[0]), source)


def kind_of(head):
    """What a brace behind `head` begins: a function, a namespace, or a type or values."""
    if END_OF_HEAD.search(head) or OF_CONSTRUCTOR.search(head):
        return "function"
    return "namespace" if NAMESPACE.match(head) else "values"


def functions_of_cpp(source):
    """Line, length and head of each function that lies in no other. ValueError where braces do not
    match: something was misread."""
    source, open_braces, head, begun = quiet(source), [], "", 0
    depth_in_function = 0
    for at, char in enumerate(source):
        if depth_in_function:
            depth_in_function += (char == "{") - (char == "}")
            if not depth_in_function:
                first = source.count("\n", 0, begun)
                yield first + 1, source.count("\n", 0, at) - first + 1, head
                head = ""
            continue
        if char == "{":
            kind = kind_of(head)
            if kind == "function":
                depth_in_function = 1
            else:
                open_braces.append((kind, head, begun))
                head = ""
        elif char == "}":
            if not open_braces:
                raise ValueError("braces do not match")
            kind, before, begun = open_braces.pop()
            head = before + "{}" if kind == "values" else ""
        elif char == ";" and head.count("(") <= head.count(")"):
            head = ""
        else:
            if not head.strip() or LABEL.match(head):
                head, begun = "", at
            head += char
    if open_braces or depth_in_function:
        raise ValueError("braces do not match")


def functions_of_python(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node.lineno, node.end_lineno - node.lineno + 1, "def"


def functions_between(begin, end):
    def functions(source):
        first = 0
        for number, line in enumerate(source.splitlines(), 1):
            if re.match(begin, line):
                first = number
            elif first and re.match(end, line):
                yield first, number - first + 1, "function"
                first = 0
    return functions


FUNCTIONS = {
    **dict.fromkeys(CPP, functions_of_cpp),
    ".py": functions_of_python,
    ".sh": functions_between(r"(function +)?[\w-]+ *\(\) *\{ *(#.*)?$", r"\}"),
    ".cmake": functions_between(r" *(function|macro)\(", r" *end(function|macro)\("),
}


def kind_of_file(file):
    return ".cmake" if file.name == "CMakeLists.txt" else file.suffix


def too_wide(source, kind):
    counted = re.sub(r"https?://\S+", "", source)
    if kind in CPP:
        counted = SILENT.sub(
            lambda text: "\n" * text[0].count("\n") if text["raw"] else text[0], counted)
    for number, line in enumerate(counted.split("\n"), 1):
        if len(line) > MOST_COLUMNS and not (kind == ".py" and ROW.match(line)):
            yield number, len(line)


def faults_of_file(source, name, kind):
    lines = source.count("\n")
    if lines > MOST_LINES:
        yield f"{name}: {lines} lines"
    for number, columns in too_wide(source, kind):
        yield f"{name}:{number}: {columns} columns"
    try:
        for number, length, head in FUNCTIONS[kind](source):
            if length > (MOST_OF_KERNEL if "__global__" in head else MOST_OF_FUNCTION):
                yield f"{name}:{number}: a function of {length} lines"
    except ValueError as fault:
        yield f"{name}: {fault}"


def faults_of(root):
    for folder in FOLDERS:
        files = (root / folder).glob("*") if folder == "." else (root / folder).rglob("*")
        for file in sorted(files):
            if file.is_file() and kind_of_file(file) in FUNCTIONS:
                source = file.read_text(encoding="utf-8")
                yield from faults_of_file(source, file.relative_to(root).as_posix(),
                                          kind_of_file(file))
    tour = sum((root / name).read_text(encoding="utf-8").count("\n") for name in TOUR)
    if tour > MOST_OF_TOUR:
        yield f"the newcomer's six files: {tour} lines"


LONG = "  int a;\n" * (MOST_OF_FUNCTION - 1)  # one line too many between a head and its end
WIDE = "x" * (MOST_COLUMNS + 1)
OF_FUNCTION = f"a function of {MOST_OF_FUNCTION + 1} lines"
OF_COLUMNS = f"{MOST_COLUMNS + 1} columns"
# A file, what stands in it, and what has to be found there, if anything.
PLANTED = [
    ("runtime/free.cpp", "namespace a {\nint f(int b) {\n" + LONG + "}\n}\n",
     ":2: " + OF_FUNCTION),
    ("runtime/fits.cpp", "namespace a {\nA a{1};\n}\nint f() {\n" + LONG[9:] + "}\n" + LONG, ""),
    ("runtime/method.h", "class A {\n public:\n  int f() const {\n" + LONG + "  }\n};\n",
     ":3: " + OF_FUNCTION),
    ("runtime/made.h", "struct A : B {\n  A(int b) : c_(b), b_{b} {\n" + LONG + "  }\n};\n",
     ":2: " + OF_FUNCTION),
    ("runtime/template.h",
     "template <class T = A<int>>\nauto f(T b) -> A<decltype(g(b))> {\n" + LONG[9:] + "}\n",
     ":1: " + OF_FUNCTION),
    ("runtime/value.cpp", "constexpr auto kF = [](int b) {\n" + LONG + "};\n",
     ":1: " + OF_FUNCTION),
    ("runtime/row.cpp", "constexpr Row kRows[] = {\n    {1, [] {\n" + LONG + "    }},\n};\n",
     ":2: " + OF_FUNCTION),
    ("runtime/table.cpp", "const int kTable[] = {\n" + "  1,\n" * MOST_OF_FUNCTION + "};\n", ""),
    ("runtime/text.cpp", "#define B {\nvoid f() {\n  g('{', \"}{\", R\"({)\");  // {\n}\n", ""),
    ("runtime/brace.cpp", "void f() {\n  {\n}\n", ": braces do not match"),
    ("runtime/cuda/fits.cu", "__global__ void f() {\n" + LONG + "}\n", ""),
    ("runtime/cuda/long.cu", "__global__ void f() {\n" + "\n" * (MOST_OF_KERNEL - 1) + "}\n",
     f":1: a function of {MOST_OF_KERNEL + 1} lines"),
    ("tests/long.py", "def f():\n" + "    pass\n" * MOST_OF_FUNCTION, ":1: " + OF_FUNCTION),
    ("tests/long.sh", "f() {\n" + LONG + "}\n", ":1: " + OF_FUNCTION),
    ("cmake/long.cmake", "function(f)\n" + LONG + "endfunction()\n", ":1: " + OF_FUNCTION),
    ("cmake/CMakeLists.txt", "\n" + WIDE, ":2: " + OF_COLUMNS),
    ("quant/wide.h", WIDE, ":1: " + OF_COLUMNS),
    ("quant/raw.cpp", 'a = R"(' + WIDE + "\n" + WIDE + ')";\n// https://' + WIDE, ""),
    ("quant/accents.cpp", "// " + "\u00e9" * (MOST_COLUMNS - 3), ""),
    ("tests/wide.py", "x = '" + WIDE[6:] + "'\n", ":1: " + OF_COLUMNS),
    ("tests/rows.py", "x = {\n    '" + WIDE + "': [0x1F, None]}\ny = x + '" + WIDE + "'\n",
     f":3: {MOST_COLUMNS + 11} columns"),
    ("launch/main.cpp", "\n" * (MOST_LINES + 1), f": {MOST_LINES + 1} lines"),
    ("launch/run/train.cpp", "\n" * MOST_LINES, ""),
]


def check_planted():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in [(name, "") for name in TOUR] + [planted[:2] for planted in PLANTED]:
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        found = set(faults_of(pathlib.Path(folder)))
    due = {name + fault for name, text, fault in PLANTED if fault}
    due.add(f"the newcomer's six files: {2 * MOST_LINES + 1} lines")
    return [f"not found: {fault}" for fault in sorted(due - found)] + [
        f"found: {fault}" for fault in sorted(found - due)]


if __name__ == "__main__":
    faults = check_planted() if sys.argv[2:] == ["--planted"] else list(
        faults_of(pathlib.Path(sys.argv[1])))
    print("\n".join(faults))
    sys.exit(1 if faults else 0)
