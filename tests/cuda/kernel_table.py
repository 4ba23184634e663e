#!/usr/bin/env python3
"""Compiles every kernel as the build does, and prints what each takes of an SM.

Fails on what must not be: spilled registers or arrays in local memory, functions that were not
inlined, traps, arithmetic in double where none is meant, blocks that do not fit on a GPU.
Usage: kernel_table.py [--jobs N] [--write docs/kernels.md]
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["runtime", "quant", "parallel", "optim", "lora", "launch"]
GPUS = {80: "A100", 86: "A6000, 3090", 89: "L40S, 4090", 90: "H100"}
SHORT = {"__nv_bfloat16": "bf16", "__half": "f16", "float": "f32"}

# Adds up in double what would cancel in float.
DOUBLE = {"cross_entropy_rows"}


# Dynamic shared memory as the launches have it, by the kernel's integer template arguments.
def forward_tiles(dim):
    queries = 128 if dim <= 128 else 64
    return (queries + 4 * 32) * (dim + 8) * 2


def backward_tiles(dim, gradient):
    return (2 * 64 + 4 * (32 if dim <= 128 else 16)) * (dim + 8) * 2


WIDEST_PLAIN = 256  # the widest head
SHARED = {
    "attention_forward": forward_tiles,
    "attention_forward_plain": lambda: ((8 + 2 * 32) * (WIDEST_PLAIN + 1) + 8 * 32) * 4,
    "attention_backward": backward_tiles,
    "attention_backward_plain":
        lambda of_keys: (2 * (8 + 32) * (WIDEST_PLAIN + 1) + 2 * 8 * 32) * 4,
    "norm_forward": lambda block_row: 8 * 4,
    "norm_backward": lambda block_row: 8 * 4,
    "cross_entropy_rows": lambda: 16 * (16 + 8),
    "argmax_rows": lambda: 16 * 8,
    "blockwise4_decode": lambda: (16 + 256) * 4,
    "double_quant_encode": lambda: (256 + 8) * 4,
    "adamw_8bit_blocks": lambda: 4 * 256 * 4,
}


def toolkit():
    return pathlib.Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))


def nvcc_options():
    """Those of cmake/nvcc.cmake."""
    text = (ROOT / "cmake/nvcc.cmake").read_text()
    return re.search(r"set\(TESSERA_NVCC_OPTIONS ([^)]*)\)", text)[1].split()


def compiled(source, capability):
    """What ptxas says of a source, and its PTX."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(toolkit() / "bin/nvcc"), "-std=c++20", "-O3", "-DNDEBUG",
                   "-DTESSERA_HAS_CUDA=1", *nvcc_options(), "-Xptxas=-v", f"-I{ROOT}",
                   f"-I{ROOT}/runtime/cuda/nvcc", f"-arch=sm_{capability}", "-cubin", "--keep",
                   f"--keep-dir={folder}", "-o", f"{folder}/kernels.cubin", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{source.relative_to(ROOT)} for sm_{capability}:\n{done.stderr}")
        ptx = next(pathlib.Path(folder).glob("*.ptx")).read_text()
    return done.stdout + done.stderr, ptx


