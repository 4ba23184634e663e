"""A model of random weights with a tokenizer of words, and rows for it: what a run by the program
needs."""
import json
import random
import subprocess

WORDS = [f"w{i}" for i in range(200)]
SPECIAL = ["<unk>", "<eos>"]
TEMPLATE = ("{% for m in messages %}{{ m.role }} {{ m.content }} <eos> {% endfor %}"
            "{% if add_generation_prompt %}assistant {% endif %}")


def write_tokenizer(folder):
    names = [*SPECIAL, *WORDS, "system", "user", "assistant", "#", "Instruction", "Input", ":"]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "added_tokens": [{"id": i, "content": name, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}
                         for i, name in enumerate(SPECIAL)],
        "model": {"type": "WordLevel", "unk_token": "<unk>",
                  "vocab": {name: i for i, name in enumerate(names)}}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"unk_token": "<unk>", "eos_token": "<eos>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def text(draw):
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 12)))


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def alpaca_rows(count, seed=3):
    draw = random.Random(seed)
    return [{"instruction": text(draw), "input": text(draw), "output": text(draw)}
            for _ in range(count)]


def write_model(program, folder):
    subprocess.run([program, folder, "vocab=260"], check=True)
    write_tokenizer(folder)
