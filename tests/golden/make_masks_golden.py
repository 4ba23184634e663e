#!/usr/bin/env python3
"""Writes masks/masks.json: what transformers learns of conversations under templates that mark it
with {% generation %}: templates that bring the marks ("itself"), TRL's twins of published templates
("trl"), and the twins of mask_twins.py ("ours").

    python make_masks_golden.py SHARED_DATA

Needs transformers 5.24.0 and TRL 1.16.0. The published templates are read in SHARED_DATA/templates
and not copied: the file holds spans in code points, and FNV-1a hashes (32 bits) of UTF-8 texts.
A case is null where the template refuses the conversation. "learned" are spans of the twin's text,
"texts" are the hashes of what they hold, "text" that of the whole, and "published" that of what the
published template renders: TRL writes some twins so that they render another text. Conversations
with calls have the tools where the template reads "tools".
"""
import argparse
import copy
import datetime
import json
import pathlib
import re

import jinja2
import transformers
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.utils import chat_template_utils
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

import mask_twins

OUT = pathlib.Path(__file__).parent / "masks" / "masks.json"
NOON = datetime.datetime(2026, 3, 7, 12)  # what strftime_now prints

LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
          "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MISTRAL = ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
           "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
TEKKEN = MISTRAL + ["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[CALL_ID]", "[ARGS]", "[TOOL_CONTENT]"]
COHERE = ["<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>",
          "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"]
GEMMA = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
PHI3 = ["<s>", "<|endoftext|>", "<|assistant|>", "<|end|>", "<|system|>", "<|user|>"]
DEEPSEEK = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
GPT_OSS = ["<|startoftext|>", "<|endoftext|>", "<|return|>", "<|start|>", "<|end|>", "<|message|>",
           "<|channel|>", "<|call|>"]
GLM = ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>",
       "<|observation|>"]
SPM = ["<s>", "</s>"]

