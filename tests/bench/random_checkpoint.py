"""A Llama of any shape with random weights, as bitsandbytes stores NF4: the codes and scales are
drawn, so that nothing of the model's 16-bit size is ever written or read. Of an 8B shape it is a
file of 6 GiB. For studies, which import it."""
import json
import pathlib
import random
import struct
import subprocess

BLOCK, NESTED_BLOCK = 64, 256
WRITTEN = 1 << 22  # bytes of one write


class Drawn:
    """Bytes from one drawn block of memory, each time from another place in it: as fast as a
    copy."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        codes = self.draw.randbytes(2 * WRITTEN)
        # bfloat16 of a size from 2^-7 to 2^-6, of either sign.
        floats = bytearray(codes)
        floats[1::2] = floats[1::2].translate(bytes(0xBC if b & 1 else 0x3C for b in range(256)))
        self.of = {"codes": codes, "floats": bytes(floats)}

    def write(self, out, kind, size):
        while size > 0:
            start = 2 * self.draw.randrange(WRITTEN // 2)
            size -= out.write(self.of[kind][start:start + min(WRITTEN, size)])


def linears(shape):
    """Names and sizes [out, in] of a layer's linears."""
    hidden, ffn = shape["hidden"], shape["ffn"]
    dim = hidden // shape["heads"]
    return {"self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (shape["kv_heads"] * dim, hidden),
            "self_attn.v_proj": (shape["kv_heads"] * dim, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn)}


def parameters(shape):
    """Of the whole model, norms left out."""
    layer = sum(rows * cols for rows, cols in linears(shape).values())
    return shape["layers"] * layer + shape["vocab"] * shape["hidden"] * (1 if shape["tied"] else 2)


def config_of(shape):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": shape["hidden"], "intermediate_size": shape["ffn"],
            "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"],
            "num_key_value_heads": shape["kv_heads"],
            "head_dim": shape["hidden"] // shape["heads"], "vocab_size": shape["vocab"],
            "max_position_embeddings": 1 << 17, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
            "tie_word_embeddings": shape["tied"], "torch_dtype": "bfloat16"}


class File:
    """A safetensors file whose tensors are named first and written then, in the same order."""

    def __init__(self):
        self.header, self.fill, self.end = {}, [], 0

    def add(self, name, dtype, shape, content):
        """`content`: bytes, or what Drawn is to draw."""
        size = {"U8": 1, "BF16": 2, "F32": 4}[dtype]
        for extent in shape:
            size *= extent
        self.header[name] = {"dtype": dtype, "shape": list(shape),
                             "data_offsets": [self.end, self.end + size]}
        self.end += size
        self.fill.append((content, size))

    def write(self, path, drawn):
        head = json.dumps(self.header).encode()
        head += b" " * (-len(head) % 8)
        with open(path, "wb") as out:
            out.write(struct.pack("<Q", len(head)) + head)
            for content, size in self.fill:
                if isinstance(content, str):
                    drawn.write(out, content, size)
                else:
                    out.write(content)


def dense_file(shape, linear):
    """The file of a model whose linears `linear(file, name, rows, cols)` adds."""
    file, ones = File(), struct.pack("<H", 0x3F80) * shape["hidden"]
    file.add("model.embed_tokens.weight", "BF16", (shape["vocab"], shape["hidden"]), "floats")
    file.add("model.norm.weight", "BF16", (shape["hidden"],), ones)
    if not shape["tied"]:
        file.add("lm_head.weight", "BF16", (shape["vocab"], shape["hidden"]), "floats")
    for layer in range(shape["layers"]):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            file.add(f"{at}{norm}.weight", "BF16", (shape["hidden"],), ones)
        for name, (rows, cols) in linears(shape).items():
            linear(file, f"{at}{name}.weight", rows, cols)
    return file


def write_dense(folder, shape):
    """A small model with linears in float32 as a folder, unless it is there."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        dense_file(shape, lambda file, name, rows, cols: file.add(name, "F32", (rows, cols),
                                                                  "floats")
                   ).write(folder / "model.safetensors", Drawn(0))
        (folder / "config.json").write_text(json.dumps(config_of(shape)))
    return folder


def maps_of_format(tessera, folder):
    """The two tables of values that stand with each linear, with the program's own bits, from a
    model of one small layer that it quantizes."""
    shape = {"layers": 1, "hidden": 64, "ffn": 64, "heads": 1, "kv_heads": 1, "vocab": 64,
             "tied": True}
    dense, small = write_dense(folder / "dense", shape), folder / "small"
    subprocess.run([tessera, "quantize", dense, small], check=True, capture_output=True)
    with open(small / "model.safetensors", "rb") as data:
        size, = struct.unpack("<Q", data.read(8))
        header = json.loads(data.read(size))
        found = {}
        for name in ("quant_map", "nested_quant_map"):
            begin, end = header[f"model.layers.0.mlp.up_proj.weight.{name}"]["data_offsets"]
            data.seek(8 + size + begin)
            found[name] = data.read(end - begin)
    config = json.loads((small / "config.json").read_text())
    return found, config["quantization_config"]


def write(tessera, folder, shape):
    """The model as a folder, unless it is there."""
    folder = pathlib.Path(folder)
    if (folder / "config.json").exists():
        return folder
    scratch = folder.with_name(folder.name + ".parts")
    subprocess.run(["rm", "-rf", scratch, folder], check=True)
    scratch.mkdir(parents=True)
    maps, quantization = maps_of_format(tessera, scratch)

    def linear(file, name, rows, cols):
        blocks = -(-rows * cols // BLOCK)
        nested = -(-blocks // NESTED_BLOCK)
        state = json.dumps({"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16",
                            "shape": [rows, cols], "nested_blocksize": NESTED_BLOCK,
                            "nested_dtype": "float32", "nested_offset": 0.04}).encode()
        file.add(name, "U8", (-(-rows * cols // 2), 1), "codes")
        file.add(name + ".absmax", "U8", (blocks,), "codes")
        file.add(name + ".quant_map", "F32", (16,), maps["quant_map"])
        file.add(name + ".nested_absmax", "F32", (nested,), struct.pack("<f", 0.01) * nested)
        file.add(name + ".nested_quant_map", "F32", (256,), maps["nested_quant_map"])
        file.add(name + ".quant_state.bitsandbytes__nf4", "U8", (len(state),), state)

    folder.mkdir()
    dense_file(shape, linear).write(folder / "model.safetensors", Drawn(1))
    subprocess.run(["rm", "-rf", scratch], check=True)
    config = config_of(shape) | {"quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=2))  # last: it is whole
    return folder
