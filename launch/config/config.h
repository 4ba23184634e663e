// The settings of a run: one typed field per key of the YAML file, with its default here and
// nowhere else. Names, aliases, ranges and help are in the flag table (launch/config/flags.h).
// A Config that load_config returned is in range, free of contradictions, and asks for nothing that
// this version lacks; whether it is complete enough for a command is require_keys' to say.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lora/adapter/targets.h"
#include "lora/decoder/loss.h"
#include "optim/rule.h"
#include "optim/schedule.h"
#include "parallel/schedule.h"
#include "parallel/sharding.h"
#include "quant/format.h"
#include "runtime/core/device.h"
#include "runtime/core/dtype.h"

namespace tessera::launch {

enum class AdapterKind { kQlora, kLora };
enum class ExcessLength { kDrop, kTruncate };
enum class ContentTokens { kLetters, kTokens };
/// Which end-of-turn tokens are learned: of learned turns, of all turns, of the last learned one.
enum class EndTokens { kTurn, kAll, kLast };
enum class Reduction { kInvariant, kFast };
enum class ReportTo { kNone, kTensorBoard };
enum class LogFormat { kText, kJson };
enum class RowType {
  kAlpaca,
  kChatTemplate,
  kCompletion,
  kPromptCompletion,
  kTokenized,
  kInputOutput
};

/// As a config spells them.
std::string name_of(RowType type);
std::string name_of(parallel::Sharding::Mode mode);

/// Names in order: ours, and what it is in the rows of a data set.
template <class Theirs>
using NameMap = std::vector<std::pair<std::string, Theirs>>;

/// One entry of `datasets`: where its rows are, how they spell our columns (applied by
/// launch/data/row_mapping.h), and what of them is learned. Empty names are our own.
struct DatasetConfig {
  std::string path;
  std::optional<RowType> type = {};  // empty: inferred from the columns

  // where the rows are
  std::string name = {};                     // of a subset
  std::string split = {};                    // such as train[:1000]
  std::vector<std::string> data_files = {};  // names or globs
  std::string ds_type = {};                  // json, csv, text or parquet; empty: told by the file
  std::string revision = {};                 // of a data set of the hub
  double weight = 1;                         // above 0: how often its rows are taken
  std::optional<int64_t> max_samples = {};   // rows; empty: all

  // how the columns are called
  std::string field = {};  // the text of a completion
  std::string field_messages = {};
  std::string field_tools = {};
  std::string field_system = {};
  std::string field_instruction = {};  // the prompt of a prompt_completion
  std::string field_input = {};
  std::string field_output = {};  // its completion
  std::string field_history = {};

  // how the messages are
  NameMap<std::string> message_property_mappings = {};
  NameMap<std::vector<std::string>> roles = {};
  bool drop_system_message = false;

  // what stands around the texts
  std::string system_prompt = {};  // of rows that have none of their own
  std::string system_format = {};
  std::string format = {};
  std::string no_input_format = {};

  // what is learned, where it is not as in the rest of the run
  std::optional<bool> train_on_inputs = {};
  std::optional<std::vector<std::string>> roles_to_train = {};
  std::optional<EndTokens> train_on_eos = {};

  bool operator==(const DatasetConfig&) const = default;
};

/// The checkpoint that a run goes on from.
struct ResumeFrom {
  std::string path;  // empty: auto, the newest in output_dir
  bool is_auto() const { return path.empty(); }
  bool operator==(const ResumeFrom&) const = default;
};

struct Config {
  // model
  std::string base_model;
  NameMap<std::string> special_tokens;  // what the tokenizer must have; names such as eos_token
  std::string chat_template = "tokenizer_default";
  nlohmann::ordered_json chat_template_kwargs = nlohmann::ordered_json::object();  // of every row

  // adapter and quantization
  AdapterKind adapter = AdapterKind::kQlora;  // load_in_4bit says the same
  // One that quantizes. Empty, here and in the next two: auto, that of a base which is quantized
  // already, else quant::Storage's default.
  std::optional<const quant::Format*> bnb_4bit_quant_type;
  std::optional<bool> bnb_4bit_use_double_quant;
  std::optional<int64_t> bnb_4bit_blocksize;
  std::optional<DType> bnb_4bit_compute_dtype;  // empty: auto
  int64_t lora_r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0;
  lora::ModuleList lora_target_modules;  // empty: every linear layer (lora_target_linear)
  std::vector<std::pair<std::string, int64_t>>
      lora_rank_pattern;  // in order: the first match holds
  std::vector<std::pair<std::string, double>> lora_alpha_pattern;  // likewise
  std::vector<std::string> lora_modules_to_save;                   // names
  bool lora_ensure_weight_tying = false;
  std::vector<int64_t> lora_trainable_token_indices;  // in order: that of the rows in the adapter
  bool use_rslora = false;
  std::optional<std::string> lora_model_dir;

  // data
  std::vector<DatasetConfig> datasets;
  std::vector<DatasetConfig> test_datasets;          // each is evaluated on its own
  std::optional<std::string> dataset_prepared_path;  // of the tokens; empty: the user's cache
  double val_set_size = 0;  // below 1: share of the rows; from 1 on: a whole number of rows
  bool train_on_inputs = false;
  std::vector<std::string> roles_to_train = {"assistant"};
  EndTokens train_on_eos = EndTokens::kTurn;
  bool mask_history = false;  // of the turns to learn, the last alone
  ContentTokens special_tokens_in_content = ContentTokens::kLetters;
  int64_t sequence_len = 2048;  // tokens
  ExcessLength excess_length_strategy = ExcessLength::kDrop;
  bool sample_packing = true;
  bool group_by_length = false;
  bool shuffle = true;

