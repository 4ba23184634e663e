#include "launch/config/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "launch/config/flags.h"
#include "launch/config/foreign_keys.h"
#include "launch/config/options.h"
#include "launch/config/settings.h"
#include "runtime/core/device.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/io/file.h"

namespace tessera::launch {
namespace {

using Overrides = std::vector<std::string>;

/// All steps but the check for what this version lacks.
Config parse(const std::string& text, const Overrides& overrides) {
  Faults faults;
  const Settings settings = read_settings(text, "run.yml", overrides, faults);
  Config config = resolve(settings, "run.yml", faults);
  check_rules(config, settings, faults);
  faults.raise();
  return config;
}

/// A fault is one line.
template <class Callable>
std::string message_of(Callable&& call, int lines = 1) {
  try {
    call();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.fault(), Fault::kUsage) << message;
    EXPECT_EQ(std::ranges::count(message, '\n') + 1, lines) << message;
    return message;
  }
  return "accepted";
}

std::string parse_error(const std::string& text, const Overrides& overrides = {}) {
  return message_of([&] { parse(text, overrides); });
}

std::string support_error(const std::string& text, int lines = 1) {
  return message_of(
      [&] {
        Faults faults;
        const Settings settings = read_settings(text, "run.yml", {}, faults);
        checked_config(settings, "run.yml", {}, faults);
      },
      lines);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Config, DefaultsAreThoseOfTheDesign) {
  const Config config = parse("", {});
  Config expected;
  expected.source = "run.yml";
  EXPECT_EQ(config, expected);
  EXPECT_EQ(config.adapter, AdapterKind::kQlora);
  EXPECT_EQ(quantization(config), (quant::Storage{&quant::kNf4Format, 64, true}));
  EXPECT_TRUE(config.lora_target_modules.empty());
  EXPECT_EQ(config.lora_r, 16);
  EXPECT_EQ(config.lora_alpha, 32);
  EXPECT_EQ(config.learning_rate, 2e-4);
  EXPECT_EQ(config.warmup_ratio, 0.03);
  EXPECT_EQ(config.sequence_len, 2048);
  EXPECT_EQ(config.save_total_limit, 3);
  EXPECT_EQ(config.seed, 42);
}

TEST(Config, ReadsEveryKindOfValue) {
  const Config config = parse(
      "base_model: m\ndatasets:\n  - {path: a b.jsonl, type: alpaca}\n  - path: c\n    type:\n"
      "bnb_4bit_compute_dtype: torch.bfloat16\nlora_alpha: 1_6.5\nlora_target_modules: "
      "[q_proj, v_proj]\nlearning_rate: '2e-5'\nadam_beta1: .5\nmax_steps: 1_000\nnum_epochs: 3.0\n"
      "sample_packing: No\nshuffle: 'false'\ngradient_checkpointing: true\noptimizer: "
      "adamw_torch_fused\nresume_from_checkpoint: true\nmemory_budget: 22GiB\n"
      "warmup_steps: 0\nmicro_batch_size: auto\noutput_dir: 2024\ndevice: cpu\n",
      {});
  EXPECT_EQ(config.datasets,
            (std::vector<DatasetConfig>{{"a b.jsonl", RowType::kAlpaca}, {"c", {}}}));
  EXPECT_EQ(config.bnb_4bit_compute_dtype, DType::kBF16);
  EXPECT_EQ(config.lora_alpha, 16.5);
  EXPECT_EQ(config.lora_target_modules.names, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(config.learning_rate, 2e-5);
  EXPECT_EQ(config.adam_beta1, 0.5);
  EXPECT_EQ(config.max_steps, 1000);
  EXPECT_EQ(config.num_epochs, 3);
  EXPECT_FALSE(config.sample_packing);
  EXPECT_FALSE(config.shuffle);
  EXPECT_EQ(config.gradient_checkpointing, parallel::Policy::kRecompute);
  EXPECT_EQ(config.optimizer, (optim::OptimizerKind{&optim::adamw_rule()}));
  EXPECT_EQ(config.resume_from_checkpoint, ResumeFrom{});
  EXPECT_EQ(config.memory_budget, int64_t{22} << 30);
  EXPECT_EQ(config.warmup_steps, 0);
  EXPECT_EQ(config.micro_batch_size, std::nullopt);
  EXPECT_EQ(config.output_dir, "2024");
  EXPECT_EQ(config.device, Device::Kind::kCpu);
}

TEST(Config, AnOptimizerIsARuleItsBitsAndPagedOrNot) {
  using optim::StateBits;
  const optim::Rule* adamw = &optim::adamw_rule();
  const std::pair<std::string, optim::OptimizerKind> cases[] = {
      {"adamw", {adamw, StateBits::k32, false}},
      {"adamw_bnb_8bit", {adamw, StateBits::k8, false}},
      {"paged_adamw", {adamw, StateBits::k32, true}},
      {"paged_adamw_8bit", {adamw, StateBits::k8, true}}};
  for (const auto& [name, kind] : cases) {
    EXPECT_EQ(parse("optimizer: " + name, {}).optimizer, kind) << name;
  }
}

TEST(Config, SizesHaveUnits) {
  const std::pair<std::string, int64_t> cases[] = {{"22GiB", int64_t{22} << 30},
                                                   {"24 GB", 24'000'000'000},
                                                   {"1.5gib", int64_t{3} << 29},
                                                   {"512MiB", 512 << 20},
                                                   {"1_000kb", 1'000'000},
                                                   {"8TiB", int64_t{8} << 40},
                                                   {"0B", 0}};
  for (const auto& [text, bytes] : cases) {
    EXPECT_EQ(parse("memory_budget: " + text, {}).memory_budget, bytes) << text;
  }
  for (const std::string text : {"22", "22G", "-1GiB", "GiB", "1e30GiB", "9999999TiB", "1 2GiB"}) {
    EXPECT_TRUE(contains(parse_error("memory_budget: " + text), "expected a size with its unit"))
        << text;
  }
}

TEST(Config, AnEmptyValueCountsAsLeftOut) {
  const Config config = parse("lora_r:\nmax_grad_norm: null\nsave_steps: ~\nwandb_project:\n", {});
  EXPECT_EQ(config, parse("", {}));
  EXPECT_EQ(parse("warmup_ratio:\nwarmup_steps: 5", {}).warmup_steps, 5);
}

TEST(Config, EveryAliasMeansItsKey) {
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      for (const std::string_view alias : flag.aliases) {
        const std::string value = flag.write(Config{});
        const std::string some = alias.ends_with("_pattern")         ? "{q_proj: 7}"
                                 : alias.ends_with("_token_indices") ? "[7]"
                                                                     : "7";
        const std::string own = value == "null" ? some : value;
        const std::string written = alias == "quantization_bit" ? "4" : own;
        Faults faults;
        const Settings settings =
            read_settings(fmt::format("{}: {}", alias, written), "x", {}, faults);
        EXPECT_TRUE(settings.contains(flag.name)) << alias;
        resolve(settings, "x", faults);
        EXPECT_TRUE(faults.empty()) << alias;
        EXPECT_EQ(find_foreign_key(alias), nullptr) << alias;
        EXPECT_EQ(parse_error(fmt::format("{}: {}\n{}: {}", flag.name, own, alias, written)),
                  fmt::format("run.yml:2: {} and {} (run.yml:1) are two spellings of one key; "
                              "keep one",
                              alias, flag.name));
      }
    }
  }
}

TEST(Config, TheSpellingsOfOtherTrainersAreUnderstood) {
  const Config config = parse(
      "model_name_or_path: m\nquantization_bit: 4\nlora_rank: 8\nlora_target: all\ncutoff_len: "
      "512\n"
      "packing: false\nper_device_train_batch_size: 2\nnum_train_epochs: 3.0\noptim: adamw_torch\n"
      "lr_scheduler_type: cosine\nbf16: auto\ntf32: false\nfsdp:\nreport_to: none\nstage: sft\n"
      "do_train: true\nplot_loss: false\n",
      {});
  EXPECT_EQ(config.base_model, "m");
  EXPECT_TRUE(config.adapter == AdapterKind::kQlora && config.lora_target_modules.empty());
  EXPECT_EQ(config.lora_r, 8);
  EXPECT_EQ(config.sequence_len, 512);
  EXPECT_EQ(config.micro_batch_size, 2);
  EXPECT_EQ(parse("lora_target: 'q_proj, v_proj'", {}).lora_target_modules.names,
            (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(parse("adapter: lora\nload_in_4bit: true", {}).adapter, AdapterKind::kQlora);
  EXPECT_EQ(parse_error("bf16: sometimes"),
            "run.yml:1: bf16: sometimes is not offered: set bnb_4bit_compute_dtype: auto, float32, "
            "bfloat16 or float16");
  EXPECT_TRUE(contains(parse_error("do_train: false"), "not a key of this program"));
  EXPECT_EQ(parse_error("use_peft: true"), "accepted");
  EXPECT_EQ(parse_error("use_peft: false"),
            "run.yml:1: use_peft: false is not offered: only adapters are trained; remove it");
  EXPECT_EQ(parse_error("fsdp_config: {a: b}"), "accepted");
  EXPECT_TRUE(contains(parse_error("quantization_bit: 8"), "expected 4, got '8'"));
}

TEST(Config, TargetsAreNamesOrARegularExpression) {
  const auto read = [](const std::string& text) {
    return parse("lora_target_modules: " + text, {}).lora_target_modules;
  };
  EXPECT_EQ(read("'.*\\.(q|v)_proj'"), (lora::ModuleList{.pattern = ".*\\.(q|v)_proj"}));
  EXPECT_EQ(read("q_proj"), (lora::ModuleList{.names = {"q_proj"}}));
  EXPECT_EQ(read("model.layers.0.self_attn.q_proj"),
            (lora::ModuleList{.names = {"model.layers.0.self_attn.q_proj"}}));
  for (const char* all : {"all-linear", "All-Linear", "all"}) EXPECT_TRUE(read(all).empty()) << all;
  // A regular expression may hold a comma; a list of names holds nothing else that is special.
  EXPECT_EQ(read("'.*[qv]_proj{1,1}'"), (lora::ModuleList{.pattern = ".*[qv]_proj{1,1}"}));
}

/// A strategy decides as in transformers, and what our own keys say beside it goes before.
TEST(Config, AStrategyOfAnotherTrainerDecides) {
  const auto saves = [](const std::string& text, const Overrides& overrides = {}) {
    const Config config = parse(text, overrides);
    return std::pair(config.save_steps.value_or(0), config.saves_per_epoch.value_or(0));
  };
  using Saves = std::pair<double, int64_t>;
  EXPECT_EQ(saves("save_strategy: 'no'\nsave_steps: 5"), Saves(0, 0));
  EXPECT_EQ(saves("save_strategy: no"), Saves(0, 0));
  EXPECT_EQ(saves("save_strategy: epoch\nsave_steps: 5"), Saves(0, 1));
  EXPECT_EQ(saves("save_strategy: steps\nsave_steps: 5"), Saves(5, 0));
  EXPECT_EQ(saves("save_strategy: steps"), Saves(500, 0));
  EXPECT_EQ(saves("save_strategy: steps\nsaves_per_epoch: 2"), Saves(0, 2));
  EXPECT_EQ(saves("save_strategy:\nsave_steps: 5"), Saves(5, 0));
  EXPECT_EQ(saves("save_strategy: no\nsave_steps: 5", {"save_strategy=null"}), Saves(5, 0));
  EXPECT_EQ(saves("save_strategy: no\nsave_steps: 5", {"save_strategy=steps"}), Saves(5, 0));
  EXPECT_EQ(saves("save_strategy: no", {"save_steps=5"}), Saves(5, 0));
  EXPECT_EQ(saves("save_steps: 5", {"save_strategy=no"}), Saves(0, 0));
  EXPECT_EQ(parse("val_set_size: 4\neval_strategy: steps\nlogging_steps: 7", {}).eval_steps, 7);
  EXPECT_EQ(parse("val_set_size: 4\nevaluation_strategy: epoch", {}).evals_per_epoch, 1);
  EXPECT_EQ(parse_error("eval_strategy: steps\neval_steps: 5"),
            "run.yml:2: eval_steps contradicts val_set_size: 0 (the default): there are no rows to "
            "validate on; set val_set_size, e.g. 0.05, or test_datasets");
}

TEST(Config, UnknownKeysNameTheNearest) {
  EXPECT_EQ(parse_error("base_model: m\nlora_rnak: 8"),
            "run.yml:2: unknown key 'lora_rnak'; did you mean 'lora_rank'?");
  EXPECT_EQ(parse_error("Learning-Rate: 1"),
            "run.yml:1: unknown key 'Learning-Rate'; did you mean 'learning_rate'?");
  EXPECT_TRUE(contains(parse_error("adam_bet1: 0.9"), "did you mean 'adam_beta1'?"));
  EXPECT_EQ(parse_error("something_else_entirely: 1"),
            "run.yml:1: unknown key 'something_else_entirely'; `tessera help config` lists the "
            "keys");
  EXPECT_TRUE(contains(parse_error(std::string(1000, 'x') + ": 1"), "unknown key"));
  EXPECT_TRUE(contains(parse_error("datasets: [{pth: x}]"), "did you mean 'path'?"));
  EXPECT_EQ(
      parse_error("datasets:\n  - path: x\n    zzzzzzzz: train"),
      "run.yml:3: datasets.0: unknown key 'zzzzzzzz'; `tessera help config` lists the keys of "
      "a data set");
}

TEST(Config, WrongValuesSayWhatWasExpected) {
  const std::pair<std::string, std::string> cases[] = {
      {"lora_r: 0", "run.yml:1: lora_r: expected a whole number from 1 to 65536, got '0'"},
      {"lora_r: [1]", "run.yml:1: lora_r: expected a whole number from 1 to 65536, got a list"},
      {"lora_rank: {a: 1}",
       "run.yml:1: lora_rank: expected a whole number from 1 to 65536, got a map"},
      {"seed: 010", "run.yml:1: seed: expected a whole number, 0 or more, got '010'"},
      {"seed: -1", "run.yml:1: seed: expected a whole number, 0 or more, got '-1'"},
      {"seed: 9223372036854775808",
       "run.yml:1: seed: expected a whole number from 0 to 9223372036854775807, got "
       "'9223372036854775808'"},
      {"seed: -9223372036854775809",
       "run.yml:1: seed: expected a whole number, 0 or more, got '-9223372036854775809'"},
      {"learning_rate: 0", "run.yml:1: learning_rate: expected a number above 0, got '0'"},
      {"lora_dropout: 1",
       "run.yml:1: lora_dropout: expected a number, 0 or more, below 1, got '1'"},
      {"warmup_ratio: 1.5",
       "run.yml:1: warmup_ratio: expected a number, 0 or more, at most 1, got '1.5'"},
      {"val_set_size: 1.5",
       "run.yml:1: val_set_size: expected a share below 1, or a number of rows, got '1.5'"},
      {"shuffle: maybe", "run.yml:1: shuffle: expected true or false, got 'maybe'"},
      {"shuffle: 1", "run.yml:1: shuffle: expected true or false, got '1'"},
      {"lr_scheduler: cosin",
       "run.yml:1: lr_scheduler: expected cosine, linear, constant, constant_with_warmup, "
       "cosine_with_restarts, polynomial, inverse_sqrt, cosine_with_min_lr, "
       "cosine_warmup_with_min_lr or warmup_stable_decay, got 'cosin'"},
      {"base_model: ''",
       "run.yml:1: base_model: expected text, or nothing after the colon to leave it out, got ''"},
      {"datasets: data.jsonl",
       "run.yml:1: datasets: expected a list, such as [{path: data.jsonl, type: alpaca}], got "
       "'data.jsonl'"},
      {"datasets: [{type: alpaca}]", "run.yml:1: datasets.0.path is missing"},
      {"datasets: [{path: x}, y]",
       "run.yml:1: datasets.1: expected a map, such as {path: data.jsonl, type: alpaca}, got 'y'"},
      {"datasets: [{path: x, type: share}]",
       "run.yml:1: datasets.0.type: expected alpaca, chat_template, completion, prompt_completion, "
       "tokenized or input_output, got 'share'"},
      {"lora_target_modules: [q_proj, q.*]",
       "run.yml:1: lora_target_modules: 'q.*' is not the name of a linear layer, such as q_proj; "
       "a regular expression stands alone, not in a list"},
      {"lora_target_modules: '.*(q|v_proj'",
       "run.yml:1: lora_target_modules: the regular expression '.*(q|v_proj': missing closing "
       "parenthesis at character 12"},
      {"lora_target_modules: [q_proj, q_proj]",
       "run.yml:1: lora_target_modules: 'q_proj' is named twice"},
      {"- a", "run.yml:1: expected 'key: value' lines"},
      {"lora_r", "run.yml:1: expected 'key: value' lines"},
      {"output_dir: false",
       "run.yml:1: output_dir: expected text (a name that looks like a boolean goes in quotes), "
       "got 'false'"},
  };
  for (const auto& [text, message] : cases) EXPECT_EQ(parse_error(text), message);
  for (const std::string number : {"nan", "inf", "1e999", "0x10", "1__0", "_1", "1_", "1,5", "+-1",
                                   "1 2", "--1", "1e", ".", "''"}) {
    EXPECT_TRUE(contains(parse_error("learning_rate: " + number), "expected a number")) << number;
    EXPECT_TRUE(contains(parse_error("max_steps: " + number), "expected a whole number")) << number;
  }
}

TEST(Config, ContradictionsNameBothKeysAndLines) {
  const std::pair<std::string, std::string> cases[] = {
      {"warmup_ratio: 0.1\nwarmup_steps: 5",
       "run.yml:1: warmup_ratio contradicts warmup_steps: 5 (run.yml:2): each says how long "
       "warm-up is; keep one"},
      {"adapter: qlora\nload_in_4bit: false",
       "run.yml:2: load_in_4bit contradicts adapter: qlora (run.yml:1): qlora is the 4-bit run; "
       "use adapter: lora for the 16-bit one"},
      {"load_in_4bit: false",
       "run.yml:1: load_in_4bit contradicts adapter: qlora (the default): qlora is the 4-bit run; "
       "use adapter: lora for the 16-bit one"},
      {"adapter: lora\nbnb_4bit_quant_type: nf4",
       "run.yml:2: bnb_4bit_quant_type contradicts adapter: lora (run.yml:1): adapter: lora is the "
       "16-bit run and quantizes nothing"},
      {"gradient_accumulation_steps: 1\nglobal_batch_size: 8",
       "run.yml:1: gradient_accumulation_steps contradicts global_batch_size: 8 (run.yml:2): each "
       "says how many micro-batches make a step; keep one"},
      {"micro_batch_size: 3\n\nglobal_batch_size: 8",
       "run.yml:3: global_batch_size contradicts micro_batch_size: 3 (run.yml:1): 8 rows are not a "
       "whole number of micro-batches of 3"},
      {"lora_target_linear: true\nlora_target: q_proj",
       "run.yml:2: lora_target contradicts lora_target_linear: true (run.yml:1): one adapts every "
       "linear layer, the other only those it names; keep one"},
      {"lora_target_linear: false",
       "run.yml:1: lora_target_linear: false leaves nothing to adapt; set it to true or name "
       "layers "
       "in lora_target_modules"},
      {"lr_scheduler_type: constant\nwarmup_steps: 5",
       "run.yml:2: warmup_steps contradicts lr_scheduler_type: constant (run.yml:1): constant has "
       "no warm-up; use constant_with_warmup"},
      {"eval_steps: 5",
       "run.yml:1: eval_steps contradicts val_set_size: 0 (the default): there are no rows to "
       "validate on; set val_set_size, e.g. 0.05, or test_datasets"},
      {"overwrite_output_dir: true\nresume_from_checkpoint: auto",
       "run.yml:1: overwrite_output_dir contradicts resume_from_checkpoint: auto (run.yml:2): one "
       "starts afresh, the other goes on; keep one"},
      {"optimizer_page_dir: x",
       "run.yml:1: optimizer_page_dir contradicts optimizer: adamw (the default): only a paged "
       "optimizer has pages; use paged_adamw_32bit"},
      {"sharding_group: 2",
       "run.yml:1: sharding_group contradicts sharding: auto (the default): groups belong to "
       "sharding: hybrid"},
  };
  for (const auto& [text, message] : cases) EXPECT_EQ(parse_error(text), message);
  EXPECT_EQ(parse("num_epochs: 2\nmax_steps: 5", {}).max_steps, 5);
  EXPECT_EQ(parse("lr_scheduler: constant\nwarmup_ratio: 0", {}).warmup_ratio, 0);
}

TEST(Config, TheCommandLineWins) {
  const std::string file = "lora_r: 4\ndatasets: [{path: a}]\nwarmup_ratio: 0.1\n";
  const Config config = parse(
      file, {"lora_rank=8", "datasets.0.path=x y", "datasets.0.type=alpaca", "datasets.1.path=z",
             "warmup_ratio=null", "warmup_steps=3", "lora_target_modules=[q_proj]"});
  EXPECT_EQ(config.lora_r, 8);
  EXPECT_EQ(config.datasets, (std::vector<DatasetConfig>{{"x y", RowType::kAlpaca}, {"z", {}}}));
  EXPECT_EQ(config.warmup_steps, 3);
  EXPECT_EQ(config.lora_target_modules.names, std::vector<std::string>{"q_proj"});
  EXPECT_EQ(parse("", {"datasets=[{path: x, type: alpaca}]"}).datasets,
            (std::vector<DatasetConfig>{{"x", RowType::kAlpaca}}));
  EXPECT_EQ(parse("", {"datasets.0.path=x"}).datasets, (std::vector<DatasetConfig>{{"x", {}}}));
  EXPECT_EQ(parse(file, {"bf16=auto", "output_dir="}), parse(file, {}));
  std::string deep = "datasets";
  for (int i = 0; i < 100'000; ++i) deep += ".0";
  const std::pair<std::string, std::string> cases[] = {
      {"lora_r=x",
       "command line: lora_r=x: lora_r: expected a whole number from 1 to 65536, got 'x'"},
      {"lora_r", "command line: lora_r: expected key=value, such as lora_r=8"},
      {"=8", "command line: =8: expected key=value, such as lora_r=8"},
      {"--lora-r=8", "command line: --lora-r=8: unknown key '--lora-r'; did you mean 'lora_r'?"},
      {"lora_r=[1", "command line: lora_r=[1: a key must be plain text; is a bracket left open?"},
      {"lora_r.x=1", "command line: lora_r.x=1: there is nothing inside the value before 'x'"},
      {"datasets.path=x",
       "command line: datasets.path=x: expected an index from 0 to 1, got 'path'"},
      {"datasets.2.path=x",
       "command line: datasets.2.path=x: expected an index from 0 to 1, got '2'"},
      {"datasets.0.pth=x",
       "command line: datasets.0.pth=x: datasets.0: unknown key 'pth'; did you mean 'path'?"},
      {"warmup_steps=3",
       "run.yml:3: warmup_ratio contradicts warmup_steps: 3 (command line: warmup_steps=3): each "
       "says how long warm-up is; keep one (warmup_ratio=null on the command line leaves out what "
       "the file says)"},
  };
  for (const auto& [item, message] : cases) {
    EXPECT_EQ(parse_error(file, {item}), message);
  }
  EXPECT_TRUE(contains(parse_error("", {deep + "=x"}), "nested more than 32 deep"));
  EXPECT_TRUE(contains(parse_error("", {"lora_r=1", "lora_rank=2"}), "given twice on the command"));
}

Config with_every_key_set() {
  return parse(
      "base_model: 'odd: name #1'\nspecial_tokens: {eos_token: '#'}\nchat_template: "
      "\"t\\n.jinja\"\n"
      "chat_template_kwargs: {a: true, b: 'true', c: [1, 2.5, null], d: {e: \"x\\ny\"}}\n"
      "roles_to_train: [user, assistant]\nmask_history: true\ntrain_on_eos: last\n"
      "adapter: qlora\nload_in_4bit: "
      "true\nbnb_4bit_quant_type: fp4\nbnb_4bit_use_double_quant: false\nbnb_4bit_blocksize: 128\n"
      "bnb_4bit_compute_dtype: float16\nlora_r: 3\nlora_alpha: 0.1\nlora_dropout: 0.05\n"
      "lora_target_modules: [q_proj, mlp.up_proj]\nlora_rank_pattern: {'a: #1': 5, \"[.,}]*\": 7}\n"
      "lora_alpha_pattern: {up_proj: 0.1}\nlora_modules_to_save: [lm_head]\n"
      "lora_ensure_weight_tying: true\nlora_trainable_token_indices: [7, 3]\n"
      "use_rslora: true\nlora_model_dir: 'true'\n"
      "datasets: [{path: './~', type: tokenized}, {path: /a/b}]\nspecial_tokens_in_content: "
      "tokens\nval_set_size: 0.1\ntest_datasets: [{path: e}]\ndataset_prepared_path: p\n"
      "group_by_length: true\ntrain_on_inputs: "
      "true\nsequence_len: 77\nexcess_length_strategy: truncate\nsample_packing: false\nshuffle: "
      "false\nmicro_batch_size: 2\nglobal_batch_size: 6\nnum_epochs: 2.5\nmax_steps: 9\n"
      "gradient_checkpointing: offload\ngradient_checkpointing_layers: 3\n"
      "gradient_checkpointing_kept_layers: 5\nseed: 9223372036854775807\noptimizer: "
      "paged_adamw_8bit\n"
      "learning_rate: 0.1234567890123456789\nadam_beta1: 0.8\nadam_beta2: 0.99\nadam_epsilon: "
      "1e-300\nweight_decay: 0.3\nmax_grad_norm: 0\nlr_scheduler: "
      "polynomial\nlr_scheduler_kwargs: {lr_end: 0.25e-7, power: 2}\nwarmup_steps: 2\n"
      "label_smoothing_factor: 0.1\nneftune_noise_alpha: 5\nloraplus_lr_ratio: 16\n"
      "optimizer_page_dir: '1'\noptimizer_page_budget: 1000000001B\noptimizer_sharding: true\n"
      "output_dir: \"tab\\t\"\nresume_from_checkpoint: 'no'\nsave_steps: 5\nsave_total_limit: 1\n"
      "eval_steps: 6\nlogging_steps: 7\nprofile: true\nsearch_steps: 9\nsearch_tolerance: 0.5\n"
      "eval_on_start: true\nearly_stopping_patience: 2\nearly_stopping_threshold: 0.5\n"
      "load_best_model_at_end: false\nmetric_for_best_model: eval_e_loss\n"
      "loss_watchdog_threshold: 9\nloss_watchdog_patience: 4\nreport_to: tensorboard\n"
      "logging_dir: l\nlog_format: json\nsample_prompts: ['a, b', c]\nsample_steps: 8\n"
      "sample_max_new_tokens: 9\n"
      "device: cuda\nthreads: 3\nsharding: hybrid\n"
      "sharding_group: 4\nmemory_budget: 1GB\nreduction: fast\nwatchdog_seconds: 30\n",
      {});
}

TEST(Config, TheDumpLoadsToTheSameConfig) {
  const std::vector<Config> configs = {
      with_every_key_set(),
      parse("", {}),
      parse("adapter: lora", {}),
      parse("lora_target_linear: true\nmicro_batch_size: auto", {}),
      parse("warmup_ratio: 0.2\ngradient_accumulation_steps: 4", {}),
      parse("lr_scheduler: constant", {}),
      parse("lr_scheduler: constant\nwarmup_ratio: 0", {}),
      parse("resume_from_checkpoint: auto\nval_set_size: 3\neval_steps: 2", {}),
      parse("overwrite_output_dir: true", {}),
      parse("val_set_size: 3\nevals_per_epoch: 4\nsaves_per_epoch: 2\nnum_epochs: 0.1", {}),
      parse("val_set_size: 3\neval_steps: 0.05\nsave_steps: 1e-3", {}),
      parse("lora_target_modules: '.*\\.[qv]_proj'", {}),
      parse("lora_target_modules: '{q_proj: #1}'", {}),
      parse("search_ranks: [8, 4]", {}),
  };
  EXPECT_TRUE(contains(dump_config(configs[1]), "\nadam_epsilon: 1.0e-08\n"));
  for (const Config& config : configs) {
    const std::string text = dump_config(config);
    EXPECT_EQ(parse(text, {}), config) << text;
    for (const FlagGroup& group : flag_groups()) {
      for (const Flag& flag : group.flags) {
        EXPECT_TRUE(contains(text, fmt::format("\n{}:", flag.name))) << flag.name;
      }
    }
  }
}

TEST(Config, EveryFieldIsInTheTable) {
  // A field that the table misses would keep its default here.
  const Config all = with_every_key_set();
  int same = 0;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) same += flag.write(all) == flag.write(Config{});
  }
  // adapter, load_in_4bit, overwrite_output_dir, loss, which has one value, and those that others
  // rule out: warmup_ratio, gradient_accumulation_steps, saves_per_epoch, evals_per_epoch,
  // cosine_min_lr_ratio, cosine_constant_lr_ratio and search_ranks.
  EXPECT_EQ(same, 11);
}

TEST(Config, EveryKeySetsItsOwnFieldOnly) {
  Faults faults;
  const Settings settings = read_settings(dump_config(with_every_key_set()), "x", {}, faults);
  for (const auto& [name, given] : settings) {
    Config config;
    find_flag(name)->read(config, {given.spelling, given.value, faults});
    for (const FlagGroup& group : flag_groups()) {
      for (const Flag& flag : group.flags) {
        // lora_target_linear has no field; it says whether there are lora_target_modules.
        if (flag.name == name || flag.name == "lora_target_linear") continue;
        EXPECT_EQ(flag.write(config), flag.write(Config{})) << name << " changes " << flag.name;
      }
    }
  }
}

TEST(Config, WhatThisVersionLacksIsSaid) {
  for (const std::string setting :
       {"optimizer: adamw_hf", "sharding: replicate", "profile: true",
        "bnb_4bit_compute_dtype: torch.float32", "device: auto", "bnb_4bit_compute_dtype: bf16",
        "bnb_4bit_compute_dtype: torch.float16"}) {
    EXPECT_EQ(support_error(setting), "accepted");
  }
  EXPECT_EQ(support_error("micro_batch_size: auto"),
            "run.yml:1: micro_batch_size: auto is not in this version; leave out what this version "
            "does not do");
  if (!kHasCuda) {
    EXPECT_EQ(support_error("device: cuda"),
              "run.yml:1: device: cuda is not in this version: it is built without CUDA; leave out "
              "what this version does not do");
  }
}

TEST(Config, TrainingNeedsThreeKeys) {
  const auto message = [](const std::string& text, int lines) {
    return message_of([&] { require_keys(parse(text, {}), kTrainNeeds); }, lines);
  };
  EXPECT_EQ(message("", 3),
            "run.yml: base_model is missing; add e.g. base_model: models/llama-3.2-1b\n"
            "run.yml: datasets is missing; add e.g. datasets: [{path: data.jsonl, type: alpaca}]\n"
            "run.yml: output_dir is missing; add e.g. output_dir: runs/first");
  EXPECT_TRUE(message("base_model: m", 2).starts_with("run.yml: datasets is missing"));
  EXPECT_TRUE(
      contains(message("base_model: m\ndatasets: [{path: x}]", 1), "output_dir is missing"));
  EXPECT_EQ(message("base_model: m\ndatasets: [{path: x}]\noutput_dir: o", 1), "accepted");
  EXPECT_EQ(message_of([] { require_keys(parse("", {}), kEvalNeeds); }, 2),
            "run.yml: base_model is missing; add e.g. base_model: models/llama-3.2-1b\n"
            "run.yml: datasets is missing; add e.g. datasets: [{path: data.jsonl, type: alpaca}]");
  for (const std::string_view key : kTrainNeeds) EXPECT_FALSE(find_flag(key)->example.empty());
}

TEST(Config, AMissingFileIsWrongUse) {
  EXPECT_TRUE(contains(message_of([] { load_config("no/such.yml", {}); }), "no/such.yml"));
}

TEST(Config, TheExamplesAreValid) {
  const std::set<std::string> on_gpu = {"llama3-8b-1gpu.yml", "llama2-70b-2x24gb.yml"};
  int seen = 0;
  for (const auto& file : std::filesystem::directory_iterator(TESSERA_SOURCE_DIR "/examples")) {
    if (file.path().extension() != ".yml") continue;
    ++seen;
    const std::string path = file.path().string();
    const Config config = parse(io::read_file(path, 1 << 20), {});
    EXPECT_NO_THROW(require_keys(config, kTrainNeeds)) << path;
    const std::string message = message_of([&] { load_config(path, {}); });
    if (!kHasCuda && on_gpu.contains(file.path().filename().string())) {
      EXPECT_TRUE(contains(message, "is not in this version")) << message;
    } else {
      EXPECT_EQ(message, "accepted") << path;
    }
  }
  EXPECT_GE(seen, 5);
}

TEST(Config, TheReferencePageIsUpToDate) {
  const std::string path = TESSERA_SOURCE_DIR "/docs/configuration.md";
  if (std::getenv("TESSERA_UPDATE_GOLDEN") != nullptr) {
    io::AtomicFile file(path);
    file.write(config_reference_markdown());
    file.commit();
  }
  EXPECT_EQ(io::read_file(path, 1 << 20), config_reference_markdown())
      << "run this test with TESSERA_UPDATE_GOLDEN=1 and commit docs/configuration.md";
}

TEST(Config, TheHelpFitsATerminal) {
  const std::string help = config_help();
  size_t begin = 0;
  for (size_t end; (end = help.find('\n', begin)) != std::string::npos; begin = end + 1) {
    EXPECT_LE(end - begin, 100u) << help.substr(begin, end - begin);
  }
  EXPECT_EQ(begin, help.size());
  EXPECT_TRUE(contains(help, "  learning_rate = 0.0002\n"));
}

}  // namespace
}  // namespace tessera::launch
