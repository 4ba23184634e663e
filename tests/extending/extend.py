#!/usr/bin/env python3
"""Adds a family, a format of frozen weights, a loss, an optimizer and a command to a copy of the
sources, by the edits that docs/extending.md describes and no others; builds the program and runs
each of them.  Usage: extend.py ROOT [WRITE_MODEL]
Without WRITE_MODEL it builds nothing: it counts the files of each recipe, and looks for the lines
that the edits need. Only what the edits touch is compiled where ccache has the rest from a release
build."""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

# Of each thing: the lines that are put behind a line of a file that is there. Its own files lie in
# toys/.
FAMILY = """ModelSpec read_greek(const ConfigKeys& keys) {
  static constexpr NormName kNorms[] = {{NormSite::kBeforeAttention, "alpha", "attn_norm"},
                                        {NormSite::kBeforeMlp, "beta", "ffn_norm"}};
  ModelSpec spec;
  spec.hidden = keys.integer("width", 1, SpecLimits::kWidth);
  spec.vocab = keys.integer("vocab_size", 1, SpecLimits::kVocab);
  spec.max_position = keys.integer("max_position_embeddings", 1, SpecLimits::kPosition);
  LayerSpec layer;
  layer.mlp.width = keys.integer("depth_of_mlp", 1, SpecLimits::kFfn);
  layer.attention.heads = keys.integer("columns", 1, SpecLimits::kWidth);
  layer.attention.kv_heads = layer.attention.heads;
  layer.attention.head_dim = spec.hidden / layer.attention.heads;
  layer.norms = kNorms;
  spec.layers.assign(size_t(keys.integer("storeys", 1, SpecLimits::kLayers)), layer);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

"""
RECIPES = {
    "family": {
        "lora/model/families.cpp": [
            ("// The families, a reader each. The defaults are those of the classes in "
             "transformers.\n\n", FAMILY),
            ("constexpr Family kFamilies[] = {\n",
             '    {"GreekForCausalLM", "greek", "greek", "", read_greek},\n'),
        ],
    },
    "format": {
        "quant/format.cpp": [
            ('#include "quant/format_dense.h"\n', '#include "quant/format_int8.h"\n'),
            ("constexpr const Format* kFormats[] = {\n", "    &kInt8Format,\n"),
        ],
    },
    "loss": {
        "lora/decoder/loss.cpp": [
            ("void cross_entropy_loss(Context& ctx, const LossChunk& chunk);\n",
             "void twice_loss(Context& ctx, const LossChunk& chunk);\n"),
            ('    {"cross_entropy", cross_entropy_loss},\n', '    {"twice", twice_loss},\n'),
        ],
    },
    "optimizer": {
        "optim/rule.cpp": [
            ('#include "optim/adamw.h"\n', '#include "optim/sign_momentum.h"\n'),
            ('    {"adamw", kAdamWMoments, kAdamWOptions, check_adamw, update_adamw},\n',
             '    {"sign", kSignMoments, kSignOptions, check_sign, update_sign},\n'),
        ],
    },
    "command": {
        "launch/commands/command_line.cpp": [
            ("void declare_help(CLI::App* command, int& exit_code);\n",
             "void declare_hello(CLI::App* command, int& exit_code);\n"),
            ("constexpr Command kCommands[] = {\n", '    {"hello", "Greet", declare_hello},\n'),
        ],
    },
}


# A row of the page: the thing, the places of its files, their number.
ROW = re.compile(r"^\| \[an? (?:\w+ )?(\w+)\]\(#[\w-]+\) \| (.*) \| (\d+) \|$", re.M)
# A place: a file, or a folder with the number of files in it where that is not one.
PLACE = re.compile(r"`([^`]+)`(?: \((\d)\))?")


def check_counts(root):
    """The page counts the files that it names, and the recipe of a toy has as many."""
    page = (root / "docs/extending.md").read_text(encoding="utf-8")
    toys = root / "tests/extending/toys"
    left = {file.relative_to(toys).as_posix() for file in toys.rglob("*") if file.is_file()}
    rows = {name: (PLACE.findall(places), int(count)) for name, places, count in ROW.findall(page)}
    assert len(rows) == page.count("\n| ["), f"only these say a number: {sorted(rows)}"
    for name, (places, count) in rows.items():
        named = sum(int(number or 1) for _, number in places)
        assert named == count, f"extending.md: {name}: {count} files, but it names {named}"
    for name, recipe in RECIPES.items():
        places, count = rows[name]
        # Toys compute where they are; a row's own kernels are apart.
        kernels = sum(place in ("cpu/", "cuda/") for place, _ in places)
        folder = pathlib.PurePath(next(iter(recipe))).parent.as_posix() + "/"
        made = {file for file in left if file.startswith(folder)}
        left -= made
        needed = len(recipe) + len(made) + kernels
        assert needed == count, f"extending.md: {name}: {count} files, but the recipe has {needed}"
    assert not left, f"of no recipe: {sorted(left)}"


