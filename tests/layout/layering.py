#!/usr/bin/env python3
"""Fails when a folder or one of its rooms includes another that it may not know, when files include
each other in a circle, and when headers of CUDA, NCCL, MPI, Arrow or SIMD leave the files they
belong to. docs/architecture.md explains the table.  Usage: layering.py ROOT [--planted]
With --planted, each fault of a made-up tree has to be found: a check that cannot fail is none."""
import pathlib
import re
import sys
import tempfile

FOLDERS = {
    "runtime": [],
    "quant": ["runtime"],
    "parallel": ["runtime"],
    "optim": ["runtime", "quant"],
    "lora": ["runtime", "quant", "parallel"],
    "launch": ["runtime", "quant", "parallel", "optim", "lora"],
}
ALL_OF_LAUNCH = ["console", "config", "text", "hub", "machine", "data", "plan", "report", "run"]
ROOMS = {
    "lora": {"model": [], "adapter": ["model"], "decoder": ["model", "adapter"]},
    "launch": {
        "console": [],
        "config": ["console"],
        "text": ["console"],
        "hub": ["config", "console"],
        "machine": ["config", "console"],
        "data": ["config", "text", "hub", "console"],
        "plan": ["config", "machine", "console"],
        "report": ["config", "console"],
        "run": ALL_OF_LAUNCH[:-1],
        "commands": ALL_OF_LAUNCH,
    },
}
# Headers of others, and the only files that may include them.
OWNERS = [
    (re.compile(r"<(cuda|cublas|nccl)"), re.compile(r"/cuda/|^parallel/nccl_")),
    (re.compile(r"[<\"]mpi\.h"), re.compile(r"^parallel/mpi_")),
    (re.compile(r"[<\"](arrow|parquet)/"), re.compile(r"^launch/data/files/parquet_module")),
    (re.compile(r"immintrin|hwy/highway\.h|hwy/foreach"), re.compile(r"/cpu/")),
]
# Without an error code these throw what users should not see.
THROWS = re.compile(
    r"(fs|filesystem)::(exists|is_[a-z_]+|file_size|remove|remove_all|rename|copy|copy_file|space"
    r"|status|symlink_status|read_symlink|absolute|canonical|weakly_canonical|current_path"
    r"|temp_directory_path|create_director[a-z]+|(recursive_)?directory_iterator)\(")
INCLUDE = re.compile(r'^ *# *include *(["<].*)')
OURS = re.compile(r'"((?:%s|tests)/[^"]+)"' % "|".join(FOLDERS))


# The backends, which only the folders with operators know.
BACKEND = re.compile(r'"[a-z]+/(cpu|cuda)/')


def room_of(path):
    return path.split("/")[1]


def fault_of_edge(source, target):
    if source == "launch/main.cpp":
        only = "launch/commands/"
        return None if target.startswith(only) else f"{source} may include {only} only"
    folder, other = source.split("/")[0], target.split("/")[0]
    if other != folder:
        return None if other in FOLDERS[folder] else f"{folder}/ may not include {other}/"
    if folder not in ROOMS or room_of(source) == room_of(target):
        return None
    may = ROOMS[folder].get(room_of(source))
    if may is None:
        return f"{folder}/ has no room {room_of(source)}"
    if room_of(target) in may:
        return None
    return f"{folder}/{room_of(source)}/ may not include {folder}/{room_of(target)}/"


def faults_of_file(source, lines):
    for number, line in enumerate(lines, 1):
        where = f"{source}:{number}"
        include = INCLUDE.match(line)
        if include:
            ours = OURS.search(line)
            fault = ours and fault_of_edge(source, ours[1])
            if fault:
                yield f"{where}: {fault}: {line.strip()}"
            if BACKEND.search(include[1]) and source.split("/")[0] in ("lora", "launch"):
                yield f"{where}: a backend's header; use the operator's: {line.strip()}"
            for header, owner in OWNERS:
                if header.search(include[1]) and not owner.search(source):
                    yield f"{where}: this header belongs to {owner.pattern}: {line.strip()}"
        calls = THROWS.search(line) and not re.search(r"(error|ignored)\)", line)
        if calls and source != "runtime/io/folder.cpp":
            yield f"{where}: use runtime/io/folder.h, or an error code: {line.strip()}"
    if re.search(r"(^|/)(utils|common|misc|helpers)[./_]", source):
        yield f"{source}: a name that says nothing"


def circles(includes):
    """Files that include each other, each circle once."""
    done, path = set(), []

    def visit(file):
        if file in path:
            yield " -> ".join(path[path.index(file):] + [file])
            return
        if file in done:
            return
        path.append(file)
        for other in includes.get(file, []):
            yield from visit(other)
        path.pop()
        done.add(file)

    for file in sorted(includes):
        yield from visit(file)


def faults_of(root):
    includes = {}
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in (".h", ".cpp", ".cu"):
                continue
            source = file.relative_to(root).as_posix()
            lines = file.read_text(encoding="utf-8").splitlines()
            yield from faults_of_file(source, lines)
            includes[source] = [OURS.search(line)[1] for line in lines
                                if INCLUDE.match(line) and OURS.search(line)]
    yield from (f"files that include each other: {circle}" for circle in circles(includes))


PLANTED = {
    "lora/model/spec.h": '#include "lora/decoder/block.h"',
    "lora/decoder/block.h": '#include "runtime/core/tensor.h"',
    "runtime/core/tensor.h": '#include "quant/format.h"',
    "launch/text/tokenizer/bpe.h": '#include "launch/data/rows.h"',
    "launch/attic/old.h": '#include "launch/config/config.h"',
    "launch/config/config.h": '#include "launch/config/flags.h"',
    "launch/config/flags.h": '#include "launch/config/config.h"',
    "lora/adapter/linear.cpp": "#include <cuda_runtime.h>",
    "optim/adamw.cpp": "#include <immintrin.h>",
    "launch/data/columns.cpp": "#include <arrow/array.h>",
    "quant/sizes.cpp": "auto n = fs::file_size(path);",
    "lora/decoder/head.cpp": '#include "runtime/cpu/gemm.h"',
    "parallel/utils.h": "",
    "launch/main.cpp": '#include "launch/commands/command_line.h"\n'
                       '#include "launch/console/progress.h"\n#include "runtime/core/error.h"',
}
EXPECTED = [
    "lora/model/ may not include lora/decoder/",
    "runtime/ may not include quant/",
    "launch/text/ may not include launch/data/",
    "launch/ has no room attic",
    "launch/config/config.h -> launch/config/flags.h -> launch/config/config.h",
    "<cuda_runtime.h>",
    "<immintrin.h>",
    "<arrow/array.h>",
    "use runtime/io/folder.h",
    "a backend's header",
    "a name that says nothing",
    "launch/main.cpp:2: launch/main.cpp may include launch/commands/ only",
    "launch/main.cpp:3: launch/main.cpp may include launch/commands/ only",
]


def check_planted():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in PLANTED.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        found = list(faults_of(pathlib.Path(folder)))
    missed = [text for text in EXPECTED if not any(text in fault for fault in found)]
    return [f"not found: {text}" for text in missed] + (
        [] if len(found) == len(EXPECTED) else ["found: " + fault for fault in found])


if __name__ == "__main__":
    faults = check_planted() if sys.argv[2:] == ["--planted"] else list(
        faults_of(pathlib.Path(sys.argv[1])))
    print("\n".join(faults))
    sys.exit(1 if faults else 0)
