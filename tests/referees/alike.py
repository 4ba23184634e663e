"""Whether two files of goldens say the same, but for the last bits of floats."""

import json
import math
import struct

# Who made a golden; what it holds has to be the same whoever did.
NOT_COMPARED = {"versions", "cpu", "torch", "transformers", "trl", "peft", "llama_cpp_python"}
FLOATS = {"F64": "d", "F32": "f"}


def floats_alike(a, b, tolerance):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-3)


def json_differences(a, b, tolerance, where=""):
    """A line for each value that differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() ^ b.keys():
            if key not in NOT_COMPARED:
                yield f"{where}/{key} is in one of them only"
        for key in a.keys() & b.keys():
            if key not in NOT_COMPARED:
                yield from json_differences(a[key], b[key], tolerance, f"{where}/{key}")
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield f"{where}: {len(a)} values were committed, {len(b)} came"
        for i, (x, y) in enumerate(zip(a, b)):
            yield from json_differences(x, y, tolerance, f"{where}/{i}")
    elif type(a) is type(b) is float:
        if not floats_alike(a, b, tolerance):
            yield f"{where}: {a} was committed, {b} came"
    elif type(a) is not type(b) or a != b:
        yield f"{where}: {str(a)[:80]} was committed, {str(b)[:80]} came"


def tensors_of(path):
    """Name to dtype, shape and bytes, of a .safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    return {name: (one["dtype"], one["shape"], body[slice(*one["data_offsets"])])
            for name, one in header.items()}  # fmt: skip


def tensor_differences(a, b, tolerance):
    for name in sorted(a.keys() ^ b.keys()):
        yield f"{name} is in one of them only"
    for name in sorted(a.keys() & b.keys()):
        if a[name][:2] != b[name][:2]:
            yield f"{name}: {a[name][:2]} was committed, {b[name][:2]} came"
        elif a[name][2] != b[name][2]:
            code = FLOATS.get(a[name][0])
            x, y = ([v for (v,) in struct.iter_unpack(f"<{code}", t[name][2])] if code else [0]
                    for t in (a, b))  # fmt: skip
            # Of a whole tensor: single elements near 0 have no digits of their own.
            size = max(map(abs, x), default=0)
            worst = max((abs(p - q) for p, q in zip(x, y)), default=0)
            if not code or not worst <= tolerance * size:
                yield f"{name}: the bytes differ, by {worst:.3g} of {size:.3g}"


def differences(committed, came, tolerance):
    """Lines about what differs in two files; empty where nothing does."""
    if not came.exists():
        return [f"{committed.name} was not written"]
    if committed.read_bytes() == came.read_bytes():
        return []
    if committed.suffix == ".json":
        found = json_differences(json.loads(committed.read_text()), json.loads(came.read_text()),
                                 tolerance)  # fmt: skip
    elif committed.suffix == ".safetensors":
        found = tensor_differences(tensors_of(committed), tensors_of(came), tolerance)
    else:
        return [f"{committed.name}: the bytes differ"]
    return [f"{committed.name}: {line}" for line in found]


def plant_in_json(value, tolerance):
    """Changes the last value in it that is compared; false where there is none."""
    places = list(value.items() if isinstance(value, dict) else enumerate(value))
    for place, one in reversed(places):
        if place in NOT_COMPARED:
            continue
        if isinstance(one, (dict, list)):
            if plant_in_json(one, tolerance):
                return True
        else:
            changed = one * (1 + 3 * tolerance) + 2e-3 * tolerance if type(one) is float else [one]
            value[place] = changed if changed != one else [one]
            return True
    return False


def plant(path, tolerance):
    """Changes one value in a file of goldens, a float by little more than is allowed."""
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        assert plant_in_json(value, tolerance), path
        path.write_text(json.dumps(value))
        return
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x40  # of a float32, a bit of its exponent
    path.write_bytes(data)