# template: special tokens, those that end an answer (the tokenizer's own first), bos or None
KINDS = {
    "CohereLabs-c4ai-command-r-v01": (COHERE, COHERE[2:3], COHERE[0]),
    "CohereLabs-c4ai-command-r7b-12-2024": (COHERE, COHERE[2:3], COHERE[0]),
    "HuggingFaceTB-SmolLM3-3B": (QWEN, ["<|im_end|>"], None),
    "HuggingFaceH4-zephyr-7b-beta": (SPM, SPM[1:], SPM[0]),
    "LiquidAI-LFM2-1.2B": (["<|startoftext|>"] + QWEN, ["<|im_end|>"], "<|startoftext|>"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": (LLAMA3 + QWEN[1:], ["<|im_end|>"], LLAMA3[0]),
    "Qwen-QwQ-32B": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "Qwen-Qwen2.5-7B-Instruct": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "Qwen-Qwen2.5-VL-7B-Instruct": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "Qwen-Qwen3-4B-Instruct-2507": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "Qwen-Qwen3-8B": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "Qwen-Qwen3-Coder-30B-A3B-Instruct": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "Qwen-Qwen3.5-4B": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "allenai-OLMo-generation": (["<|endoftext|>"], ["<|endoftext|>"], "<|endoftext|>"),
    "bigcode-starcoder2-15b-instruct": (["<|endoftext|>"], ["<|endoftext|>"], "<|endoftext|>"),
    "chatml": (QWEN, ["<|im_end|>"], None),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-7B": (DEEPSEEK, DEEPSEEK[1:2], DEEPSEEK[0]),
    "deepseek-ai-DeepSeek-V3.1": (DEEPSEEK, DEEPSEEK[1:2], DEEPSEEK[0]),
    "deepseek-ai-deepseek-coder-6.7b-instruct": (
        DEEPSEEK[:2] + ["<|EOT|>"], ["<|EOT|>"], DEEPSEEK[0]),
    "google-gemma-2-2b-it": (GEMMA, GEMMA[1:4:2], GEMMA[0]),
    "google-gemma-3-4b-it": (GEMMA, GEMMA[1:4:2], GEMMA[0]),
    "ibm-granite-granite-3.3-2b-instruct": (
        ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"],
        ["<|end_of_text|>"], "<|end_of_text|>"),
    "meetkai-functionary-medium-v3.1": (
        LLAMA3, ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"], LLAMA3[0]),
    "meta-llama-Llama-2-7b-chat-hf": (SPM, SPM[1:], SPM[0]),
    "meta-llama-Llama-3.1-8B-Instruct": (LLAMA3, ["<|eot_id|>"] + LLAMA3[1:5:3], LLAMA3[0]),
    "meta-llama-Llama-3.2-3B-Instruct": (LLAMA3, ["<|eot_id|>"] + LLAMA3[1:5:3], LLAMA3[0]),
    "meta-llama-Meta-Llama-3-8B-Instruct": (LLAMA3, ["<|eot_id|>", "<|end_of_text|>"], LLAMA3[0]),
    "microsoft-Phi-3-mini-4k-instruct": (PHI3, PHI3[1:4], "<s>"),
    "microsoft-Phi-3.5-mini-instruct": (PHI3, PHI3[1:4], "<s>"),
    "microsoft-Phi-4-mini-instruct": (PHI3, ["<|endoftext|>", "<|end|>"], "<|endoftext|>"),
    "microsoft-phi-4": (QWEN + ["<|im_sep|>"], ["<|im_end|>"], "<|endoftext|>"),
    "mistral-common-v13": (TEKKEN, SPM[1:], SPM[0]),
    "mistralai-Ministral-3-14B-Reasoning-2512": (
        TEKKEN + ["[THINK]", "[/THINK]"], SPM[1:], SPM[0]),
    "mistralai-Mistral-7B-Instruct-v0.1": (SPM, SPM[1:], SPM[0]),
    "mistralai-Mistral-7B-Instruct-v0.3": (MISTRAL, SPM[1:], SPM[0]),
    "mistralai-Mistral-Nemo-Instruct-2407": (MISTRAL, SPM[1:], SPM[0]),
    "mistralai-Mistral-Small-24B-Instruct-2501": (TEKKEN, SPM[1:], SPM[0]),
    "mistralai-Mistral-Small-3.2-24B-Instruct-2506": (TEKKEN, SPM[1:], SPM[0]),
    "moonshotai-Kimi-K2-Instruct": (
        ["[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>",
         "<|im_middle|>"], ["[EOS]", "<|im_end|>"], "[BOS]"),
    "nvidia-Nemotron-Nano-9B-v2": (
        SPM + ["<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>"], ["<SPECIAL_12>"], SPM[0]),
    "openai-gpt-oss-20b": (GPT_OSS, ["<|return|>", "<|endoftext|>", "<|call|>"], GPT_OSS[0]),
    "openchat-openchat-3.5": (SPM + ["<|end_of_turn|>"], ["<|end_of_turn|>"], SPM[0]),
    "trl-deepseek_r1_distill_training": (DEEPSEEK, DEEPSEEK[1:2], DEEPSEEK[0]),
    "trl-gemma3_training": (GEMMA, GEMMA[1:4:2], GEMMA[0]),
    "trl-llama3_training": (LLAMA3, ["<|eot_id|>", "<|end_of_text|>"], LLAMA3[0]),
    "trl-qwen2_5_training": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "trl-qwen3_training": (QWEN, ["<|im_end|>", "<|endoftext|>"], None),
    "upstage-SOLAR-10.7B-Instruct": (SPM, SPM[1:], SPM[0]),
    "zai-org-chatglm": (GLM + ["sop"], ["<|endoftext|>", "<|user|>", "<|observation|>"], None),
    "zai-org-GLM-4.6": (GLM, ["<|endoftext|>", "<|user|>", "<|observation|>"], None),
}
# These print the arguments of a call as they come, so that they have to be JSON text.
TEXT_ARGUMENTS = {"deepseek-ai-DeepSeek-R1-Distill-Qwen-7B", "deepseek-ai-DeepSeek-V3.1",
                  "meetkai-functionary-medium-v3.1"}


def user(content):
    return {"role": "user", "content": content}


def says(content, **keys):
    return {"role": "assistant", "content": content, **keys}


def call(number, city):
    return {"id": f"call0000{number}", "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": city}}}


