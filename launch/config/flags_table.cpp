// The table itself, one function per group. See flags.h; the groups of training are in
// flags_training.cpp.
#include "launch/config/cadence.h"
#include "launch/config/flags.h"
#include "launch/config/flags_training.h"
#include "lora/adapter/adapter.h"
#include "runtime/core/has_cuda.h"

namespace tessera::launch {

namespace {

constexpr std::string_view kNoCuda =
    kHasCuda ? std::string_view{} : "is not in this version: it is built without CUDA";

std::vector<Flag> model_flags() {
  return {
      flag("base_model", &Config::base_model, PathType{},
           "The model to adapt: a folder in Hugging Face layout (safetensors) or a GGUF file. "
           "Required.")
          .such_as("models/llama-3.2-1b")
          .alias({"model_name_or_path"}),
      flag("special_tokens", &Config::special_tokens, SpecialTokensType{},
           "Which tokens the tokenizer has as bos_token, eos_token and unk_token. None can be "
           "changed: another one than the tokenizer's is an error. A pad_token is not needed."),
      flag("chat_template", &Config::chat_template, TextType{},
           "How conversations become text. tokenizer_default takes the checkpoint's own template. "
           "Others: the name of another template of the checkpoint; chatml, llama3, alpaca, gemma, "
           "mistral, phi_3, zephyr or vicuna; the path of a Jinja file; or a Jinja text."),
      flag("chat_template_kwargs", &Config::chat_template_kwargs, VariablesType{},
           "Variables for the chat template, such as enable_thinking. A row's own column of this "
           "name goes before them.")
          .such_as("{enable_thinking: false}"),
  };
}

std::vector<Choice<const quant::Format*>> quantized_formats() {
  std::vector<Choice<const quant::Format*>> choices;
  for (const quant::Format* format : quant::formats()) {
    if (!format->dtype) choices.emplace_back(format, format->name);
  }
  return choices;
}

/// Whether a 16-bit run is given a format; auto is none.
template <auto kMember>
bool quantizes_sixteen_bit(const Config& c) {
  return c.adapter == AdapterKind::kLora && c.*kMember;
}

std::vector<Flag> quantization_flags() {
  const std::string_view cure = "adapter: lora is the 16-bit run and quantizes nothing";
  return {
      flag("adapter", &Config::adapter,
           ChoiceType<AdapterKind>{{{AdapterKind::kQlora, "qlora"}, {AdapterKind::kLora, "lora"}}},
           "qlora trains LoRA adapters on a frozen 4-bit base; lora does so on the 16-bit base."),
      derived_flag(
          "load_in_4bit", [](const Config& c) { return c.adapter == AdapterKind::kQlora; },
          FourBitType{},
          "Follows from adapter: true for qlora, false for lora; saying otherwise is an error. "
          "Under its alias quantization_bit the value is 4.")
          .alias({"quantization_bit"}),
      flag("bnb_4bit_quant_type", &Config::bnb_4bit_quant_type,
           OptionalType<ChoiceType<const quant::Format*>>{{quantized_formats()}, "auto"},
           "The 4-bit code of the frozen weights, bit-equal to bitsandbytes. auto, here and in the "
           "next two keys, is the format of a base_model that is quantized already; any other base "
           "becomes nf4, double-quantized, in blocks of 64.")
          .alias({"quantization_type"})
          .ruled_out_by("adapter", quantizes_sixteen_bit<&Config::bnb_4bit_quant_type>, cure),
      flag("bnb_4bit_use_double_quant", &Config::bnb_4bit_use_double_quant,
           OptionalType<BoolType>{{}, "auto"},
           "Quantize the scales too: 4.13 bits a weight instead of 4.5.")
          .alias({"use_bnb_nested_quant", "double_quantization"})
          .ruled_out_by("adapter", quantizes_sixteen_bit<&Config::bnb_4bit_use_double_quant>, cure),
      flag("bnb_4bit_blocksize", &Config::bnb_4bit_blocksize,
           OptionalType<ChoiceType<int64_t>>{{{{32, "32"},
                                               {64, "64"},
                                               {128, "128"},
                                               {256, "256"},
                                               {512, "512"},
                                               {1024, "1024"},
                                               {2048, "2048"},
                                               {4096, "4096"}}},
                                             "auto"},
           "Weights that share one scale.")
          .ruled_out_by("adapter", quantizes_sixteen_bit<&Config::bnb_4bit_blocksize>, cure),
      flag(
          "bnb_4bit_compute_dtype", &Config::bnb_4bit_compute_dtype,
          OptionalType<ChoiceType<DType>>{
              {{{DType::kF32, "float32", {"torch.float32", "fp32"}},
                {DType::kBF16, "bfloat16", {"torch.bfloat16", "bf16"}},
                {DType::kF16, "float16", {"torch.float16", "fp16", "half"}}}},
              "auto"},
          "The type of products with the frozen weights; auto is float32 on the CPU and bfloat16 "
          "on CUDA. On the CPU, sums and activations stay float32, bfloat16 needs AVX512_BF16, and "
          "float16 rounds the weights only. Holds for adapter: lora too. Adapters and the "
          "optimizer "
          "are always float32.")
          .alias({"compute_dtype"}),
  };
}

std::vector<Flag> lora_flags() {
  return {
      flag("lora_r", &Config::lora_r, IntType{1, lora::kMaxRank}, "Rank of the adapters.")
          .alias({"lora_rank"}),
      flag("lora_alpha", &Config::lora_alpha, RealType{.low = 0, .above = true},
           "The adapters' output is scaled by lora_alpha / lora_r.")
          .candidates(),
      flag("lora_dropout", &Config::lora_dropout, RealType{.low = 0, .high = 1, .below = true},
           "Share of the adapters' inputs that is dropped while training.")
          .candidates(),
      derived_flag(
          "lora_target_linear", [](const Config& c) { return c.lora_target_modules.empty(); },
          BoolType{},
          "Adapt every linear layer of the blocks. False when lora_target_modules names some; "
          "saying otherwise is an error."),
      flag(
          "lora_target_modules", &Config::lora_target_modules, ModulesType{},
          "The linear layers to adapt, chosen as PEFT does: names such as [q_proj, v_proj], in "
          "every layer; whole paths such as model.layers.0.self_attn.q_proj, in one; or a regular "
          "expression that whole paths match, such as '.*[qv]_proj'. Each must adapt "
          "something. Neither lm_head nor embed_tokens can be adapted; lora_modules_to_save trains "
          "them in full.")
          .candidates()
          .alias({"lora_target", "target_modules"}),
      flag("lora_rank_pattern", &Config::lora_rank_pattern,
           ModuleValuesType<IntType>{{1, lora::kMaxRank}},
           "Ranks of single modules in place of lora_r, as PEFT's rank_pattern: names or regular "
           "expressions for the ends of their paths. The first that matches a module holds for it. "
           "Each must give a rank to something.")
          .candidates()
          .alias({"rank_pattern"}),
      flag("lora_alpha_pattern", &Config::lora_alpha_pattern,
           ModuleValuesType<RealType>{{.low = 0, .above = true}},
           "Values of single modules in place of lora_alpha, likewise.")
          .candidates()
          .alias({"alpha_pattern"}),
      flag("lora_modules_to_save", &Config::lora_modules_to_save, NamesType{},
           "Matrices to train in full beside the adapters, in float32: embed_tokens, lm_head or "
           "both. They are saved with the adapter and take 16 bytes a weight with AdamW. Where the "
           "head is tied to the embedding, training one of them unties it, as in PEFT, unless "
           "lora_ensure_weight_tying is true.")
          .candidates()
          .alias({"additional_target", "modules_to_save"}),
      flag("lora_ensure_weight_tying", &Config::lora_ensure_weight_tying, BoolType{},
           "Train the embedding and the head that is tied to it as one matrix. It needs "
           "lora_modules_to_save. (Rows of lora_trainable_token_indices are always those of both.)")
          .candidates()
          .alias({"peft_ensure_weight_tying", "ensure_weight_tying"})
          .ruled_out_by(
              "lora_modules_to_save",
              [](const Config& c) {
                return c.lora_ensure_weight_tying && c.lora_modules_to_save.empty() &&
                       c.lora_trainable_token_indices.empty();
              },
              "name embed_tokens or lm_head there"),
      flag("lora_trainable_token_indices", &Config::lora_trainable_token_indices, TokenIdsType{},
           "Tokens whose rows of the embedding to train beside the adapters, in float32, such as "
           "those of a chat template that the base has not learned. Where the head is tied to the "
           "embedding, they are its rows, too. PEFT's map {embed_tokens: [...]} is understood.")
          .candidates()
          .alias({"peft_trainable_token_indices", "trainable_token_indices"}),
      flag("use_rslora", &Config::use_rslora, BoolType{},
           "Scale by lora_alpha / sqrt(lora_r) instead.")
          .candidates()
          .alias({"peft_use_rslora"}),
      flag("lora_model_dir", &Config::lora_model_dir, OptionalType<PathType>{},
           "A saved adapter (PEFT) to start from, with a fresh optimizer.")
          .alias({"adapter_name_or_path"}),
  };
}

std::vector<Flag> data_flags() {
  return {
      flag("datasets", &Config::datasets, DatasetsType{},
           "What to train on: a list of data sets, each with a path and, where their rows need it, "
           "more (see the keys of a data set). Required.")
          .such_as("[{path: data.jsonl, type: alpaca}]"),
      flag("val_set_size", &Config::val_set_size, ShareOrCountType{},
           "Rows held back for validation: a share below 1, or a number of rows; 0 for none. 1 is "
           "one row, and 1.0, which would be all, is an error.")
          .alias({"val_size"}),
      flag("test_datasets", &Config::test_datasets, DatasetsType{},
           "Data sets to evaluate on, each on its own, whenever val_set_size would: as datasets."),
      flag("dataset_prepared_path", &Config::dataset_prepared_path, OptionalType<PathType>{},
           "Folder where the tokens of the data sets are kept for the next run. null: "
           "tessera/tokens in the user's cache ($XDG_CACHE_HOME, or ~/.cache), for data sets of 64 "
           "MiB and more; smaller ones are read anew.")
          .alias({"tokenized_path"}),
      flag("train_on_inputs", &Config::train_on_inputs, BoolType{},
           "Take the loss on prompts too, not on answers alone.")
          .alias({"train_on_prompt", "train_on_input"}),
      flag(
          "roles_to_train", &Config::roles_to_train, NamesType{},
          "Whose messages of a conversation are learned. A message's own key weight, train or loss "
          "goes before it."),
      flag("mask_history", &Config::mask_history, BoolType{},
           "Learn only the last of a conversation's turns that would be learned."),
      flag("train_on_eos", &Config::train_on_eos, end_tokens_type(),
           "Which end tokens of a conversation are learned: those of learned turns, those of all "
           "turns, or that of the last learned turn alone."),
      flag("special_tokens_in_content", &Config::special_tokens_in_content,
           ChoiceType<ContentTokens>{
               {{ContentTokens::kLetters, "letters"}, {ContentTokens::kTokens, "tokens"}}},
           "How a special token such as <|im_end|> inside a message is read: as letters, so that "
           "data cannot forge turns, or as the token. Raw text always has tokens."),
      flag("sequence_len", &Config::sequence_len, IntType{2, 1 << 24},
           "Most tokens in a row of a batch.")
          .alias({"cutoff_len", "max_seq_length", "max_length", "max_seq_len"}),
      flag("excess_length_strategy", &Config::excess_length_strategy,
           ChoiceType<ExcessLength>{
               {{ExcessLength::kDrop, "drop"}, {ExcessLength::kTruncate, "truncate"}}},
           "What to do with a sample longer than sequence_len: drop it or cut its end off."),
      flag("sample_packing", &Config::sample_packing, BoolType{},
           "Put several samples in one row; they never attend to each other.")
          .alias({"packing", "neat_packing"}),
      flag("group_by_length", &Config::group_by_length, BoolType{},
           "Give the rows of a step a like length, so that ranks wait less for each other. For "
           "rows that are not packed.")
          .ruled_out_by(
              "sample_packing",
              [](const Config& c) { return c.group_by_length && c.sample_packing; },
              "packed rows have one length already; remove it, or set sample_packing: false"),
      flag("shuffle", &Config::shuffle, BoolType{},
           "A new order every epoch, which depends on seed alone."),
  };
}

std::vector<Flag> output_flags() {
  return {
      flag("output_dir", &Config::output_dir, PathType{},
           "Folder for checkpoints, the adapter, metrics.jsonl and this config. Required.")
          .such_as("runs/first"),
      flag("overwrite_output_dir", &Config::overwrite_output_dir, BoolType{},
           "Start afresh in a folder that holds a run."),
      flag("resume_from_checkpoint", &Config::resume_from_checkpoint, ResumeType{},
           "Go on from the newest checkpoint in output_dir (auto; starts fresh when there is none) "
           "or from the one at this path. true means auto. A finished run is left as it is."),
      flag("save_steps", &Config::save_steps, OptionalType<StepsType>{},
           "Steps between checkpoints, or their share of all steps; left out, there is one at the "
           "end.")
          .ruled_out_by(
              "saves_per_epoch", [](const Config& c) { return c.saves_per_epoch.value_or(0) > 0; },
              "each says when there are checkpoints; keep one"),
      flag("saves_per_epoch", &Config::saves_per_epoch, OptionalType<IntType>{{0, kMostSteps}},
           "Checkpoints in each epoch, at equal distances; 0 is as left out."),
      flag("save_total_limit", &Config::save_total_limit, IntType{1, kMostSteps},
           "How many checkpoints to keep. If there are more, damaged ones are removed first, then "
           "the oldest."),
      flag("eval_steps", &Config::eval_steps, OptionalType<StepsType>{},
           "Steps between validations, or their share of all steps; left out, there is one at the "
           "end.")
          .ruled_out_by("val_set_size", evaluates_nothing, kNoRowsCure)
          .ruled_out_by(
              "evals_per_epoch", [](const Config& c) { return c.evals_per_epoch.value_or(0) > 0; },
              "each says when validation comes; keep one"),
      flag("evals_per_epoch", &Config::evals_per_epoch, OptionalType<IntType>{{0, kMostSteps}},
           "Validations in each epoch, at equal distances; 0 is as left out."),
      flag("logging_steps", &Config::logging_steps, IntType{1, kMostSteps},
           "Steps between progress lines."),
  };
}

using Mode = parallel::Sharding::Mode;

const ChoiceType<std::optional<Mode>>& sharding_modes() {
  static const ChoiceType<std::optional<Mode>> modes = {{{std::nullopt, "auto"},
                                                         {Mode::kReplicate, "replicate"},
                                                         {Mode::kFull, "full"},
                                                         {Mode::kHybrid, "hybrid"},
                                                         {Mode::kHost, "host"}}};
  return modes;
}

std::vector<Flag> machine_flags() {
  return {
      flag("device", &Config::device,
           OptionalType<ChoiceType<Device::Kind>>{
               {{{Device::Kind::kCpu, "cpu"}, {Device::Kind::kCuda, "cuda", {}, kNoCuda}}}, "auto"},
           "Where to compute; auto is CUDA where there is a GPU and the program is built for it."),
      flag("threads", &Config::threads, OptionalType<IntType>{{1, 4096}, "auto"},
           "CPU threads of each rank; auto shares the cores out. The numbers do not depend on it."),
      flag("memory_budget", &Config::memory_budget, OptionalType<SizeType>{},
           "Memory a rank may use, e.g. 22GiB; left out, what is free. Within it, the plan chooses "
           "the fastest values for what is auto: activations, sharding, resident optimizer pages. "
           "A run that cannot fit is refused before anything is loaded. On the CPU it counts all "
           "of a rank's memory."),
      flag(
          "sharding", &Config::sharding, sharding_modes(),
          "How ranks share the frozen base: every rank has it all (replicate), a part each (full), "
          "a part each inside a group (hybrid), or one copy a node (host). auto is full where "
          "there is more than one rank; with memory_budget, the fastest that fits."),
      flag("sharding_group", &Config::sharding_group, OptionalType<IntType>{{1, 1 << 20}, "auto"},
           "Ranks in a group of hybrid sharding; auto is the node.")
          .ruled_out_by(
              "sharding", [](const Config& c) { return c.sharding != Mode::kHybrid; },
              "groups belong to sharding: hybrid"),
      flag(
          "reduction", &Config::reduction,
          ChoiceType<Reduction>{{{Reduction::kInvariant, "invariant"}, {Reduction::kFast, "fast"}}},
          "How gradients are summed over ranks: invariant gives the same bits on any number of "
          "ranks, fast does not."),
      flag("watchdog_seconds", &Config::watchdog_seconds, OptionalType<IntType>{{1, kMostSteps}},
           "How many seconds ranks wait for another rank. Then the run ends, and the error names "
           "that rank and its work. 1800 if left out."),
  };
}

}  // namespace

std::string name_of(Mode mode) { return sharding_modes().write(mode); }

const std::vector<FlagGroup>& flag_groups() {
  static const std::vector<FlagGroup> groups = {
      {"Model", model_flags()},
      {"Quantization", quantization_flags()},
      {"Adapter", lora_flags()},
      {"Data", data_flags()},
      {"Batch and length", batch_flags()},
      {"Optimizer", optimizer_flags()},
      {"Learning rate", schedule_flags()},
      {"Stopping", stopping_flags()},
      {"Output", output_flags()},
      {"Watching", watching_flags()},
      {"Search", search_flags()},
      {"Machine", machine_flags()},
  };
  return groups;
}

}  // namespace tessera::launch
