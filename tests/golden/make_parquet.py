#!/usr/bin/env python3
"""Writes parquet/: small Parquet files, and rows.json with what json.dumps makes of pyarrow's
to_pylist(): dates, times and decimals by str(), what JSON lacks (NaN, infinities) as null.

Needs pyarrow and pandas, which gives nanoseconds (pyarrow 26.0.1, pandas 3.1.1 wrote the files).
"""
import datetime
import decimal
import json
import math
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(__file__).parent / "parquet"
expected = {}


def plain(value):
    """A value of to_pylist() as the rows of a data set have it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        if list(value) == ["bytes", "path"]:  # an image or a sound
            return {"bytes": None, "path": value["path"]}
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    return value


def write(name, table, **options):
    path = OUT / f"{name}.parquet"
    pq.write_table(table, path, write_statistics=False, **options)
    expected[name] = [plain(row) for row in pq.read_table(path).to_pylist()]


def write_refused(name, type_, value):
    table = pa.table({"text": ["one", "two"], "extra": pa.array([None, value], type_)})
    pq.write_table(table, OUT / f"{name}.parquet", write_statistics=False)


def turns(*texts):
    return [{"role": "assistant" if i % 2 else "user", "content": text}
            for i, text in enumerate(texts)]


def write_chat():
    """Row groups of two rows, with checksums, by which damage is seen."""
    table = pa.table({
        "messages": [turns("Hi", "Hello!"), turns('Say "yes"\n\t\\', "yes\x01\x7f"), None, [],
                     turns("Grüße, 世界 🎉"), turns("a", None, "b"), turns("x" * 300, "y" * 300)],
        "source": ["web", "book", "web", None, "web", "book", ""],
        "id": list(range(7)),
    })
    write("chat", table, row_group_size=2, compression="snappy", write_page_checksum=True)


def write_numbers():
    nan, inf = math.nan, math.inf
    columns = {
        "bool": pa.array([True, False, None, True], pa.bool_()),
        "f16": pa.array([0.5, -2.0, None, nan], pa.float16()),
        "f32": pa.array([0.1, -inf, 16777216.0, 1e-45], pa.float32()),
        "f64": pa.array([0.1, 1e22, -0.0, 5e-324], pa.float64()),
        "null": pa.nulls(4),
    }
    for bits in (8, 16, 32, 64):
        top = 2 ** (bits - 1)
        columns[f"i{bits}"] = pa.array([0, -top, top - 1, None], getattr(pa, f"int{bits}")())
        columns[f"u{bits}"] = pa.array([0, 2 * top - 1, 1, None], getattr(pa, f"uint{bits}")())
    write("numbers", pa.table(columns), compression="zstd")


def write_texts():
    words = ["one", "", None, "dréi"]
    raw = [word and word.encode() for word in words]
    columns = {
        "utf8": pa.array(words, pa.string()),
        "large": pa.array(words, pa.large_string()),
        "view": pa.array(words, pa.string_view()),
        "binary": pa.array(raw, pa.binary()),
        "large_binary": pa.array(raw, pa.large_binary()),
        "fixed": pa.array([b"abc", b"\xc3\xa9d", None, b"   "], pa.binary(3)),
        "dictionary": pa.array(words, pa.string()).dictionary_encode(),
        "numbered": pa.DictionaryArray.from_arrays(
            pa.array([1, 0, None, 2], pa.int8()), pa.array([10, 20, 30], pa.int64())),
    }
    packed = ["snappy", "gzip", "brotli", "lz4", "zstd", "none", "snappy", "snappy"]
    write("texts", pa.table(columns), compression=dict(zip(columns, packed)))


def write_times():
    days = [datetime.date(1970, 1, 1), datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]
    moments = [0, -1, 1_700_000_000_123, None]
    columns = {"date32": pa.array(days, pa.date32()), "date64": pa.array(days, pa.date64())}
    for unit, factor in {"s": 1, "ms": 1, "us": 1000, "ns": 1_000_000}.items():
        counts = [m if m is None else m // 1000 if unit == "s" else m * factor for m in moments]
        columns[unit] = pa.array(counts, pa.timestamp(unit))
    columns["tiny"] = pa.array([1, 999, 1000, -999], pa.timestamp("ns"))
    for zone in ("UTC", "Europe/Berlin", "America/New_York", "+05:30", "-03:00"):
        columns[zone] = pa.array([0, 1_688_000_000, -3_000_000_000, None], pa.timestamp("ms", zone))
    columns["t32"] = pa.array([0, 86_399_999, 1000, None], pa.time32("ms"))
    columns["t64"] = pa.array([0, 86_399_999_999, 1, None], pa.time64("us"))
    write("times", pa.table(columns), compression="zstd")


def write_decimals():
    D = decimal.Decimal
    columns = {
        "d128": pa.array([D("12.50"), D("-0.01"), D("0.00"), None], pa.decimal128(20, 2)),
        "d256": pa.array([D(10) ** 49 + 1, D(-7), D(0), None], pa.decimal256(60, 0)),
        "small": pa.array([D("1e-9"), D("-1.5e-8"), D("0"), D("1.000000001")],
                          pa.decimal128(12, 9)),
    }
    write("decimals", pa.table(columns), compression="zstd")


def write_nested():
    number = pa.int32()
    pairs = pa.map_(pa.string(), pa.list_(number))
    media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    deep = pa.struct([("tools", pa.list_(pa.struct([("name", pa.string()), ("args", pairs)])))])
    columns = {
        "list": pa.array([[1, None], [], None], pa.list_(number)),
        "large_list": pa.array([["a"], None, ["b", "c"]], pa.large_list(pa.string())),
        "pair": pa.array([[1, 2], [None, 0], [3, 4]], pa.list_(number, 2)),
        "map": pa.array([[("k", [1]), ("l", None)], None, []], pairs),
        "image": pa.array([{"bytes": b"\x89PNG\xff", "path": "a.png"}, None,
                           {"bytes": None, "path": None}], media),
        "sounds": pa.array([[{"bytes": b"\xff", "path": "a.wav"}], [], None], pa.list_(media)),
        "deep": pa.array([{"tools": [{"name": "f", "args": [("x", [1])]}, None]}, None,
                          {"tools": None}], deep),
    }
    write("nested", pa.table(columns), compression="snappy")


def main():
    OUT.mkdir(exist_ok=True)
    write_chat()
    write_numbers()
    write_texts()
    write_times()
    write_decimals()
    write_nested()
    write("empty", pa.table({"text": pa.array([], pa.string())}))
    write_refused("refused_bytes", pa.binary(), b"\xff\xfe")
    write_refused("refused_duration", pa.duration("us"), datetime.timedelta(seconds=1))
    write_refused("refused_year", pa.timestamp("s"), 10**12)
    write_refused("refused_uuid", pa.uuid(), uuid.UUID(int=1).bytes)
    text = json.dumps(expected, default=str, ensure_ascii=False, indent=0)
    (OUT / "rows.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
