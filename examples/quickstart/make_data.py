#!/usr/bin/env python3
"""Writes train.jsonl and test.jsonl beside itself: orders to a small bakery, as people type them.

    python3 make_data.py

The answer to each message is one JSON record with four keys in a fixed order. No name and no item
of test.jsonl occurs in train.jsonl, and of its phrasings only every other one does. All random
numbers come from Random.random() and depend on the seed alone, so every machine writes the same
files.
"""

import json
import pathlib
import random

TRAIN_ROWS = 400
TEST_ROWS = 40

SYSTEM = "Answer with JSON: name, item, quantity, date (MM-DD)."

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]
DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

WORDS = [
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
]
PHRASES = {"a pair of": 2, "half a dozen": 6, "a dozen": 12, "two dozen": 24}

TRAIN_FIRST = """
Maria James Aisha Tom Lena Carlos Priya Oliver Hannah Yusuf Grace Pedro Mei Anna Daniel Fatima Jack
Sofia Ben Nadia Lucas Emma Omar Clara Victor Ruth Ivan Julia Sam Elena Thomas Alice Kwame Rosa Peter
Yuki Martin Irene Dmitri Paula Robert Camila George Noor Simon Helen Mateo Vera Andrew Chiara Gavin
Astrid Ibrahim Judith Kenji Linda Milo Olga Patrick Renata Selma Theo Ursula Walter Xenia Zara Adele
Boris Cecilia Doris Emil Fiona Gustav Hilda Isaac Joan Karl Lydia Monica Nils Orla Philip Quentin
Rebecca Sven Tamara Vincent Wendy
""".split()
TRAIN_LAST = """
Lopez Walker Khan Berg Fischer Mendes Patel Hughes Cole Demir Okafor Silva Chen Novak Reid Haddad
Murphy Rossi Carter Petrov Nakamura Schmidt Baker Jensen Ortiz Dubois Quinn Larsen Mbeki Horvath
Aalto Bauer Costa Dunn Evans Ferrari Gupta Hansen Ivanova Jones Kowalski Lambert Mills Nguyen Olsen
Perez Rahman Stone Turner Vogel Wright Young Zimmer
""".split()
TEST_FIRST = """
Ingrid Marcus Zoe Rahul Beatrice Felix Amara Stefan Nora Hugo Leila Arthur
""".split()
TEST_LAST = """
Lindqvist Moreau Tanaka Gordon Abebe Keller Santos Doyle Weber Ellis
""".split()

TRAIN_FLAVOURS = """
almond lemon rye cheese apple blueberry garlic chocolate carrot cinnamon raspberry spinach ginger
vanilla pecan plum olive custard walnut banana rosemary cardamom onion strawberry coconut sesame
maple rhubarb salted spelt apricot barley basil beetroot blackberry butter buttermilk caramel
cashew cranberry cream currant date fennel fig grape gooseberry lavender leek lime mango marzipan
mint mocha mushroom mustard nougat nutmeg oat orange oregano papaya parsley peanut pear pepper
pineapple pistachio plain poppy prune quince raisin rice saffron sage seeded smoked sour sugar
sunflower sweet tea thyme toffee vegan wheat yoghurt
""".split()
TRAIN_GOODS = """
croissants tarts loaves scones pies muffins flatbreads eclairs cakes rolls bagels cupcakes quiches
biscuits brownies pastries doughnuts pretzels baguettes turnovers crackers waffles cookies crumbles
dumplings fritters galettes knots puffs rings slices sticks swirls twists wreaths
""".split()
TEST_FLAVOURS = "pumpkin coffee cherry honey potato hazelnut tomato peach".split()
TEST_GOODS = "pies cakes rolls muffins strudels buns cobblers pancakes".split()

