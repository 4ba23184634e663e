#!/usr/bin/env python3
"""Small vocabularies in the files of other programs, and the ids that transformers gives with them.

    python make_vocabulary_golden.py

writes beside this script, under tokenizer/vocabularies/:
    *.model           SentencePiece models, trained here
    ranks.tiktoken    a tiktoken file, trained here
    tekken.json       the same tokens as Mistral's file
    golden.json       for each folder that such a file can lie in: ids of the texts by
                      AutoTokenizer, and by the sentencepiece package where it is to give the same

Needs transformers, sentencepiece, protobuf and tiktoken.
"""

import base64
import io
import json
import pathlib
import random
import shutil
import tempfile

import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2
from tiktoken._educational import bpe_train
from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

OUT = pathlib.Path(__file__).parent / "tokenizer" / "vocabularies"

WORDS = ("the a of to and in that it with as for was on are by this from at or an be which have "
         "not you all were her one there would their we him been has when who will more no out so "
         "said what up its about into than them can only other new some could time these two may "
         "then do first any my now such like our over man me even most made after also did many "
         "before must through years where much your way well down should because each just those "
         "people how too little state good very make world still own see men work long get here "
         "between both life being under never day same another know while last might us great old "
         "year off come since against go came right used take three").split()
EXTRA = ["12345", "2024", "3.14", "don't", "It's", "Größe", "naïve", "日本語", "한국어", "Привет",
         "ﬁne", "①②", "...", "!?", "(x)", "a-b", "\t", "x = y", "<|im_start|>", "end\n"]

# What a text is made of: the words above, and what tokenizers treat in a way of its own.
PARTS = WORDS[:40] + EXTRA + [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\u3000", "▁", "▁▁the", "é",
                              "e\u0301", "🙂", "\u200d", "Ａ", "<0x0A>", "<s>", "</s>", "<unk>",
                              "<ctl>", "<|im_end|>", "<bos>", "<start_of_turn>", "<extra_id_3>",
                              "[INST]", "<|named|>", "<|end|>", "the", "ing", "a b"]

# A normalizer of a few rules; those that come with the package take 240 kB in every model.
RULES = "FB01\t66 69\n2460\t31\n2461\t32\nFF21\t41\n3000\t20\n65 301\tE9\n200D\t\n9\t20\n"


def make_corpus(rng):
    return [" ".join(rng.choice(WORDS + EXTRA * 2) for _ in range(12)) for _ in range(1500)]


def make_texts(rng):
    texts = ["", " ", "▁", " the", "the ", "\n", "<s>", " <s> the", "the<|im_end|> the"]
    while len(texts) < 60:
        joint = rng.choice(["", " ", " "])
        texts.append(joint.join(rng.choice(PARTS) for _ in range(rng.randint(1, 12))))
    return texts


def train(corpus, name, **options):
    model = io.BytesIO()
    settings = dict(character_coverage=0.98, hard_vocab_limit=False, minloglevel=2, num_threads=1,
                    normalization_rule_name="identity", vocab_size=200)
    settings.update(options)
    if "normalization_rule_tsv" in settings:
        del settings["normalization_rule_name"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, **settings)
    trained = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    trained.normalizer_spec.ClearField("normalization_rule_tsv")  # a path of this machine
    (OUT / f"{name}.model").write_bytes(trained.SerializeToString())


def train_models(corpus):
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(RULES)
        rules.flush()
        normalizer = {"normalization_rule_tsv": rules.name}
        train(corpus, "unigram", model_type="unigram", **normalizer)
        train(corpus, "unigram_t5", model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
              **normalizer)
        train(corpus, "unigram_user", model_type="unigram", control_symbols=["<ctl>"],
              user_defined_symbols=["<|im_end|>", "ing"], bos_piece="[BOS]", **normalizer)
        train(corpus, "bpe_rules", model_type="bpe", **normalizer)
    spaces = dict(remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, vocab_size=400)
    train(corpus, "unigram_bytes", model_type="unigram", byte_fallback=True,
          add_dummy_prefix=False, **spaces)
    train(corpus, "bpe_bytes", model_type="bpe", byte_fallback=True, split_digits=True, **spaces)
    train(corpus, "bpe_user", model_type="bpe", byte_fallback=True, control_symbols=["<ctl>"],
          user_defined_symbols=["<|im_start|>", "<|im_end|>", "the", "a b", "\n", "▁▁"], **spaces)
    train(corpus, "bpe_gemma", model_type="bpe", byte_fallback=True, add_dummy_prefix=False,
          pad_id=0, eos_id=1, bos_id=2, unk_id=3, bos_piece="<bos>", eos_piece="<eos>",
          user_defined_symbols=["<mask>", "<start_of_turn>", "\n", "\n\n", "▁▁", "▁▁▁"], **spaces)
    train(corpus, "char", model_type="char")
    train(corpus, "word", model_type="word", vocab_size=100)
    train(corpus, "bpe_suffix", model_type="bpe", treat_whitespace_as_suffix=True)


PATTERN = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"""


def train_ranks(corpus):
    """A tiktoken file and a tekken.json of 300 tokens; the latter's last ten are not to be used."""
    ranks = bpe_train("\n".join(corpus[:200]), 300, PATTERN, visualise=None)
    encoded = {rank: base64.b64encode(token).decode() for token, rank in ranks.items()}
    lines = [f"{encoded[rank]} {rank}\n" for rank in range(len(encoded))]
    (OUT / "ranks.tiktoken").write_text("".join(lines))
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"]
    tekken = {
        "config": {"pattern": PATTERN, "num_vocab_tokens": 300, "default_vocab_size": 298,
                   "default_num_special_tokens": 8, "version": "v11"},
        "vocab": [{"rank": rank, "token_bytes": encoded[rank], "token_str": None}
                  for rank in range(len(encoded))],
        "special_tokens": [{"rank": rank, "token_str": text, "is_control": True}
                           for rank, text in enumerate(special)],
    }
    (OUT / "tekken.json").write_text(json.dumps(tekken))