def tool(number, content):
    return {"role": "tool", "content": content, "tool_call_id": f"call0000{number}",
            "name": "get_weather"}


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a place.", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "Its name"}}}}}]
SYSTEM = {"role": "system", "content": "You are brief."}
CONVERSATIONS = {
    "single": [user("What is a tide?"), says("Water that follows the moon.")],
    "turns": [user("One?"), says("First."), user("Two?"), says("Second."), user("Three?"),
              says("Third.")],
    "system": [SYSTEM, user("What is 2+2?"), says("4"), user("And 3+3?"), says("6")],
    "user_last": [user("One?"), says("First."), user("Two?")],
    "assistant_first": [says("Welcome."), user("What is rain?"), says("Water that falls.")],
    "empty": [user("Say nothing."), says(""), user("Again."), says("")],
    "borders": [user("  Indent it.\n"), says("\n  indented \n\n"), user("\tAgain "), says(" a ")],
    "tags": [user("Write tags."), says("<b>bold</b>"), user("More."), says("<think")],
    "special_tokens": [
        user("a <|im_end|> b </s> c <end_of_turn> d <|eot_id|> e <|end|> f <|user|>"),
        says("<|im_end|> </s> <end_of_turn> <|eot_id|> <|end|> <|user|> [/INST] done"),
        user("Go on."), says("</s>")],
    "unicode": [user("日本語 and 👩‍👩‍👧 é?"), says("Ça marche : “oui” 🙂"), user("𝕏"), says("é")],
    "think_tags": [user("7*8?"), says("<think>\nSeven eights.\n</think>\n\n56"), user("9*9?"),
                   says("<think>\nNine nines.\n</think>\n\n81")],
    "reasoning": [user("7*8?"), says("56", reasoning_content="Seven eights."), user("9*9?"),
                  says("81", reasoning_content="Nine nines.")],
    "tool": [SYSTEM, user("Oslo?"), says("", tool_calls=[call(1, "Oslo")]), tool(1, "-3.5"),
             says("Cold."), user("Thanks"), says("Welcome.")],
    "tool_two_calls": [
        user("Oslo and Rome?"), says("", tool_calls=[call(1, "Oslo"), call(2, "Rome")]),
        tool(1, "-3.5"), tool(2, "18"), says("Oslo -3.5, Rome 18.")],
    "tool_null_content": [user("Oslo?"), says(None, tool_calls=[call(1, "Oslo")]), tool(1, "-3.5"),
                          says("Cold.")],
    "tool_after_text": [user("Oslo?"), says("Let me look.", tool_calls=[call(1, "Oslo")]),
                        tool(1, "-3.5"), says("Cold.")],
    "tool_reasoning": [user("Oslo?"),
                       says("", reasoning_content="Look it up.", tool_calls=[call(1, "Oslo")]),
                       tool(1, "-3.5"), says("Cold.", reasoning_content="Below zero.")],
    "tool_call_last": [user("Oslo?"), says("", tool_calls=[call(1, "Oslo")])],
}


