#!/usr/bin/env python3
"""The studies of cost and growth on toys: their tables are whole and without contradictions, and a
contradiction is found. Usage: studies_test.py cost|growth TESSERA BENCH_PLOT"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).parent


def spoil_parts(results):
    results[0]["steps"][0]["parts"]["products"] += results[0]["steps"][0]["seconds"]


def spoil_number(results):
    results[0]["peak"] = float("nan")


def spoil_losses(results):
    of_ranks = next(r for r in results if "2 ranks" in r["key"] or "2 full" in r["key"])
    of_ranks["losses"][-1] += 1e-6
    paged = next((r for r in results if "paged" in r["key"]), of_ranks)
    paged["losses"][-1] += 1e-6


SPOILED = [(spoil_parts, "do not add up"), (spoil_number, "not finite"),
           (spoil_losses, "other losses")]


def study(name, tessera, bench_plot, folder):
    if name == "cost":
        command = [HERE / "cost.py", tessera, "-", folder, "--tiny", "--rounds", "1"]
    else:
        command = [HERE / "growth.py", tessera, bench_plot, folder, folder / "charts", "--tiny",
                   "--turns", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def check_plot(bench_plot, folder):
    """Equal ratios are equal distances, with labels at powers of two."""
    line = {"name": "a < b", "look": "dots", "points": [[x, x] for x in (1, 2, 4, 8)]}
    chart = {"title": "t", "unit": "u", "values": "number", "across": "ranks", "doublings": True,
             "note": "", "lines": [line]}
    (folder / "chart.json").write_text(json.dumps([chart]))
    subprocess.run([bench_plot, folder / "chart.json", folder / "chart.svg"], check=True)
    tree = xml.etree.ElementTree.parse(folder / "chart.svg")
    path, = (e for e in tree.iter() if e.get("data-name") == "a < b")
    across = [point.split()[0] for point in re.split("[ML]", path.get("d"))[1:]]
    assert across == ["0.0", "333.3", "666.7", "1000.0"], across
    labels, = (e for e in tree.iter() if e.get("class") == "across")
    assert "".join(labels.itertext()) == "1248ranks", list(labels.itertext())


def check(name, page, folder):
    """The page has all rows, each with as many cells as its table's head, and no figure that is
    none."""
    rows, cells = 0, 0
    for line in page.splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        cells = cells or line.count("|")
        assert line.count("|") == cells, f"a row of another width: {line}"
        rows += 1
    expected = {"cost": 1 + 1 + 12 + 8, "growth": 6 * 2 + 4 + 2 + 3 + 2 + 2 + 2}[name]
    assert rows == expected, f"{rows} lines of tables instead of {expected}\n{page}"
    assert not re.search(r"\b(nan|inf|None)\b", page), page
    assert max(map(len, (l for l in page.splitlines() if not l.startswith("|")))) <= 100
    if name == "growth":
        charts = sorted((folder / "charts").glob("growth_*.svg"))
        assert len(charts) == 5, charts
        for chart in charts:
            tree = xml.etree.ElementTree.parse(chart)
            paths = [e for e in tree.iter("{http://www.w3.org/2000/svg}path")
                     if e.get("data-name")]
            assert len(paths) >= 2, f"{chart}: {len(paths)} curves"


def main():
    name, tessera, bench_plot = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        code, page, errors = study(name, tessera, bench_plot, folder)
        assert code == 0, f"exit code {code}\n{errors}"
        check(name, page, folder)
        if name == "growth":
            check_plot(bench_plot, folder)
        file = folder / "results.jsonl"
        results = file.read_text()
        for spoil, message in SPOILED:
            lines = [json.loads(line) for line in results.splitlines()]
            spoil(lines)
            file.write_text("\n".join(map(json.dumps, lines)) + "\n")
            code, _, errors = study(name, tessera, bench_plot, folder)
            assert code == 1 and message in errors, f"{spoil.__name__}: {code}\n{errors}"


if __name__ == "__main__":
    main()
