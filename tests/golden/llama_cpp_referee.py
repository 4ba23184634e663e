#!/usr/bin/env python3
"""What llama.cpp makes of GGUF files, for make_export_golden.py. Needs llama-cpp-python and numpy.

    python llama_cpp_referee.py losses MODEL.gguf ROWS.json [ADAPTER.gguf]
    python llama_cpp_referee.py quantize FROM.gguf TO.gguf TYPE
    python llama_cpp_referee.py version

losses: ROWS has `samples`, lists of ids, and `prompt`; prints the mean loss of all targets and the
next eight tokens, greedily. The cache of keys and values is float32, one thread computes.
"""

import ctypes
import json
import pathlib
import sys

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as lib

TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18,
         "bf16": 32}  # fmt: skip
POSITIONS = 512
NEW_TOKENS = 8


@lib.llama_log_callback
def log(level, text, data):
    if level == 4:  # errors
        sys.stderr.write(text.decode(errors="replace"))


def load(path):
    params = lib.llama_model_default_params()
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        sys.exit(f"llama.cpp does not load {path}")
    return model


def context_of(model, adapter):
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = POSITIONS
    params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = params.type_k = params.type_v = 0
    context = lib.llama_init_from_model(model, params)
    if adapter:
        lora = lib.llama_adapter_lora_init(model, adapter.encode())
        if not lora:
            sys.exit(f"llama.cpp does not load {adapter}")
        loras = (lib.llama_adapter_lora_p_ctypes * 1)(lora)
        assert lib.llama_set_adapters_lora(context, loras, 1, (ctypes.c_float * 1)(1.0)) == 0
    return context


def logits_of(context, ids, vocab):
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
        batch.seq_id[i][0], batch.logits[i] = 0, 1
    assert lib.llama_decode(context, batch) == 0
    rows = [np.ctypeslib.as_array(lib.llama_get_logits_ith(context, i), (vocab,)).copy()
            for i in range(len(ids))]  # fmt: skip
    lib.llama_batch_free(batch)
    return np.stack(rows).astype(np.float64)


def losses(path, rows, adapter=None):
    rows = json.loads(pathlib.Path(rows).read_text())
    model = load(path)
    vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    context = context_of(model, adapter)
    parts = []
    for ids in rows["samples"]:
        logits = logits_of(context, ids, vocab)[:-1]
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        parts.extend(-logits[np.arange(len(ids) - 1), ids[1:]])
    ids = list(rows["prompt"])
    for _ in range(NEW_TOKENS):
        ids.append(int(logits_of(context, ids, vocab)[-1].argmax()))
    return {"loss": float(np.mean(parts)), "greedy": ids[len(rows["prompt"]):]}


def quantize(source, out, kind):
    params = lib.llama_model_quantize_default_params()
    params.ftype = TYPES[kind]
    assert lib.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)) == 0


def main():
    lib.llama_log_set(log, ctypes.c_void_p(0))
    lib.llama_backend_init()
    command, arguments = sys.argv[1], sys.argv[2:]
    commands = {"losses": losses, "quantize": quantize, "version": lambda: llama_cpp.__version__}
    print(json.dumps(commands[command](*arguments)))


if __name__ == "__main__":
    main()
