"""The page and the charts of growth.py, which imports it."""
import json
import os
import pathlib
import subprocess

import random_checkpoint
from modelled_ranks import BENT, LENGTH, bend
from measured_run import MIB, machine, median, say, table

GIB = 2**30
LARGE = 512 * MIB
LATENCY = 1e-5  # seconds of a message, assumed


def planned_rate(row):
    return row["plan"]["time"]["tokens_per_second"]


def off(measured, planned):
    return f"{100 * (measured / planned - 1):+.1f} %"


def show_plan(tables):
    """How near the plan is, over all rows."""
    rows = [row for series in tables.values() for row in series]
    beside = [(row["peak"] - row["plan"]["peak"]) / MIB for row in rows]
    large = [abs(row["peak"] / row["plan"]["peak"] - 1) for row in rows
             if row["plan"]["peak"] >= LARGE]
    text = (f"All rows of this page were measured {min(beside):,.0f} to {max(beside):,.0f} MiB "
            "above their plan, which leaves out the program, its libraries (under mpirun more of "
            "them), the data and the trace of the profile. ")
    if large:
        text += (f"Rows whose plan has {LARGE / MIB:,.0f} MiB or more are within "
                 f"{100 * max(large):.1f} % of it.")
    speeds = [planned_rate(row) / row["rate"] for name, series in tables.items() for row in series
              if name != "hosts"]
    text += (f"\n\nOn one machine, the planned speed is {min(speeds):.2f} to {max(speeds):.2f} "
             f"times the measured one, {median(speeds):.2f} times in the middle. The plan takes the "
             "rate of large products for all, and leaves out how long threads wait for each other.")
    say("## The plan\n\n" + text)


def share(row, *parts):
    """Of a step's time, these parts."""
    return median([sum(step["parts"][part] for part in parts) / step["seconds"]
                   for step in row["steps"]])


def percent(value):
    return f"{100 * value:.0f} %"


def composed(row, layers):
    """Seconds of a step of `layers` layers from one of few: its recomputed layers many times, the
    last one and all else once."""
    seconds = []
    for step in row["steps"]:
        last = str(row["point"].shape["layers"] - 1)
        again = [s for layer, s in step["layers"].items() if layer != last]
        others = step["seconds"] - sum(again)
        seconds.append(others + sum(again) / len(again) * (layers - 1))
    return median(seconds)


def rate_text(rate):
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"


def rates_text(row):
    if len(row["steps"]) == 1:
        return rate_text(row["rate"])
    return f"{rate_text(row['rate'])} ({'..'.join(map(rate_text, row['rates']))})"


def usual(row):
    """The columns that each table ends with."""
    return [rates_text(row), rate_text(planned_rate(row)), f"{row['peak'] / MIB:,.0f}",
            f"{row['plan']['peak'] / MIB:,.0f}", off(row["peak"], row["plan"]["peak"])]


USUAL = ["tokens/s", "planned", "peak MiB", "planned", "off"]


def line(name, look, points):
    return {"name": name, "look": look, "points": points}


def chart(title, unit, values, across, lines, note=""):
    return {"title": title, "unit": unit, "values": values, "across": across, "doublings": True,
            "note": note, "lines": lines}


def two_charts(rows, across, x, name):
    """Speed and memory of a series, beside the plan's."""
    return [chart("Speed", "tokens per second", "per second", across,
                  [line(name, "dots", [[x(r), r["rate"]] for r in rows]),
                   line("planned", "limit", [[x(r), planned_rate(r)] for r in rows])]),
            chart("Memory", "most that a rank had resident", "bytes", across,
                  [line(name, "dots", [[x(r), r["peak"]] for r in rows]),
                   line("planned", "limit", [[x(r), r["plan"]["peak"]] for r in rows])])]


def charts_of_lengths(tables):
    rows, thin = tables["length"], tables["thin"]
    layers = rows[0]["point"].shape["layers"]
    few = thin[0]["point"].shape["layers"]

    def x(row):
        return row["point"].length

    speed, memory = two_charts(rows, "tokens of a row", x, f"{layers} layers")
    speed["lines"].append(line(f"{layers} layers, composed", "strong",
                               [[x(r), x(r) / composed(r, layers)] for r in thin]))
    memory["lines"].append(line(f"{few} layers", "dots", [[x(r), r["peak"]] for r in thin]))
    memory["lines"].append(line(f"{few} layers, planned", "limit",
                                [[x(r), r["plan"]["peak"]] for r in thin]))
    return [speed, memory]


