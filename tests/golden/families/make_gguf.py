#!/usr/bin/env python3
"""Makes families/NAME/model.gguf by llama.cpp's own converter.

    python make_gguf.py LLAMA_CPP_FOLDER [NAME ...]

LLAMA_CPP_FOLDER is llama.cpp's source. The committed files are by 0c1e57098, which is in the sdist
of llama-cpp-python 0.3.36 (vendor/llama.cpp), with the transformers that it asks for, 4.57.6. The
converter reads a config through that package, so another version may write other metadata.

The tiny models have no tokenizer, so no vocabulary is written: of set_vocab only llama.cpp's
SpecialVocab runs, which writes the ids of special tokens that the config has. The converter counts
the tokens of a Gemma 3 in its tokenizer.json; that file is made up here. A Glm is converted with
the config that a ChatGLM of the same sizes has, and the file is told the size of its heads. All
else is as `convert_hf_to_gguf.py --outtype bf16` does it. Needs numpy, torch, transformers,
sentencepiece, requests, pyyaml, tqdm.
"""

import argparse
import json
import logging
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# llama.cpp does not know it.
NOT_CONVERTED = {"ministral"}


def write_special_ids(self):
    import gguf

    gguf.SpecialVocab(self.dir_model).add_to_gguf(self.gguf_writer)


def as_chatglm(config):
    """The config of a Glm with ChatGLM's names of its settings beside its own. The converter knows
    no others, and writes constants where it does not find them."""
    return config | {
        "seq_length": config["max_position_embeddings"],
        "layernorm_epsilon": config["rms_norm_eps"],
        "rope_ratio": config["rope_theta"] / 10000,
        "attention_dim": config["head_dim"],
    }


def write_head_size(model):
    """The converter leaves the size out for a Glm: heads of published models have the size
    hidden_size / num_attention_heads. The tiny model's do not."""
    model.gguf_writer.add_key_length(model.hparams["head_dim"])
    model.gguf_writer.add_value_length(model.hparams["head_dim"])


def converter_class(folder):
    """As main() of convert_hf_to_gguf.py finds it."""
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    hparams = ModelBase.load_hparams(folder, False)
    return get_model_class(get_model_architecture(hparams, ModelType.TEXT))


def convert(source, scratch):
    import gguf
    import torch

    folder = pathlib.Path(scratch) / source.name  # which the file names as the model's name
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(source / name, folder)
    config = json.loads((folder / "config.json").read_text())
    is_glm = config["model_type"] == "glm"
    if is_glm:
        config = as_chatglm(config)
        (folder / "config.json").write_text(json.dumps(config))
    vocab = {str(i): i for i in range(config.get("text_config", config)["vocab_size"])}
    tokenizer = {"model": {"vocab": vocab}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    file = folder / "model.gguf"
    with torch.inference_mode():
        model = converter_class(folder)(folder, gguf.LlamaFileType.MOSTLY_BF16, file)
        for part in (model, getattr(model, "impl", model)):  # mistral3 has a model inside
            part.set_vocab = write_special_ids.__get__(part)
        if is_glm:
            write_head_size(model)
        model.write()
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llama_cpp", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    sys.path[:0] = [str(arguments.llama_cpp), str(arguments.llama_cpp / "gguf-py")]
    logging.disable(logging.WARNING)
    names = {p.parent.name for p in HERE.glob("*/golden.json")} - NOT_CONVERTED
    for name in arguments.names or sorted(names):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                file = convert(HERE / name, scratch)
            except Exception as refusal:
                print(f"{name}: {type(refusal).__name__}: {refusal}", flush=True)
                continue
            shutil.copyfile(file, HERE / name / "model.gguf")
            print(f"{name}: {file.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