def split_arguments(text):
    """Template arguments, at the commas that are not within brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "<(") - (c in ">)")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts]


def readable(mangled):
    """(name, arguments that are types, other arguments) of mangled kernels."""
    text = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True,
                          check=True).stdout
    names = []
    for line in text.splitlines():
        line = line.replace("(anonymous namespace)::", "")
        line = re.sub(r"\((?:\w+::)*(\w+)\)(\d+)", r"\2", line)  # values of enums
        name = re.match(r"(?:void )?(?:\w+::)*(\w+)(?=[<(])", line)
        arguments = []
        if line[name.end()] == "<":
            end, depth = name.end() + 1, 1
            while depth:
                depth += (line[end] == "<") - (line[end] == ">")
                end += 1
            arguments = split_arguments(line[name.end() + 1:end - 1])
        types = [SHORT[a] for a in arguments if a in SHORT]
        others = [a.split("::")[-1] for a in arguments if a not in SHORT]
        names.append((name[1], types, others))
    return names


INSTRUCTION = r"^\s*(?:@!?%p\d+\s+)?"  # where one begins in PTX


def faults(name, body, stack, spills):
    """What must not be in a kernel."""
    found = []
    if stack or spills:
        found.append(f"{stack} bytes of stack, {spills} bytes of spills")
    if re.search(r"\b(ld|st)\.local\b|\.local \.align", body):
        found.append("local memory")
    if re.search(INSTRUCTION + r"trap;", body, re.M):
        found.append("a trap, as the compiler makes of constants it cannot reach")
    if re.search(INSTRUCTION + r"call\b", body, re.M):
        found.append("a call of a function that was not inlined")
    if name not in DOUBLE and re.search(INSTRUCTION + r"(?!mov|ld|st)[\w.]+\.f64\b", body, re.M):
        found.append("arithmetic in double")
    return found


def kernels_of(source, capability):
    """One dict for each kernel of a source, and what is wrong."""
    log, ptx = compiled(source, capability)
    used = {}
    for m in re.finditer(
            r"Function properties for (\S+)\s+(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads\s+ptxas info\s*: Used (\d+) registers([^\n]*)", log):
        static = re.search(r"(\d+) bytes smem", m[6])
        used[m[1]] = (int(m[2]), int(m[3]) + int(m[4]), int(m[5]), int(static[1]) if static else 0)
    wrong = [f"{source.relative_to(ROOT)} sm_{capability}: a function of its own: {f}"
             for f in re.findall(r"^(?!\.extern)[^\n]*\.func\s[^\n]*", ptx, re.M)]
    entries = re.split(r"^(?:\.visible |\.weak )*\.entry ", ptx, flags=re.M)[1:]
    mangled = [re.match(r"[\w$]+", e)[0] for e in entries]
    if set(mangled) != set(used):
        sys.exit(f"{source}: cannot read what ptxas says of {set(mangled) ^ set(used)}")
    found = []
    for symbol, body, (name, types, others) in zip(mangled, entries, readable(mangled)):
        stack, spills, registers, static = used[symbol]
        title = f"{source.relative_to(ROOT)} sm_{capability}: {name}<{', '.join(types + others)}>"
        wrong += [f"{title}: {fault}" for fault in faults(name, body, stack, spills)]
        dynamic = 0
        if name in SHARED:
            values = [int({"true": "1", "false": "0"}.get(v, v)) for v in others]
            dynamic = SHARED[name](*values)
        elif "tessera_shared_" in body:
            wrong.append(f"{title}: takes shared memory; how much must be said in kernel_table.py")
        threads = 1
        for n in re.search(r"\.maxntid (\d+), (\d+), (\d+)", body).groups():
            threads *= int(n)
        found.append({"source": source, "capability": capability, "name": name, "others": others,
                      "types": types, "registers": registers, "static": static,
                      "dynamic": dynamic, "threads": threads})
    return found, wrong


def add_occupancy(kernels):
    """Blocks and filled share of an SM for each kernel."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/occupancy"
        subprocess.run(["g++", "-std=c++20", f"-I{toolkit()}/include", "-o", program,
                        str(ROOT / "tests/cuda/occupancy.cpp")], check=True)
        lines = "".join(f"{k['capability']} {k['registers']} {k['static'] + k['dynamic']} "
                        f"{k['threads']}\n" for k in kernels)
        answers = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    for kernel, answer in zip(kernels, answers.stdout.splitlines(), strict=True):
        blocks, most = map(int, answer.split())
        kernel["blocks"] = blocks
        kernel["filled"] = blocks * kernel["threads"] / most