def token(content, special=True, **flags):
    return {"content": content, "special": special, **flags}


NAMED = {"0": token("<unk>"), "5": token("<|named|>", special=False, normalized=True),
         "400": token("<|end|>", normalized=True, rstrip=True)}
LLAMA = {"tokenizer_class": "LlamaTokenizer"}
PLAIN = {"model_type": "llama"}
# The file, its name in the folder, tokenizer_config.json, config.json.
FOLDERS = {
    "unigram": ("unigram.model", "tokenizer.model", None, PLAIN),
    "unigram_user": ("unigram_user.model", "tokenizer.model", None, PLAIN),
    "unigram_bytes": ("unigram_bytes.model", "tokenizer.model", None, PLAIN),
    "t5": ("unigram_t5.model", "spiece.model", {"tokenizer_class": "T5Tokenizer"}, None),
    "t5_few_extra": ("unigram_t5.model", "spiece.model", {"extra_ids": 5}, {"model_type": "t5"}),
    "bpe_rules": ("bpe_rules.model", "tokenizer.model", None, PLAIN),
    "bpe_bytes": ("bpe_bytes.model", "tokenizer.model", None, PLAIN),
    "bpe_bytes_with_bos": ("bpe_bytes.model", "tokenizer.model",
                           {"add_bos_token": True, "add_eos_token": True}, PLAIN),
    "bpe_user": ("bpe_user.model", "tokenizer.model", None, PLAIN),
    "bpe_gemma_plain": ("bpe_gemma.model", "tokenizer.model", None, PLAIN),
    "first_prefix_only": ("bpe_bytes.model", "tokenizer.model", {"legacy": False}, PLAIN),
    "mistral": ("bpe_bytes.model", "tokenizer.model", {**LLAMA, "add_bos_token": True},
                {"model_type": "mistral"}),
    "phi3": ("bpe_bytes.model", "tokenizer.model",
             {**LLAMA, "legacy": None, "added_tokens_decoder": NAMED, "eos_token": "<|end|>"},
             {"model_type": "phi3"}),
    "llama": ("bpe_bytes.model", "tokenizer.model", {**LLAMA, "add_bos_token": True}, PLAIN),
    "llama_legacy": ("bpe_user.model", "tokenizer.model", {**LLAMA, "legacy": True}, PLAIN),
    "llama_user": ("bpe_user.model", "tokenizer.model", {"tokenizer_class": "LlamaTokenizerFast"},
                   None),
    "llama_no_prefix": ("bpe_bytes.model", "tokenizer.model", {**LLAMA, "add_prefix_space": False},
                        None),
    "gemma": ("bpe_gemma.model", "tokenizer.model", {"tokenizer_class": "GemmaTokenizer"}, None),
    "gemma_by_model": ("bpe_gemma.model", "tokenizer.model", {"add_bos_token": True},
                       {"model_type": "gemma2"}),
    "tiktoken": ("ranks.tiktoken", "tokenizer.model",
                 {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>",
                  "added_tokens_decoder": {"300": token("<s>"), "301": token("<|end|>")}}, PLAIN),
    "tekken": ("tekken.json", "tekken.json", {"bos_token": "<s>", "add_bos_token": True}, PLAIN),
}
# Folders whose ids SentencePiece itself gives too.
AS_SENTENCEPIECE = ["unigram_bytes", "bpe_bytes", "bpe_user", "bpe_gemma_plain"]


def load(folder, name):
    if name == "tekken.json":
        config = json.loads((folder / "tokenizer_config.json").read_text())
        tokenizer = convert_tekken_tokenizer(str(folder / name))
        tokenizer.add_bos_token = config["add_bos_token"]
        return tokenizer
    return transformers.AutoTokenizer.from_pretrained(folder)


def run(file, name, config, model_config, texts):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        shutil.copy(OUT / file, folder / name)
        if config is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if model_config is not None:
            (folder / "config.json").write_text(json.dumps(model_config))
        tokenizer = load(folder, name)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return {
        "file": file, "name": name, "config": config, "model_config": model_config,
        "size": len(tokenizer), "eos": tokenizer.eos_token_id, "bos": tokenizer.bos_token_id,
        "around": tokenizer("")["input_ids"],
        "ids": ids, "decoded": [tokenizer.decode(one) for one in ids],
    }


def pieces(file, texts):
    """The sentencepiece package's ids of texts that hold no token but normal ones, else null."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(OUT / file))
    others = [processor.id_to_piece(i) for i in range(len(processor))
              if processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i)]
    return [None if any(other in text for other in others) else processor.encode(text)
            for text in texts]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    corpus = make_corpus(rng)
    texts = make_texts(rng)
    train_models(corpus)
    train_ranks(corpus)
    golden = {"texts": texts, "folders": {}}
    for name, (file, stored, config, model_config) in FOLDERS.items():
        folder = run(file, stored, config, model_config, texts)
        if name in AS_SENTENCEPIECE:
            folder["sentencepiece"] = pieces(file, texts)
        golden["folders"][name] = folder
    (OUT / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