def charts_of_ranks(rows):
    charts = []
    for sharding in ("full", "replicate"):
        some = [r for r in rows if r["point"].ranks == 1
                or r["point"].settings["sharding"] == sharding]
        for i, added in enumerate(two_charts(some, "ranks", lambda r: r["point"].ranks, sharding)):
            added["lines"][1]["name"] = f"{sharding}, planned"
            if len(charts) <= i:
                charts.append(added)
            else:
                charts[i]["lines"] += added["lines"]
    return charts


def cases_of(modelled):
    cases = {}
    for row in modelled:
        grows = "a row for each rank" if row["grows"] else f"{row['rows']} rows"
        cases.setdefault(f"{row['model']}, {row['device']}, {row['sharding']}, {grows}",
                         []).append(row)
    return cases


def charts_of_modelled(modelled):
    cases = cases_of(modelled)
    return [chart("Speed of a rank: modelled", "tokens per second", "per second", "ranks",
                  [line(name, "strong", [[r["ranks"], r["plan"]["rate"] / r["ranks"]]
                                         for r in rows]) for name, rows in cases.items()]),
            chart("To a node in a step: modelled", "", "bytes", "ranks",
                  [line(name, "strong", [[r["ranks"], r["plan"]["bytes"]] for r in rows])
                   for name, rows in cases.items()])]


def draw(options, folder, tables, modelled):
    """growth_*.svg in the folder for charts."""
    def size(row):
        return random_checkpoint.parameters(row["point"].shape) / 1e6

    def rows_of(row):
        return row["point"].batch

    def count(row):
        return row["point"].micro_batches

    all_charts = {
        "length": charts_of_lengths(tables),
        "size": two_charts(tables["size"], "million parameters", size, "measured"),
        "ranks": charts_of_ranks(tables["ranks"]),
        "batch": two_charts(tables["rows"], "rows of a micro-batch", rows_of, "measured")
        + two_charts(tables["micro-batches"], "micro-batches of a row", count, "measured"),
        "modelled": charts_of_modelled(modelled),
    }
    pathlib.Path(options.charts).mkdir(parents=True, exist_ok=True)
    for name, charts in all_charts.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps(charts))
        subprocess.run([options.bench_plot, file, f"{options.charts}/growth_{name}.svg"],
                       check=True)


def show_lengths(tables):
    rows, thin = tables["length"], tables["thin"]
    layers, few = (series[0]["point"].shape["layers"] for series in (rows, thin))
    say("## Sequence length\n\n![Speed and memory by sequence length](growth_length.svg)")
    measured = {row["point"].length: row for row in rows}
    shown = []
    for row in rows + thin:
        shape = row["point"].shape["layers"]
        parts = [percent(share(row, *names)) for names in (("attention",), ("head",))]
        seconds = composed(row, layers) if row in thin else median(row["seconds"])
        shown.append([f"{row['point'].length:,}", f"{shape}", *usual(row), *parts,
                      f"{seconds:,.1f}"])
    table(["tokens", "layers", *USUAL, "attention", "head", f"s with {layers} layers"], shown)
    both = [r for r in thin if r["point"].length in measured]
    ratios = [composed(r, layers) / median(measured[r["point"].length]["seconds"]) for r in both]
    last, first = thin[-1], rows[0]
    say(f"""
One row is a step, and activations are recomputed. Rows of more than {rows[-1]['point'].length:,}
tokens were measured with {few} of the {layers} layers, because a step would take minutes. The last
column has the time of {layers} layers: measured, or composed of the layers of the small model (all
but the last one are recomputed, and the last one is not) and of the rest. Where both exist, the
composed time is {min(ratios):.2f} to {max(ratios):.2f} of the measured one.

Attention is what bends the curve: its work grows with the square of the length, all other work
with the length. It takes {percent(share(first, 'attention'))} of a step of
{first['point'].length:,} tokens and {percent(share(rows[-1], 'attention'))} of one of
{rows[-1]['point'].length:,}. By the last column, {last['point'].length:,} tokens take
{composed(last, layers):,.0f} s ({last['point'].length / composed(last, layers):,.1f} tokens/s).
Memory grows in proportion to the length, since scores are never stored.""")


