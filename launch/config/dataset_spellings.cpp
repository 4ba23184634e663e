#include "launch/config/dataset_spellings.h"

#include <algorithm>

namespace tessera::launch {
namespace {

using D = DatasetConfig;

/// The prompts of axolotl's alpaca_w_system strategies.
NamedType with_system(std::vector<std::string_view> names, std::string_view system,
                      std::string_view format, std::string_view no_input) {
  return {std::move(names),
          RowType::kPromptCompletion,
          {{&D::system_format, system}, {&D::format, format}, {&D::no_input_format, no_input}}};
}

NamedType of_open_orca(NamedType type) {
  type.settings.insert(type.settings.end(), {{&D::field_system, "system_prompt"},
                                             {&D::field_instruction, "question"},
                                             {&D::field_output, "response"}});
  return type;
}

}  // namespace

const std::vector<DatasetSpelling>& dataset_spellings() {
  static const std::vector<DatasetSpelling> spellings = {
      {"formatting", "type"},
      {"columns.prompt", "field_instruction"},
      {"columns.query", "field_input"},
      {"columns.response", "field_output"},
      {"columns.history", "field_history"},
      {"columns.messages", "field_messages"},
      {"columns.system", "field_system"},
      {"columns.tools", "field_tools"},
      {"tags.role_tag", "message_property_mappings.role"},
      {"tags.content_tag", "message_property_mappings.content"},
      {"tags.user_tag", "roles.user"},
      {"tags.assistant_tag", "roles.assistant"},
      {"tags.observation_tag", "roles.tool"},
      {"tags.function_tag", "roles.function_call"},
      {"tags.system_tag", "roles.system"},
      {"message_field_role", "message_property_mappings.role"},
      {"message_field_content", "message_property_mappings.content"},
      {"message_field_training", "message_property_mappings.train"},
      {"type.system_prompt", "system_prompt"},
      {"type.system_format", "system_format"},
      {"type.field_system", "field_system"},
      {"type.field_instruction", "field_instruction"},
      {"type.field_input", "field_input"},
      {"type.field_output", "field_output"},
      {"type.format", "format"},
      {"type.no_input_format", "no_input_format"},
  };
  return spellings;
}

std::string_view dataset_spelling(std::string_view theirs) {
  const auto found = std::ranges::find(dataset_spellings(), theirs, &DatasetSpelling::theirs);
  return found == dataset_spellings().end() ? std::string_view() : found->ours;
}

bool is_spelling_map(std::string_view key) { return key == "columns" || key == "tags"; }

const std::vector<NamedType>& named_types() {
  static const std::vector<NamedType> types = {
      {{"alpaca", "alpaca:instruct", "alpaca_instruct", "alpaca_instruct.load"}, RowType::kAlpaca},
      {{"gpteacher", "gpteacher:instruct"}, RowType::kAlpaca, {{&D::field_output, "response"}}},
      {{"oasst", "oasst:instruct"},
       RowType::kAlpaca,
       {{&D::field_instruction, "INSTRUCTION"}, {&D::field_output, "RESPONSE"}}},
      {{"chat_template", "sharegpt", "sharegpt:chat", "messages", "openai", "chatml"},
       RowType::kChatTemplate},
      {{"completion", "pretrain", "pretraining", "text"}, RowType::kCompletion},
      {{"prompt_completion"}, RowType::kPromptCompletion},
      {{"tokenized"}, RowType::kTokenized},
      {{"input_output"}, RowType::kInputOutput},
      with_system({"alpaca_w_system", "alpaca_w_system.load", "alpaca_w_system.load_chat"},
                  "SYSTEM: {system}\n",
                  "USER: {instruction}\n{input}\nASSISTANT:", "USER: {instruction}\nASSISTANT:"),
      of_open_orca(with_system({"alpaca_w_system.load_open_orca"}, "### System:\n{system}\n",
                               "### Human:\n{instruction}\n### Additional Context:\n{input}\n"
                               "### Assistant:\n",
                               "### Human:\n{instruction}\n### Assistant:\n")),
      of_open_orca(with_system({"alpaca_w_system.load_open_orca_chatml"},
                               "<|im_start|>system\n{system}<|im_end|>\n",
                               "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n"
                               "<|im_start|>assistant\n",
                               "<|im_start|>user\n{instruction}<|im_end|>\n"
                               "<|im_start|>assistant\n")),
  };
  return types;
}

const NamedType* find_named_type(std::string_view name) {
  for (const NamedType& type : named_types()) {
    if (std::ranges::count(type.names, name) > 0) return &type;
  }
  return nullptr;
}

std::string_view refused_type(std::string_view name) {
  static constexpr std::string_view kWording =
      "its wording is not built in; give it as type: {field_instruction: ..., field_output: ..., "
      "format: ...}";
  static constexpr std::string_view kPreferences =
      "preferences and rewards cannot be learned; there is supervised fine-tuning only";
  struct Refused {
    std::string_view begin, cure;
  };
  static constexpr Refused kRefused[] = {
      {"alpaca_w_system", kWording},
      {"alpaca_chat", kWording},
      {"alpaca", kWording},
      {"gpteacher", kWording},
      {"oasst", kWording},
      {"context_qa", kWording},
      {"creative_acr", kWording},
      {"explainchoice", kWording},
      {"concisechoice", kWording},
      {"summarizetldr", kWording},
      {"jeopardy", kWording},
      {"reflection", kWording},
      {"metharme", kWording},
      {"pygmalion", kWording},
      {"orcamini", kWording},
      {"llama2_chat", "set type: chat_template and the run's chat_template"},
      {"sharegpt", "set type: chat_template, and message_property_mappings and roles as needed"},
      {"instruction", "set type: alpaca"},
      {"dpo", kPreferences},
      {"kto", kPreferences},
      {"orpo", kPreferences},
      {"bradley_terry", kPreferences},
      {"stepwise_supervised", kPreferences},
  };
  for (const auto& [begin, cure] : kRefused) {
    if (!name.starts_with(begin)) continue;
    const std::string_view rest = name.substr(begin.size());
    if (rest.empty() || rest.starts_with('.') || rest.starts_with(':')) return cure;
  }
  return {};
}

const std::vector<ForeignKey>& foreign_dataset_keys() {
  static const std::vector<ForeignKey> keys = {
      {{"shards"}, {"1"}, "set split to a part of the data set, such as train[:10%]"},
      {{"shards_idx"}, {"0"}, "set split to a part of the data set, such as train[:10%]"},
      {{"preprocess_shards", "streaming"},
       {"1"},
       "rows are read one by one in any case",
       ForeignUse::kNotNeeded},
      {{"skip", "overlap_len"}, {"0"}, "remove it, or set split, such as train[1000:]"},
      {{"chat_template"}, {"tokenizer_default"}, "set chat_template of the run"},
      {{"chat_template_jinja", "conversation"}, {}, "set chat_template of the run"},
      {{"field_human", "field_model"}, {}, "set roles: {user: ..., assistant: ...}"},
      {{"message_field_training_detail"},
       {},
       "remove it; of a message all is learned or nothing: set message_field_training"},
      {{"split_thinking"}, {}, "write the thoughts as reasoning_content of their messages"},
      {{"input_format", "input_transform", "logprobs_field", "temperature"}, {}, "remove it"},
      {{"trust_remote_code", "hf_use_auth_token"},
       {},
       "code of a data set is never run",
       ForeignUse::kNotNeeded},
      {{"ms_hub_url", "om_hub_url"},
       {},
       "the Hugging Face hub or a file is used",
       ForeignUse::kNotNeeded},
      {{"ranking", "columns.chosen", "columns.rejected", "columns.kto_tag"},
       {},
       "remove it; preferences cannot be learned"},
      {{"columns.images", "columns.videos", "columns.audios", "image_base_dir", "image_resize"},
       {},
       "remove it; this trains text models"},
      {{"script_url", "hf_hub_url", "cloud_file_name"},
       {},
       "set path to the file, the folder or the data set of the hub"},
      {{"folder"}, {}, "set data_files, such as folder/*.jsonl"},
  };
  return keys;
}

const ForeignKey* find_foreign_dataset_key(std::string_view key) {
  for (const ForeignKey& foreign : foreign_dataset_keys()) {
    if (std::ranges::count(foreign.names, key) > 0) return &foreign;
  }
  return nullptr;
}

}  // namespace tessera::launch
