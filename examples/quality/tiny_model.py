"""A model of random weights with a tokenizer of bytes, for study.py --small: it learns nothing that
is worth knowing, but goes through every step of the study in seconds."""
import array
import json
import random
import struct

# So wide that the matrices of an adapter are large enough for 8-bit state.
LAYERS, HIDDEN, INNER, HEADS, KV_HEADS = 2, 256, 256, 4, 2
END = 256
VOCABULARY = 320


def byte_symbols():
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {byte: chr(byte) for byte in printable}
    stand_ins.update((byte, chr(256 + i)) for i, byte in enumerate(others))
    return [stand_ins[byte] for byte in range(256)]


def write_tokenizer(folder):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    vocabulary = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    vocabulary["<end>"] = END
    end = {"id": END, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end],
                 "normalizer": None, "pre_tokenizer": level, "post_processor": None,
                 "decoder": level, "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))


def shapes():
    keys = HIDDEN // HEADS * KV_HEADS
    linears = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (keys, HIDDEN),
               "self_attn.v_proj": (keys, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
               "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
               "mlp.down_proj": (HIDDEN, INNER), "input_layernorm": (HIDDEN,),
               "post_attention_layernorm": (HIDDEN,)}
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        for name, shape in linears.items():
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", (HIDDEN,)


def write(folder):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float32",
              "eos_token_id": END}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    draw, header, data = random.Random(1), {}, bytearray()
    for name, shape in shapes():
        begin = len(data)
        if len(shape) == 1:
            values = [1.0] * shape[0]
        else:
            values = [draw.gauss(0, 0.05) for _ in range(shape[0] * shape[1])]
        data += array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