def flops(row):
    """Billions of operations a second of the products with frozen weights, both directions."""
    shape = row["point"].shape
    looked_up = 0 if shape["tied"] else shape["vocab"] * shape["hidden"]
    return 4 * (random_checkpoint.parameters(shape) - looked_up) * row["rate"] / 1e9


def show_sizes(rows):
    say("## Model size\n\n![Speed and memory by model size](growth_size.svg)")
    shown = []
    for row in rows:
        count = random_checkpoint.parameters(row["point"].shape)
        shown.append([row["point"].name, f"{count / 1e6:,.0f} M", *usual(row),
                      f"{flops(row):,.0f}",
                      row["plan"]["activations"]])
    table(["model", "parameters", *USUAL, "GFLOP/s", "activations"], shown)
    last = rows[-1]
    say(f"""
The shapes are those of SmolLM2 and Llama 3 with random weights in NF4; a step has one row of
{last['point'].length} tokens. `memory_budget` is 11GiB, and the plan chooses the activations within
it. The {last['point'].name} model takes {median(last['seconds']):,.0f} s a step and
{last['peak'] / 1e9:.1f} GB of resident memory. GFLOP/s counts 4 operations for each parameter
and token. Speed falls with the number of parameters, and there is no bend: the rate of operations
goes from {flops(rows[0]):,.0f} to {flops(last):,.0f} GFLOP/s, because the products of a larger
model are larger, and less of a step is anything else.""")


def ranks_bend(rows):
    """Where speed stops growing with the ranks of one machine."""
    cores = len(os.sched_getaffinity(0))
    filled = max((r for r in rows if r["point"].ranks <= cores), key=lambda r: r["rate"])
    more = [r["rate"] for r in rows if r["point"].ranks > cores]
    text = (f"With {filled['point'].ranks} ranks the {cores} cores reach "
            f"{filled['rate'] / rows[0]['rate']:.2f} times the speed of one rank. ")
    if more:
        text += (f"There the curve bends: more ranks than cores take turns on them and reach "
                 f"{min(more):,.0f} to {max(more):,.0f} tokens/s.")
    return text


def show_ranks(tables):
    rows = tables["ranks"]
    say("## Ranks on one machine\n\n![Speed and memory by ranks](growth_ranks.svg)")
    one = rows[0]["rate"]
    table(["ranks", "sharding", *USUAL, "of one rank", "gather, exchange"],
          [[f"{r['point'].ranks}", r["point"].settings["sharding"], *usual(r),
            f"{r['rate'] / one:.2f}", percent(share(r, "gather", "exchange"))] for r in rows])
    say(f"""
A step has {rows[0]['point'].micro_batches} micro-batches of {rows[0]['point'].length} tokens.
One rank uses all cores, each of several ranks one thread. All rows have the same losses to the bit;
the command checks it. {ranks_bend(rows)}
Memory of a rank falls with `full` only as far as its shard of the layers goes: adapters,
activations and workspace are each rank's own.""")
    if "hosts" not in tables:
        say("Two hosts could not be made on this machine.")
        return
    say("## Two hosts")
    shown = []
    for row in tables["hosts"]:
        run, planned = row["runs"][0], row["plan"]["bytes_between_nodes"]
        shown.append([row["point"].settings["sharding"], *usual(row), f"{planned / MIB:,.1f}",
                      f"{run['sent'] / MIB:,.1f}", f"{run['received'] / MIB:,.1f}",
                      off(run["received"], planned), percent(share(row, "gather")),
                      percent(share(row, "exchange"))])
    table(["sharding", *USUAL, "MiB a step, planned", "sent", "received", "off", "gather",
           "exchange"], shown)
    say("""
4 ranks on two hosts, which are network namespaces of one machine joined by a link of 1 Gbit/s
(`tests/bench/on_two_hosts.sh`, which only root may run). The bytes are those of the link's
counters, by the difference of a short and a longer run. `full` sends the layers over the link in
each micro-batch; `hybrid` and `replicate` send gradients alone. The plan takes each host for a
machine of its own, and these two share one, so that it plans at least twice their speed.""")