  // batch and length of the run
  std::optional<int64_t> micro_batch_size = 1;             // rows; empty: auto
  std::optional<int64_t> global_batch_size;                // rows, over all ranks
  int64_t gradient_accumulation_steps = 1;                 // per rank; without global_batch_size
  double num_epochs = 1;                                   // 2.5: half of the third epoch's steps
  std::optional<int64_t> max_steps;                        // wins over num_epochs
  std::optional<parallel::Policy> gradient_checkpointing;  // empty: auto
  int64_t gradient_checkpointing_layers = 1;               // of a group that is recomputed together
  int64_t gradient_checkpointing_kept_layers = 0;  // the last ones, which are not recomputed
  const lora::Loss* loss = &lora::default_loss();  // of the table, never null
  double label_smoothing_factor = 0;               // share of a target, below 1
  double neftune_noise_alpha = 0;                  // 0: no noise
  int64_t seed = 42;

  // optimizer and schedule
  optim::OptimizerKind optimizer = {&optim::adamw_rule()};
  double learning_rate = 2e-4;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1.0;    // 0: no clipping
  double loraplus_lr_ratio = 1;  // rate of B over that of A
  optim::LrScheduler lr_scheduler = optim::LrScheduler::kCosine;
  optim::SchedulerArguments lr_scheduler_kwargs;
  double cosine_min_lr_ratio = 0;       // of learning_rate
  double cosine_constant_lr_ratio = 0;  // of all steps; 0: the rate falls until the last one
  double warmup_ratio = 0.03;           // of all steps; without warmup_steps
  std::optional<int64_t> warmup_steps;  // wins over the default of warmup_ratio
  std::optional<std::string> optimizer_page_dir;
  std::optional<int64_t> optimizer_page_budget;  // bytes; empty: auto
  bool optimizer_sharding = false;

  // output
  std::string output_dir;
  bool overwrite_output_dir = false;
  std::optional<ResumeFrom> resume_from_checkpoint;  // empty: starts afresh
  // When checkpoints come, beside the end: see launch/config/cadence.h. Below 1, steps are a share
  // of all of them.
  std::optional<double> save_steps;
  std::optional<int64_t> saves_per_epoch;
  int64_t save_total_limit = 3;
  std::optional<double> eval_steps;  // likewise, of validation
  std::optional<int64_t> evals_per_epoch;
  int64_t logging_steps = 1;

  // when a run stops by itself
  bool eval_on_start = false;
  std::optional<int64_t> early_stopping_patience;  // evaluations; empty: it does not
  double early_stopping_threshold = 0;
  std::optional<bool> load_best_model_at_end;  // empty: auto, with early_stopping_patience
  std::string metric_for_best_model = "loss";
  std::optional<double> loss_watchdog_threshold;  // empty: none
  int64_t loss_watchdog_patience = 3;             // steps

  // what it shows
  ReportTo report_to = ReportTo::kNone;
  std::optional<std::string> logging_dir;  // empty: in output_dir
  LogFormat log_format = LogFormat::kText;
  std::vector<std::string> sample_prompts;
  std::optional<int64_t> sample_steps;  // empty: at the end
  int64_t sample_max_new_tokens = 64;
  bool profile = false;

  // how `tessera search` compares candidates (launch/config/candidates.h)
  std::vector<int64_t> search_ranks;
  double search_steps = 0.2;  // as save_steps
  double search_tolerance = 0.01;

  // machine
  std::optional<Device::Kind> device;                // empty: auto
  std::optional<int64_t> threads;                    // CPU threads per rank; empty: auto
  std::optional<parallel::Sharding::Mode> sharding;  // empty: auto
  std::optional<int64_t> sharding_group;             // ranks; empty: auto (the node)
  std::optional<int64_t> memory_budget;              // bytes; empty: what the device has
  Reduction reduction = Reduction::kInvariant;
  std::optional<int64_t> watchdog_seconds;

  /// Name of the file the settings came from, for messages. Not a key.
  std::string source;
  /// Where base_model was found, if it is the name of a repository of the hub. Not a key.
  std::string model_path = {};
  /// What became of keys of other trainers, a line each for the user. Not a key.
  std::vector<std::string> notes = {};
  /// The model's folder or file.
  const std::string& model() const { return model_path.empty() ? base_model : model_path; }

  bool operator==(const Config&) const = default;
};

/// Names of keys in the flag table.
using Keys = std::span<const std::string_view>;
/// Those that a command cannot do without.
inline constexpr std::string_view kTrainNeeds[] = {"base_model", "datasets", "output_dir"};
inline constexpr std::string_view kEvalNeeds[] = {"base_model", "datasets"};
inline constexpr std::string_view kPlanNeeds[] = {"base_model"};

/// Reads the YAML file at `path` (at most 1 MiB), then applies `overrides`, each "key=value" or
/// "datasets.0.path=value", by the same rules. Throws one Error (usage) of a line for each fault,
/// which names file and line, or the command-line text: broken YAML, anchors, tags, unknown or
/// duplicate keys, two spellings of one key, wrong types or ranges, contradictions, what this
/// version does not do, and keys among `needed` that are left out. Broken YAML ends the reading.
Config load_config(const std::string& path, std::span<const std::string> overrides, Keys needed);
/// For a config that needs no key.
Config load_config(const std::string& path, std::span<const std::string> overrides);

/// Throws Error (usage), a line for each of `needed` that the config leaves out.
void require_keys(const Config& config, Keys needed);

/// Every key with its resolved value as YAML text that loads to an equal Config. A key that another
/// one rules out (warmup_ratio beside warmup_steps) is null.
std::string dump_config(const Config& config);

/// The key reference as a Markdown page.
std::string config_reference_markdown();

/// The keys with types, defaults and help, as plain text for a terminal of 100 columns.
std::string config_help();

}  // namespace tessera::launch
