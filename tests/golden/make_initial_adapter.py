#!/usr/bin/env python3
"""Writes the initial adapter of a Llama in Hugging Face layout, by the rule in referee.py.

    python make_initial_adapter.py MODEL_DIR OUT_DIR [--base-name NAME]
"""

import argparse
import pathlib

import referee


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--base-name", default="")
    args = parser.parse_args()
    name = args.base_name or pathlib.Path(args.model).name
    referee.write_adapter(args.out, referee.initial_adapter(args.model), name)


if __name__ == "__main__":
    main()