def copy_sources(root, copy):
    """All that the program is made of."""
    for name in ["CMakeLists.txt", "CMakePresets.json", "cmake", "runtime", "quant", "parallel",
                 "optim", "lora", "launch", "tests"]:
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name)  # with its times: ninja has them, too
        else:
            shutil.copy2(root / name, copy / name)


def apply(recipes, copy):
    for recipe in recipes.values():
        for name, edits in recipe.items():
            path = copy / name
            text = path.read_text(encoding="utf-8")
            for anchor, lines in edits:
                assert text.count(anchor) == 1, f"{name} has no line, or several: {anchor}"
                text = text.replace(anchor, anchor + lines)
            path.write_text(text, encoding="utf-8")
    shutil.copytree(copy / "tests/extending/toys", copy, dirs_exist_ok=True)


def build(copy):
    # Under names relative to the folder, as tests/run.sh has them, too, so that ccache knows them.
    environment = dict(os.environ, CCACHE_BASEDIR=str(copy), CCACHE_NOHASHDIR="1")
    configure = ["cmake", "--preset", "release", "-B", "build"]
    subprocess.run(configure, cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "build", "--target", "tessera"], cwd=copy, env=environment,
                   check=True)
    return copy / "build/tessera"


def make_greek(folder):
    """Turns the Llama in a folder into a model of the toy family: other names of keys and norms."""
    path = folder / "config.json"
    old = json.loads(path.read_text())
    new = {"architectures": ["GreekForCausalLM"], "model_type": "greek",
           "width": old["hidden_size"], "depth_of_mlp": old["intermediate_size"],
           "storeys": old["num_hidden_layers"], "columns": old["num_attention_heads"],
           "vocab_size": old["vocab_size"], "max_position_embeddings": 4096}
    path.write_text(json.dumps(new))
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = {name.replace("input_layernorm", "alpha").replace("post_attention_layernorm", "beta"):
              entry for name, entry in json.loads(raw[8:8 + size]).items()}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size:])


def run(*command, fails=False):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def try_all(program, write_model, work):
    model = work / "model"
    model.mkdir()
    run(write_model, model, "layers=2", "heads=4", "kv_heads=4")
    config = model / "config.yml"

    def train(out, *settings):
        run(program, "train", config, f"output_dir={work / out}", *settings)
        lines = (work / out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    plain = train("plain")
    assert train("twice", "loss=twice", "optimizer=adamw")[0] == 2 * plain[0]
    refused = run(program, "train", config, f"output_dir={work / 'plain'}", "loss=twice",
                  "max_steps=5", "resume_from_checkpoint=auto", fails=True)
    assert 'made with loss = null, but this run has "twice"' in refused, refused
    refused = run(program, "train", config, f"output_dir={work / 'plain'}", "optimizer=sign",
                  "resume_from_checkpoint=auto", fails=True)
    assert 'made with optimizer = null, but this run has "sign"' in refused, refused
    assert train("sign", "optimizer=sign")[1:] != plain[1:]
    assert train("paged", "optimizer=paged_sign_32bit", "optimizer_page_budget=0B") == \
        train("resident", "optimizer=paged_sign_32bit")
    int8 = ["bnb_4bit_quant_type=int8", "bnb_4bit_use_double_quant=false"]
    near = train("int8", *int8)
    assert near != plain and abs(near[0] - plain[0]) < 0.1, (near, plain)
    assert "INT8, blocks of 64" in run(program, "plan", config, *int8)
    refused = run(program, "plan", config, int8[0], fails=True)
    assert "int8 has none; use false" in refused, refused
    assert run(program, "hello", "Ada") == "Hello, Ada.\n"
    assert "hello" in run(program, "--help")
    make_greek(model)
    assert train("greek") == plain
    refused = run_with_family(program, config, work, "Roman")
    assert "'RomanForCausalLM' is not supported; supported: Greek" in refused, refused


def run_with_family(program, config, work, name):
    path = config.parent / "config.json"
    path.write_text(path.read_text().replace("Greek", name))
    return run(program, "train", config, f"output_dir={work / name}", fails=True)


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    check_counts(root)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        copy = work / "source"
        copy.mkdir()
        copy_sources(root, copy)
        apply(RECIPES, copy)
        if sys.argv[2:]:
            try_all(build(copy), pathlib.Path(sys.argv[2]).resolve(), work)


if __name__ == "__main__":
    main()
