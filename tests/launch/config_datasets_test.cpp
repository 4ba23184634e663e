// The keys of a data set: by our names and by those of other trainers, what contradicts, and that
// the resolved config loads to the same.
#include <gtest/gtest.h>

#include "launch/config/dataset_keys.h"
#include "launch/config/dataset_spellings.h"
#include "launch/config/settings.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Faults faults;
  const Settings settings = read_settings(text, "F", overrides, faults);
  Config config = resolve(settings, "F", faults);
  faults.raise();
  return config;
}

/// The data set of these lines, a path beside them.
DatasetConfig dataset(const std::string& keys) {
  std::string text = "datasets:\n  - path: d\n";
  for (size_t begin = 0; begin < keys.size();) {
    const size_t end = std::min(keys.find('\n', begin), keys.size());
    text += "    " + keys.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  return parse(text).datasets.at(0);
}

std::string fault(const std::string& keys) {
  try {
    dataset(keys);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

using Names = NameMap<std::string>;
using Roles = NameMap<std::vector<std::string>>;

TEST(ConfigDatasets, TellWhereTheRowsAre) {
  const DatasetConfig d = dataset(
      "name: main\nsplit: 'train[:10%]'\ndata_files: a*.jsonl\nds_type: jsonl\nrevision: v1\n"
      "weight: 2.5\nmax_samples: 1_000");
  EXPECT_EQ(d.name, "main");
  EXPECT_EQ(d.split, "train[:10%]");
  EXPECT_EQ(d.data_files, (std::vector<std::string>{"a*.jsonl"}));
  EXPECT_EQ(d.ds_type, "json");
  EXPECT_EQ(d.revision, "v1");
  EXPECT_EQ(d.weight, 2.5);
  EXPECT_EQ(d.max_samples, 1000);
  EXPECT_EQ(dataset("data_files: [a, 'b c']\nds_type: tsv\nnum_samples: 3\nsubset: s"),
            (DatasetConfig{.path = "d",
                           .name = "s",
                           .data_files = {"a", "b c"},
                           .ds_type = "csv",
                           .max_samples = 3}));
  EXPECT_EQ(fault("weight: 0"), "F:3: datasets.0.weight: expected a number above 0, got '0'");
  EXPECT_EQ(fault("ds_type: arrow"),
            "F:3: datasets.0.ds_type: expected json, csv, text or parquet, got 'arrow'");
  EXPECT_EQ(fault("max_samples: 3\nsamples: 4"),
            "F:4: datasets.0.samples: max_samples is another spelling of this key; keep one");
}

TEST(ConfigDatasets, TypesHaveTheNamesOfOtherTrainers) {
  for (const char* name : {"sharegpt", "messages", "openai", "sharegpt:chat"}) {
    EXPECT_EQ(dataset(std::string("type: ") + name).type, RowType::kChatTemplate) << name;
  }
  EXPECT_EQ(dataset("type: pretrain").type, RowType::kCompletion);
  EXPECT_EQ(dataset("type: alpaca_instruct.load").type, RowType::kAlpaca);
  EXPECT_EQ(dataset("type: gpteacher"),
            (DatasetConfig{.path = "d", .type = RowType::kAlpaca, .field_output = "response"}));
  EXPECT_EQ(dataset("type: oasst\nfield_output: A").field_output, "A");
  const DatasetConfig orca = dataset("type: alpaca_w_system.load_open_orca");
  EXPECT_EQ(orca.type, RowType::kPromptCompletion);
  EXPECT_EQ(orca.field_system, "system_prompt");
  EXPECT_EQ(orca.no_input_format, "### Human:\n{instruction}\n### Assistant:\n");
  EXPECT_EQ(fault("type: context_qa.load_v2"),
            "F:3: datasets.0.type: 'context_qa.load_v2' is not offered: its wording is not built "
            "in; give it as type: {field_instruction: ..., field_output: ..., format: ...}");
  EXPECT_NE(fault("type: dpo.chatml").find("preferences and rewards cannot be learned"),
            std::string::npos);
  EXPECT_NE(fault("type: alpaca_w_system.load_instruct").find("not offered"), std::string::npos);
  EXPECT_NE(fault("type: alpacas").find("expected alpaca, chat_template"), std::string::npos);
}

TEST(ConfigDatasets, AMapAsTypeMakesPrompts) {
  EXPECT_EQ(dataset("type:\n  system_prompt: Be brief.\n  field_instruction: q\n"
                    "  field_output: a\n  format: |-\n    Q: {instruction}\n    A:\n"
                    "  no_input_format: '{instruction} '"),
            (DatasetConfig{.path = "d",
                           .type = RowType::kPromptCompletion,
                           .field_instruction = "q",
                           .field_output = "a",
                           .system_prompt = "Be brief.",
                           .format = "Q: {instruction}\nA:",
                           .no_input_format = "{instruction} "}));
  EXPECT_EQ(fault("type: {field_instruction: q}"),
            "F:3: datasets.0.type: format is missing, such as format: \"{instruction}\\n\"");
  EXPECT_EQ(fault("type: {format: '{instruction}', fieldoutput: a}"),
            "F:3: datasets.0: unknown key 'type.fieldoutput'; did you mean 'type.field_output'?");
}

TEST(ConfigDatasets, FormatsHaveTheirPlacesAlone) {
  EXPECT_EQ(dataset("format: '{{x}} {instruction}'").format, "{{x}} {instruction}");
  EXPECT_EQ(fault("format: '{question}'"),
            "F:3: datasets.0.format: '{question}' is no place of this text; it may have "
            "{instruction} and {input}, and {{ stands for a {");
  EXPECT_NE(fault("format: '{instruction'").find("has no partner"), std::string::npos);
  EXPECT_NE(fault("format: a}b").find("has no partner"), std::string::npos);
  EXPECT_NE(fault("format: '{instruction}'\nno_input_format: '{input}'").find("no place"),
            std::string::npos);
  EXPECT_EQ(fault("no_input_format: '{instruction}'"),
            "F:2: datasets.0.no_input_format: it needs format beside it");
  EXPECT_EQ(fault("type: alpaca\nformat: '{instruction}'"),
            "F:2: datasets.0.format: it makes prompts, and the type is alpaca; set type: "
            "prompt_completion");
  EXPECT_NE(fault("type: prompt_completion\nfield_input: x").find("has no place for it"),
            std::string::npos);
}

TEST(ConfigDatasets, MessagesAreMappedByAnySpelling) {
  const Names keys = {{"role", "from"}, {"content", "value"}};
  EXPECT_EQ(
      dataset("message_property_mappings: {role: from, content: value}").message_property_mappings,
      keys);
  EXPECT_EQ(
      dataset("message_field_role: from\nmessage_field_content: value").message_property_mappings,
      keys);
  EXPECT_EQ(dataset("tags: {role_tag: from, content_tag: value}").message_property_mappings, keys);
  EXPECT_EQ(
      dataset("message_field_training: learn\nfield_thinking: thoughts").message_property_mappings,
      (Names{{"train", "learn"}, {"reasoning_content", "thoughts"}}));
  EXPECT_EQ(dataset("template_thinking_key: thinking").message_property_mappings,
            (Names{{"thinking", "reasoning_content"}}));
  EXPECT_EQ(dataset("roles: {assistant: [bot, agent], user: person}").roles,
            (Roles{{"assistant", {"bot", "agent"}}, {"user", {"person"}}}));
  EXPECT_EQ(dataset("tags: {user_tag: q, function_tag: call, observation_tag: result}").roles,
            (Roles{{"user", {"q"}}, {"function_call", {"call"}}, {"tool", {"result"}}}));
  EXPECT_EQ(fault("message_field_role: from\nmessage_property_mappings: {role: who}"),
            "F:4: datasets.0.message_property_mappings: 'role' is given another name already; keep "
            "one");
}

TEST(ConfigDatasets, LlamaFactorysColumnsAreOurFields) {
  EXPECT_EQ(dataset("formatting: alpaca\ncolumns: {prompt: q, query: in, response: a, history: h, "
                    "system: s}"),
            (DatasetConfig{.path = "d",
                           .type = RowType::kChatTemplate,
                           .field_system = "s",
                           .field_instruction = "q",
                           .field_input = "in",
                           .field_output = "a",
                           .field_history = "h"}));
  EXPECT_EQ(
      dataset("formatting: sharegpt\ncolumns: {messages: m, tools: t}"),
      (DatasetConfig{
          .path = "d", .type = RowType::kChatTemplate, .field_messages = "m", .field_tools = "t"}));
  EXPECT_EQ(fault("columns: {images: i}"),
            "F:3: datasets.0: columns.images is not a key of this program: remove it; this trains "
            "text models");
  EXPECT_EQ(fault("columns: x"), "F:3: datasets.0.columns: expected a map, got 'x'");
  EXPECT_NE(fault("type: alpaca\nformatting: sharegpt").find("another spelling"),
            std::string::npos);
}

TEST(ConfigDatasets, KeysThatChangeNothingAreAccepted) {
  const DatasetConfig usual = dataset("");
  for (const char* harmless :
       {"shards: 1", "shards_idx: 0", "ranking: false", "chat_template: tokenizer_default",
        "trust_remote_code: true", "streaming: true", "split_thinking: false", "conversation:"}) {
    EXPECT_EQ(dataset(harmless), usual) << harmless;
  }
  for (const char* refused :
       {"shards: 4", "shards_idx: 1", "ranking: true", "chat_template: chatml", "field_human: h",
        "split_thinking: true", "conversation: vicuna"}) {
    EXPECT_NE(fault(refused).find("is not a key of this program: "), std::string::npos) << refused;
  }
}

TEST(ConfigDatasets, WhatIsLearnedCanDiffer) {
  const DatasetConfig d =
      dataset("train_on_inputs: false\nroles_to_train: [gpt]\ntrain_on_eos: last");
  EXPECT_EQ(d.train_on_inputs, false);
  EXPECT_EQ(d.roles_to_train, (std::vector<std::string>{"gpt"}));
  EXPECT_EQ(d.train_on_eos, EndTokens::kLast);
  EXPECT_FALSE(dataset("").train_on_inputs.has_value());
}

TEST(ConfigDatasets, TheDumpLoadsToTheSameDatasets) {
  const Config config = parse(
      "datasets:\n"
      "  - {path: a, type: tokenized}\n"
      "  - {path: b, type: alpaca_w_system.load_open_orca_chatml, weight: 0.5, max_samples: 7}\n"
      "  - path: c\n"
      "    name: n\n    split: 'train[:5]'\n    data_files: [x, 'y z', 'w*']\n    ds_type: tsv\n"
      "    revision: r\n    field: f\n    field_messages: m\n    field_tools: t\n"
      "    field_system: s\n    field_instruction: 'i: #1'\n    field_input: in\n"
      "    field_output: o\n    field_history: h\n"
      "    message_property_mappings: {role: \"a, b\", content: '}'}\n"
      "    roles: {assistant: [x, 'y: z'], user: 'true'}\n    drop_system_message: true\n"
      "    system_prompt: \"two\\nlines\"\n    system_format: '{system}'\n"
      "    format: \"Q: {instruction} {input}\\nA:\"\n    no_input_format: ' {instruction}'\n"
      "    train_on_inputs: false\n    roles_to_train: [assistant, user]\n    train_on_eos: all\n");
  Config again = parse(dump_config(config));
  EXPECT_EQ(again.datasets, config.datasets) << dump_config(config);
  // Every key is in that list, so that none is forgotten by the dump.
  const DatasetConfig usual;
  for (const DatasetKey& key : dataset_keys()) {
    EXPECT_TRUE(std::ranges::any_of(config.datasets, [&](const DatasetConfig& d) {
      return key.write(d) != key.write(usual);
    })) << key.name;
  }
}

TEST(ConfigDatasets, TheCommandLineReachesEveryKey) {
  EXPECT_EQ(
      parse("datasets: [{path: d}]", {"datasets.0.roles.assistant=[bot]",
                                      "datasets.0.field_output=a", "datasets.0.columns.prompt=q"})
          .datasets.at(0),
      (DatasetConfig{.path = "d",
                     .field_instruction = "q",
                     .field_output = "a",
                     .roles = {{"assistant", {"bot"}}}}));
}

TEST(ConfigDatasets, EverySpellingStandsForAKey) {
  for (const auto& [theirs, ours] : dataset_spellings()) {
    const DatasetKey* key = find_dataset_key(ours.substr(0, ours.find('.')));
    ASSERT_NE(key, nullptr) << ours;
    EXPECT_EQ(key->is_map, ours.find('.') != ours.npos) << ours;
    EXPECT_EQ(find_foreign_dataset_key(theirs), nullptr) << theirs;
  }
}

}  // namespace
}  // namespace tessera::launch