def table(kernels):
    """A row for each kernel and its arguments other than types: of those the worst."""
    groups = {}
    for k in kernels:
        groups.setdefault((str(k["source"].relative_to(ROOT)), k["name"], tuple(k["others"])),
                          []).append(k)
    heads = ["kernel", "types", "threads", "shared"]
    heads += ["registers " + "/".join(map(str, GPUS))] + list(GPUS.values())
    rows = []

    def order(key):
        return key[0], key[1], [(len(v), v) for v in key[2]]

    for key in sorted(groups, key=order):
        source, name, others = key
        group = groups[key]
        types = {tuple(k["types"]) for k in group}
        row = [f"`{name}{'<' + ', '.join(others) + '>' if others else ''}`", str(len(types)),
               str(group[0]["threads"]), f"{max(k['static'] + k['dynamic'] for k in group):,}"]
        of_gpu = [[k for k in group if k["capability"] == c] for c in GPUS]
        row.append("/".join(str(max(k["registers"] for k in ks)) for ks in of_gpu))
        for ks in of_gpu:
            worst = min(ks, key=lambda k: k["blocks"])
            row.append(f"{worst['blocks']}, {100 * worst['filled']:.0f} %")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |"
             for row in [heads, ["-" * w for w in widths], *rows]]
    return "\n".join(lines)


def page(text, kernels):
    version = subprocess.run([str(toolkit() / "bin/nvcc"), "--version"], capture_output=True,
                             text=True, check=True).stdout
    release = re.search(r"release \S+, V(\S+)", version)[1]
    return f"""# What each kernel takes

`tests/cuda/kernel_table.py --write docs/kernels.md` makes this page with nvcc {release}. The
numbers are those that the compiler reports and that NVIDIA's occupancy calculator gives. Nothing
here was measured.

The script compiles every kernel with the options of the build,
for {", ".join(f"sm_{c}" for c in GPUS)}.
It fails if a kernel spills registers, uses local memory, calls a function, traps, or computes in
double by mistake. None of the {len(kernels) // len(GPUS)} kernels does.

Each row covers all element types of a kernel and shows the worst of them. `types` counts the
combinations. The name shows the other template arguments:

- the padded width of a head;
- what `activation_glu` makes of the gate;
- what `attention_backward` computes: 0 queries, 1 keys and values, 2 keys, 3 values;
- `true` or `false`: for `norm_*`, whether a whole block of threads works on a row; for
  `adamw_32bit`, `grad_norm_chunks` and `blockwise4_encode`, whether elements move in packs; for
  `rows_move`, whether rows are scattered; for `columns_move`, whether parts are joined; for
  `rope_turn`, whether the elements of a pair are neighbours; for `dropout_apply`, whether the
  output is added to; for `attention_backward_plain`, whether the gradient is that of keys and
  values.

`threads` is the largest number of threads of a block. `shared` is the shared memory of a block in
bytes, for the widest head in the case of `*_plain`. A GPU's column gives the blocks that an SM
holds at once, and the share of the SM's threads that they fill.

{text}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", metavar="FILE", help="a page with the table, where all is well")
    arguments = parser.parse_args()
    sources = sorted(s for f in FOLDERS for s in (ROOT / f).rglob("*.cu"))
    # The longest first, so that none is left for the end.
    tasks = [(s, c) for s in sorted(sources, key=lambda s: "attention" not in s.name) for c in GPUS]
    kernels, wrong = [], []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for found, faulty in pool.map(lambda task: kernels_of(*task), tasks):
            kernels += found
            wrong += faulty
    add_occupancy(kernels)
    wrong += [f"{k['name']}<{', '.join(k['types'] + k['others'])}> does not fit on sm_"
              f"{k['capability']}" for k in kernels if k["blocks"] == 0]
    text = table(kernels)
    print(text)
    if wrong:
        sys.exit("\n".join(wrong))
    if arguments.write:
        pathlib.Path(arguments.write).write_text(page(text, kernels))


if __name__ == "__main__":
    main()
