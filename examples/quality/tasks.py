"""Two tasks whose answers can be checked to the character. A task gives rows to learn, drawn by the
run's seed, and questions, which are the same for all runs."""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "quickstart"))
import make_data  # noqa: E402

QUESTIONS_SEED = 0  # no run has it

ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def orders(seed):
    """Orders to a bakery as records, from ../quickstart, without a chat's turns. No name and no
    item of the questions is among the rows to learn."""
    m = make_data
    if seed == QUESTIONS_SEED:
        writer = m.Writer(2, (m.TEST_FIRST, m.TEST_LAST), (m.TEST_FLAVOURS, m.TEST_GOODS),
                          m.TEST_PHRASINGS + m.TRAIN_PHRASINGS[:8])
    else:
        writer = m.Writer(1000 + seed, (m.TRAIN_FIRST, m.TRAIN_LAST),
                          (m.TRAIN_FLAVOURS, m.TRAIN_GOODS), m.TRAIN_PHRASINGS)
    while True:
        _, user, assistant = writer.row()["messages"]
        yield f"Order: {user['content']}\nJSON:", " " + assistant["content"]


def in_words(number):
    if number >= 1000:
        rest = number % 1000
        joint = " and " if 0 < rest < 100 else " "
        return f"{ONES[number // 1000]} thousand" + (joint + in_words(rest) if rest else "")
    if number >= 100:
        rest = number % 100
        return f"{ONES[number // 100]} hundred" + (" and " + in_words(rest) if rest else "")
    if number < 20:
        return ONES[number]
    return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")


def numbers(seed):
    """Numbers of four digits, which are written in words. The sum of the first three digits is a
    multiple of 4 in all questions and in no row to learn."""
    draw = random.Random(seed)
    while True:
        number = 1000 + int(draw.random() * 9000)
        if draw.random() < 0.3:
            number = number // 1000 * 1000 + number % 100  # no hundreds, which is where one errs
        asked = sum(map(int, str(number // 10))) % 4 == 0
        if asked == (seed == QUESTIONS_SEED):
            yield f"{in_words(number)} =", f" {number}"


# By name: what makes the rows.
TASKS = {"orders": orders, "numbers": numbers}


def write(file, task, seed, count):
    """`count` rows, all different."""
    rows = {}
    for prompt, completion in TASKS[task](seed):
        rows[prompt] = completion
        if len(rows) == count:
            break
    with open(file, "w", encoding="utf-8") as out:
        for prompt, completion in rows.items():
            out.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