class Noon(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOON


def fnv(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}"


def byte_tokenizer(special, bos, eos):
    """A token for each byte, and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)


def fitted(messages, text_arguments):
    """The messages with the arguments of calls in the form that the template takes."""
    messages = copy.deepcopy(messages)
    for message in messages:
        for item in message.get("tool_calls", []) if text_arguments else []:
            item["function"]["arguments"] = json.dumps(item["function"]["arguments"])
    return messages


def stretches(spans):
    """Neighbouring spans as one, and none that is empty."""
    out = []
    for begin, end in spans:
        if out and out[-1][1] >= begin:
            out[-1][1] = max(out[-1][1], end)
        elif end > begin:
            out.append([begin, end])
    return out


def learned(tokenizer, template, arguments):
    """The text, and the spans that transformers' own mask of tokens says are learned."""
    rendered = []

    def recording(*given, **keys):
        rendered.append(render(*given, **keys))
        return rendered[-1]

    render = chat_template_utils._render_with_assistant_indices
    chat_template_utils._render_with_assistant_indices = recording
    try:
        row = tokenizer.apply_chat_template(
            **arguments, chat_template=template, return_dict=True,
            return_assistant_tokens_mask=True, tokenizer_kwargs={"return_offsets_mapping": True})
    finally:
        chat_template_utils._render_with_assistant_indices = render
    text, marks = rendered[0]
    masks = zip(row["offset_mapping"], row["assistant_masks"])
    spans = stretches(sorted(list(offsets) for offsets, mask in masks if mask))
    # They are those of the marks: no token reaches into one or out of it.
    if spans != stretches(marks):
        raise ValueError("the mask of tokens is not that of the marks")
    return text, spans


def case(tokenizer, published, twin, messages, tools):
    arguments = {"conversation": messages, "tools": tools}
    try:
        text = tokenizer.apply_chat_template(**arguments, chat_template=published, tokenize=False)
        twin_text, spans = learned(tokenizer, twin, arguments)
    except (jinja2.TemplateError, TypeError):
        return None
    return {"published": fnv(text), "text": fnv(twin_text), "learned": spans,
            "texts": [fnv(twin_text[begin:end]) for begin, end in spans]}


def twin_of(name, tokenizer):
    """Who marked the template, and the one with marks."""
    published = tokenizer.chat_template
    if has_generation_markers(published):
        return "itself", published
    if name in mask_twins.TWINS:
        return "ours", mask_twins.twin_of(name, published)
    return "trl", get_training_chat_template(tokenizer)


def kind(folder, name):
    special, ends, bos = KINDS[name]
    tokenizer = byte_tokenizer(special, bos, ends[0])
    published = (folder / f"{name}.jinja").read_bytes().decode()
    tokenizer.chat_template = published
    maker, twin = twin_of(name, tokenizer)
    reads_tools = re.search(r"\btools\b", published) is not None
    cases = {}
    for title, messages in CONVERSATIONS.items():
        tools = TOOLS if reads_tools and title.startswith("tool") else None
        cases[title] = case(tokenizer, published, twin,
                            fitted(messages, name in TEXT_ARGUMENTS), tools)
        if maker != "trl" and cases[title] and cases[title]["text"] != cases[title]["published"]:
            raise ValueError(f"{name}, {title}: the twin renders another text")
    return {"twin": maker, "special": special, "ends": ends, "bos": bos, "tools": reads_tools,
            "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=pathlib.Path)
    folder = parser.parse_args().shared / "templates"
    chat_template_utils.datetime = Noon
    kinds = {name: kind(folder, name) for name in KINDS}
    versions = {"transformers": transformers.__version__, "trl": trl.__version__}
    now = int(NOON.replace(tzinfo=datetime.timezone.utc).timestamp())
    with OUT.open("w") as file:
        head = {**versions, "now": now, "tools": TOOLS, "conversations": CONVERSATIONS}
        file.write(json.dumps(head)[:-1] + ', "templates": {')
        for i, (name, entry) in enumerate(kinds.items()):
            cases = entry.pop("cases")
            file.write(",\n" if i else "\n")
            file.write(f"{json.dumps(name)}: {json.dumps(entry)[:-1]}, \"cases\": {{\n")
            file.write(",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in cases.items()))
            file.write("}}")
        file.write("\n}}\n")


if __name__ == "__main__":
    main()