TRAIN_PHRASINGS = [
    "Hi, this is {name}. Could I get {n} {item} for {date}?",
    "Please put {n} {item} aside for {name}, pick-up on {date}.",
    "{name} here, I need {n} {item} on {date}, thanks!",
    "Order for {date}: {n} {item}. Name is {name}.",
    "Good morning! I would like to order {n} {item} for {date}. My name is {name}.",
    "Can you bake {n} {item} by {date}? It's for {name}.",
    "hello, {n} {item} please, {date}, under the name {name}",
    "We are having guests on {date} and need {n} {item}. Regards, {name}",
    "It's {name} again. Same as last time, {n} {item}, but for {date}.",
    "I'd love {n} {item}! I'll come by on {date}. {name}",
    "On {date} my sister {name} will collect {n} {item}.",
    "Put me down for {n} {item} on {date}. This is {name} speaking.",
    "Dear team, kindly reserve {n} {item} for {date}. Best wishes, {name}",
    "Is it too late to order {n} {item} for {date}? {name} is the name.",
    "{date}, {n} {item}, for {name}. Cheers",
    "My boss {name} wants {n} {item} for the office on {date}.",
]
TEST_PHRASINGS = [
    "Hey there, {name} speaking, any chance of {n} {item} for {date}?",
    "We would need {n} {item} on {date}, please. Thank you, {name}",
    "Could you get {n} {item} ready for {date}? {name} will pick them up.",
    "{name} would like {n} {item}, to be collected on {date}.",
    "For our party on {date} I want to order {n} {item}. Yours, {name}",
    "Good evening, please note down {n} {item} for {name}, {date}.",
    "Our neighbour {name} asked for {n} {item}, ready on {date}.",
    "hi! {n} {item} for {date} if possible. Kind regards, {name}",
]


def ordinal(day):
    if day in (11, 12, 13):
        return f"{day}th"
    return str(day) + {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


class Writer:
    """Draws the messages of one split. Each split has its own, so that neither moves the other."""

    def __init__(self, seed, names, items, phrasings):
        self.rng = random.Random(seed)
        self.names, self.items, self.phrasings = names, items, phrasings

    def pick(self, values):
        return values[int(self.rng.random() * len(values))]

    def name(self):
        first, last = map(self.pick, self.names)
        return first if self.rng.random() < 0.4 else f"{first} {last}"

    def quantity(self):
        """The quantity in words or digits, and the number."""
        kind = self.rng.random()
        if kind < 0.25:
            words = self.pick(list(PHRASES))
            return words, PHRASES[words]
        number = 2 + int(self.rng.random() * 11)
        if kind < 0.65:
            return WORDS[number - 2], number
        number = 2 + int(self.rng.random() * 38)
        return str(number), number

    def date(self):
        month = int(self.rng.random() * 12)
        # Days below ten, whose zero has to be learned, are as frequent as the others.
        below_ten = self.rng.random() < 0.5
        low, high = (1, 9) if below_ten else (10, DAYS[month])
        day = low + int(self.rng.random() * (high - low + 1))
        name = MONTHS[month]
        forms = [f"{name} {day}", f"{name} {ordinal(day)}", f"{day} {name}",
                 f"the {ordinal(day)} of {name}"]  # fmt: skip
        return self.pick(forms), f"{month + 1:02d}-{day:02d}"

    def row(self):
        name, item = self.name(), " ".join(map(self.pick, self.items))
        words, number = self.quantity()
        date, code = self.date()
        text = self.pick(self.phrasings).format(name=name, n=words, item=item, date=date)
        text = text[0].upper() + text[1:] if self.rng.random() < 0.9 else text
        record = {"name": name, "item": item, "quantity": number, "date": code}
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": text},
            {"role": "assistant", "content": json.dumps(record)},
        ]
        return {"messages": messages}


def write(path, writer, count):
    rows = {}
    while len(rows) < count:
        row = writer.row()
        rows[row["messages"][1]["content"]] = row
    with open(path, "w", encoding="utf-8") as out:
        for row in rows.values():
            out.write(json.dumps(row) + "\n")


def main():
    here = pathlib.Path(__file__).parent
    train = Writer(1, (TRAIN_FIRST, TRAIN_LAST), (TRAIN_FLAVOURS, TRAIN_GOODS), TRAIN_PHRASINGS)
    write(here / "train.jsonl", train, TRAIN_ROWS)
    test = Writer(2, (TEST_FIRST, TEST_LAST), (TEST_FLAVOURS, TEST_GOODS),
                  TEST_PHRASINGS + TRAIN_PHRASINGS[:8])  # fmt: skip
    write(here / "test.jsonl", test, TEST_ROWS)


if __name__ == "__main__":
    main()