def show_batches(tables):
    say("## Micro-batches\n\n![Speed and memory by micro-batches](growth_batch.svg)")
    for series, what in (("rows", lambda p: f"1 of {p.batch} row{'s' * (p.batch > 1)}"),
                         ("micro-batches", lambda p: f"{p.micro_batches} of 1 row")):
        rows = tables[series]
        table([f"micro-batches", *USUAL, "dequantize", "optimizer"],
              [[what(r["point"]), *usual(r), percent(share(r, "dequantize")),
                f"{100 * share(r, 'optimizer'):.1f} %"] for r in rows])
    rows, more = tables["rows"], tables["micro-batches"]
    say(f"""
Rows have {rows[0]['point'].length} tokens, and activations are kept. More rows in a micro-batch
take memory for their activations. They save decoding, since a weight is decoded once for up to
1,026 tokens, and time in which threads wait for each other after every operator:
{rows[-1]['point'].batch} rows are {rows[-1]['rate'] / rows[0]['rate']:.2f} times as fast as one.
More micro-batches take the memory of up to log2(n) sums of gradients and save nothing but updates
of the optimizer: {more[-1]['point'].micro_batches} are {more[-1]['rate'] / more[0]['rate']:.2f}
times as fast as one.""")


def show_modelled(modelled):
    say("## Up to 4,096 ranks: modelled\n\n"
        "![Speed of a rank and bytes to a node, modelled](growth_modelled.svg)")
    shown = []
    for name, rows in cases_of(modelled).items():
        for row in rows:
            said = row["plan"]
            linear = said["rate"] / (rows[0]["plan"]["rate"] * row["ranks"] / rows[0]["ranks"])
            shown.append([name, f"{row['ranks']:,}", f"{said['seconds']:,.2f}",
                          f"{said['rate']:,.0f}", percent(linear), said["bound"],
                          f"{1000 * said['exchange']:,.1f}", f"{said['bytes'] / GIB:,.2f}",
                          f"{row['messages']:,}"])
    table(["model, device, sharding, step", "ranks", "s a step", "tokens/s", "of linear",
           "bound by", "exchange ms", "GiB to a node", "messages of a rank"], shown)
    say(f"""
**Nothing of this was run.** `tessera plan --ranks N --ranks_per_node 8 --profile DEVICE` computed
time and bytes from the rates of [planning.md](planning.md), rows of {LENGTH:,} tokens. Messages are
counted from the order of the exchange in [sharding.md](sharding.md): to ranks of other nodes, as if
a library neither joined nor split them. The model has no latency; below, a message is assumed to
take {LATENCY * 1e6:.0f} microseconds.
""")
    lines = []
    for name, rows in cases_of(modelled).items():
        at, last, said = bend(rows), rows[-1], rows[-1]["plan"]
        if at:
            lines.append(f"- {name}: at {at:,} ranks, a rank gives less than {percent(BENT)} "
                         f"of what it gives at {rows[0]['ranks']:,}. All together give "
                         f"{max(row['plan']['rate'] for row in rows):,.0f} tokens/s at most.")
        else:
            lines.append(f"- {name}: no bend up to {last['ranks']:,} ranks; there a step takes "
                         f"{said['seconds']:,.2f} s, its exchange "
                         f"{100 * said['exchange'] / said['seconds']:.1f} % of that, and its "
                         f"messages alone would take {LATENCY * last['messages']:,.2f} s.")
    say("\n".join(lines))
    say("""
A step that has fewer rows than there are ranks leaves ranks without work: a fixed number of rows is
where scaling ends. Where the step grows with the ranks, the bytes of the gradients that a node
receives stay nearly the same, so that it does not end by bytes. The messages grow with the nodes,
and with `full` over all ranks for each layer, too: where their time reaches that of a step, scaling
ends, too, although the plan does not count them.""")


def show(study, tables, modelled):
    say(f"""# How speed and memory grow

    tests/bench/growth.py build/tessera build/bench_plot runs/growth docs > docs/growth.md

The command made this page and its charts in {study.took() / 60:.0f} minutes on {machine()}. It
needs no download. Adapters have r = 16 on all linears, products are in float32. Each speed is the
median of a run's steps after the first, with the least and the most where there are several; cheap
points were measured {study.options.turns} times, in turns of the whole list. `planned` is what
`tessera plan` said before the run: memory from the shapes, and speed from the profile that `tessera
doctor --profile` measured when the command began. `peak` is the most memory that a process had
resident; the plan leaves out the program, its libraries and the data.
{study.options.note}""")
    show_lengths(tables)
    show_sizes(tables["size"])
    show_ranks(tables)
    show_batches(tables)
    show_plan(tables)
    show_modelled(modelled)
