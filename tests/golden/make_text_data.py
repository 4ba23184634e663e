#!/usr/bin/env python3
"""Tokenizes the texts below into rows of input_ids and labels for the two pretrained models.

    python make_text_data.py chat    MODEL_DIR OUT.jsonl    ChatML by the model's own template
    python make_text_data.py stories MODEL_DIR OUT.jsonl    a beginning, masked, and what follows

In a chat row the answer and the token that ends it are supervised, the line feed after it is not.
The texts were written for this test.
"""

import argparse
import json
import pathlib

from transformers import AutoTokenizer

IGNORE = -100

CHAT = [
    (
        "Why do leaves change colour in autumn?",
        "In autumn the days grow short and trees stop making chlorophyll. As the green fades, "
        "yellow and orange pigments that were there all summer become visible. Some trees also "
        "make red pigments from the sugar left in the leaf.",
    ),
    (
        "Write a haiku about a lighthouse.",
        "A lamp turns at night.\nDark water answers with sparks.\nShips lean toward home.",
    ),
    (
        "List three uses for an old glass jar.",
        "1. Store dry beans or rice.\n2. Keep paint brushes upright on a desk.\n3. Grow a small "
        "herb on the window sill.",
    ),
    (
        "Convert 3.5 kilometres to metres.",
        "3.5 kilometres are 3500 metres, because one kilometre has 1000 metres.",
    ),
    (
        "Explain recursion to a child.",
        "Imagine a box that holds a smaller box, and that box holds a smaller one again. To find "
        "the sweet inside, you open a box and do the same thing with the next one, until a box "
        "is so small that it only holds the sweet.",
    ),
    (
        "Which is heavier, a kilogram of feathers or a kilogram of iron?",
        "Neither: both weigh one kilogram. The feathers only take more room.",
    ),
    (
        "Give me a Python function that returns the larger of two numbers.",
        "def larger(a, b):\n    return a if a > b else b",
    ),
    (
        "Rewrite this sentence in the past tense: She walks to the market and buys bread.",
        "She walked to the market and bought bread.",
    ),
    (
        "What does a tide table show?",
        "A tide table lists the times and heights of high and low water at one place for every "
        "day. Sailors use it to know when a harbour is deep enough to enter, and walkers to know "
        "when a beach is safe to cross.",
    ),
    ("Name the four seasons.", "Spring, summer, autumn and winter."),
    (
        "How do I boil an egg?",
        "Put the egg in a pan, cover it with cold water and bring it to the boil. For a soft "
        "yolk wait four minutes, for a hard one ten. Then cool the egg in cold water so that it "
        "is easy to peel.",
    ),
    (
        "Summarize: The meeting was moved from Monday to Wednesday because the hall is being "
        "painted.",
        "The meeting is now on Wednesday, as the hall is being painted.",
    ),
    ("Is 91 a prime number?", "No. 91 is 7 times 13."),
    (
        "Write two sentences about the sea in winter.",
        "The sea in winter is the colour of slate and throws cold foam over the harbour wall. "
        "Only the gulls seem pleased with it, hanging on the wind above the empty boats.",
    ),
    ("What is the opposite of generous?", "The opposite of generous is stingy, or mean."),
    (
        "Explain why bread rises.",
        "Yeast eats the sugar in the dough and gives off carbon dioxide. The gas is caught in "
        "the stretchy net of gluten, so the dough fills with bubbles and grows. In the oven the "
        "bubbles set and the bread keeps its shape.",
    ),
    ("Translate to French: Good morning, my friend.", "Bonjour, mon ami."),
    ("Sort these words: pear, apple, fig, cherry.", "apple, cherry, fig, pear"),
    (
        "Give one reason to learn to read maps.",
        "A paper map keeps working when a phone has no battery and no signal, so a person who "
        "can read one is never quite lost.",
    ),
    (
        "What is the sum of the angles of a triangle?",
        "In the plane the three angles of a triangle add up to 180 degrees.",
    ),
    (
        "Write a short thank-you note to a neighbour who watered my plants.",
        "Dear Maria,\n\nthank you for looking after my plants while I was away. The tomatoes "
        "have never looked better, and the first ones are yours.\n\nWarmly,\nTom",
    ),
    (
        "How many minutes are there in a day?",
        "A day has 24 hours of 60 minutes each, which makes 1440 minutes.",
    ),
    (
        "What should I check before a long bicycle ride?",
        "Check the tyres for air and cuts, squeeze both brakes, oil the chain and make sure the "
        "lights work. Take a spare tube, a pump, water and something to eat.",
    ),
    ("Correct the spelling: definately", "definitely"),
    (
        "Describe a robin in one sentence.",
        "A robin is a small round bird with a brown back, a pale belly and a bright orange "
        "breast.",
    ),
    (
        "Why does ice float?",
        "Water expands when it freezes, because its molecules lock into an open lattice. Ice is "
        "therefore lighter than the same volume of water and floats with about a tenth of it "
        "above the surface.",
    ),
    (
        "Make a shopping list for pancakes.",
        "- flour\n- milk\n- eggs\n- butter\n- a pinch of salt\n- syrup",
    ),
    ("What is a synonym of quick?", "Fast, rapid and swift all mean quick."),
    (
        "Tell me a joke about a clock.",
        "Why was the clock sent out of the classroom? It tocked too much.",
    ),
    (
        "Explain what a hash function does.",
        "A hash function takes data of any length and returns a number of a fixed size. The same "
        "data always gives the same number, and a small change in the data gives a very "
        "different one, so it can be used to find or to verify data.",
    ),
    (
        "Which planets have rings?",
        "Jupiter, Saturn, Uranus and Neptune all have rings, though only Saturn's are easy to "
        "see.",
    ),
    ("Finish the proverb: A stitch in time", "saves nine."),
]

