#!/usr/bin/env python3
"""Fails when docs/compatibility.md lacks a family of lora/model/families.cpp, a wrapper of
lora/model/parse_config.cpp, a folder of tests/golden/families/ or a test that runs for each of
them, and when it names a test that is not there.  Usage: compatibility.py ROOT [--planted]
With --planted, pages with these faults have to be found: a check that cannot fail is none."""
import pathlib
import re
import sys

PAGE = "docs/compatibility.md"
TABLES = {  # rows {"...ForCausalLM", "model_type", ...
    "lora/model/families.cpp": "constexpr Family kFamilies",
    "lora/model/parse_config.cpp": "constexpr Wrapper kWrappers",
}
HOLDS_FAMILIES = ("Families", "ConvertedFamilies", "FamilyRuns", "FamiliesOnGpu")
ROW_OF_TABLE = re.compile(r'^ {4}\{"\w+", "(\w+)"', re.M)
ROW_OF_PAGE = re.compile(r"^\| [^|]+ \| `(\w+)` \|", re.M)
TEST = re.compile(r"^TEST(_[FP])?\((\w+), (\w+)\)", re.M)
NAME_OF_TEST = re.compile(r"`(\w+)\.(\w+)\.(\w+)`")


def names_of_families(root):
    for file, begin in TABLES.items():
        table = (root / file).read_text(encoding="utf-8").split(begin)[1].split("\n};")[0]
        rows = ROW_OF_TABLE.findall(table)
        if not rows:
            raise SystemExit(f"{file}: no rows behind '{begin}'")
        yield from ((name, file) for name in rows)
    folders = sorted((root / "tests/golden/families").glob("*/golden.json"))
    yield from ((file.parent.name, "tests/golden/families") for file in folders)


def tests_of(root):
    """As folder.suite.test, and those of them that run for each family."""
    tests, of_families = set(), set()
    for file in sorted((root / "tests").glob("*/*_test.cpp")):
        for kind, suite, name in TEST.findall(file.read_text(encoding="utf-8")):
            test = (file.parent.name, suite, name)
            tests.add(test)
            if kind == "_P" and suite in HOLDS_FAMILIES:
                of_families.add(test)
    return tests, of_families


def faults_of(page, families, tests, of_families):
    shown = set(ROW_OF_PAGE.findall(page))
    named = set(NAME_OF_TEST.findall(page))
    for name, source in families:
        if name not in shown:
            yield f"{PAGE}: '{name}' of {source} is missing; run tests/compatibility.py"
    for test in sorted(named - tests):
        yield f"{PAGE}: there is no test {'.'.join(test)}"
    for test in sorted(of_families - named):
        yield f"{PAGE}: {'.'.join(test)} is missing; name it in tests/compatibility.py"


def check_planted(page, families, tests, of_families):
    """Each fault is found, and it alone; those that the page has anyway aside."""
    there = set(faults_of(page, families, tests, of_families))
    cases = {f"'{name}' of": re.sub(rf"^\| [^|]+ \| `{name}` \|.*\n", "", page, flags=re.M)
             for name in set(ROW_OF_PAGE.findall(page))}
    cases |= {f"{'.'.join(test)} is missing": page.replace(f"`{'.'.join(test)}`", "")
              for test in of_families & set(NAME_OF_TEST.findall(page))}
    cases["no test lora.Families.Nothing"] = page + "`lora.Families.Nothing`"
    for expected, planted in cases.items():
        found = set(faults_of(planted, families, tests, of_families)) - there
        if not found or not all(expected in fault for fault in found):
            yield f"expected {expected}; found: {found}"


def main():
    root = pathlib.Path(sys.argv[1])
    page = (root / PAGE).read_text(encoding="utf-8")
    check = check_planted if sys.argv[2:] == ["--planted"] else faults_of
    faults = list(check(page, list(names_of_families(root)), *tests_of(root)))
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