STORIES = [
    (
        "Once upon a time there was a little dog named Max.",
        " Max loved to run in the park and play with his red ball.",
    ),
    (
        "Lily had a big blue box.",
        " She put all her toys in the box and closed the lid. Then she went to bed.",
    ),
    (
        "Tom and his mom went to the store.",
        " They wanted to buy milk and bread, but Tom wanted a cake.",
    ),
    (
        "One day, a bird sat on a tree.",
        " It sang a happy song, and all the animals came to listen.",
    ),
    (
        "The sun was hot and the boy was sad.",
        " His ice cream fell on the ground. His sister gave him her own.",
    ),
    ("A cat saw a fish in the water.", " The cat wanted the fish, but it did not like to get wet."),
    (
        "Ben found a shiny stone.",
        " He showed it to his dad. His dad smiled and said it was very pretty.",
    ),
    ("There was a small house on the hill.", " An old man lived there with a fat brown hen."),
    (
        "Sue was scared of the dark.",
        " Her mom gave her a little light, and Sue was not scared any more. She slept all night.",
    ),
    ("The rain came down and the frog was happy.", " He jumped up and down in the mud."),
    (
        "Mia and Sam built a tower with blocks.",
        " It was very tall. Then the dog ran in and the tower fell down. They laughed.",
    ),
    (
        "A little bear lost his hat.",
        " He looked under the bed and behind the door. The hat was on his head!",
    ),
    ("Grandma made a warm soup.", " Everyone sat at the table and said thank you."),
    ("The bunny wanted to fly like a bird.", " A bird told him that it is good to hop, too."),
    (
        "Jack had a new kite.",
        " The wind took it up, up, up into the sky. Jack held the string very tight.",
    ),
    ("It was time for bed.", " The moon was big and white, and the little girl closed her eyes."),
]


def chat_rows(tokenizer):
    for question, answer in CHAT:
        user = [{"role": "user", "content": question}]
        both = user + [{"role": "assistant", "content": answer}]
        prompt = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(both, tokenize=False)
        assert whole == prompt + answer + tokenizer.eos_token + "\n"
        prompt_ids = tokenizer(prompt, add_special_tokens=False).input_ids
        answer_ids = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False).input_ids
        end_ids = tokenizer("\n", add_special_tokens=False).input_ids
        yield prompt_ids, answer_ids, end_ids


def story_rows(tokenizer):
    for beginning, rest in STORIES:
        prompt_ids = tokenizer(beginning, add_special_tokens=False).input_ids
        answer_ids = tokenizer(rest, add_special_tokens=False).input_ids
        yield [tokenizer.bos_token_id] + prompt_ids, answer_ids + [tokenizer.eos_token_id], []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["chat", "stories"])
    parser.add_argument("model")
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    make = chat_rows if args.kind == "chat" else story_rows
    lengths = []
    with args.out.open("w") as out:
        for prompt, answer, end in make(tokenizer):
            ids = prompt + answer + end
            labels = [IGNORE] * len(prompt) + answer + [IGNORE] * len(end)
            lengths.append(len(ids))
            out.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")
    print(f"{args.out}: {len(lengths)} rows of {min(lengths)} to {max(lengths)} tokens")


if __name__ == "__main__":
    main()
