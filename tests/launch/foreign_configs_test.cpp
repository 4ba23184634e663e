// Configs in the shape of public examples of axolotl, LLaMA-Factory, TRL and the Trainer of
// transformers (tests/data/configs): which keys are noted, what they resolve to, or which errors
// they give. Each file says so itself, in lines that begin with "#> ":
//   #> noted: KEY, KEY       every key that a line on stderr names, in any order
//   #> error: TEXT           an error whose text begins so; all of them
//   #> KEY: VALUE            of the resolved config, "datasets.0.path" for one in a list; VALUE is
//                            what it begins with
// DIR stands for the folder of the configs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "launch/config/cadence.h"
#include "launch/config/config.h"
#include "launch/config/conversion.h"
#include "launch/config/dataset_keys.h"
#include "launch/config/flags.h"
#include "launch/config/flags_schema.h"
#include "launch/config/foreign_keys.h"
#include "launch/config/settings.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"

namespace tessera::launch {
namespace {

using Lines = std::vector<std::string>;

const std::string kFolder = TESSERA_SOURCE_DIR "/tests/data/configs";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

Lines lines_of(const std::string& text) {
  Lines lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// A config and what is expected of it.
struct Case {
  std::string name, text;
  std::multiset<std::string> noted;
  Lines errors;
  std::vector<std::pair<std::string, std::string>> values;
};

Case read_case(const std::filesystem::path& path) {
  Case one;
  one.name = path.filename().string();
  one.text = replaced(io::read_file(path.string(), 1 << 20), "DIR/", kFolder + "/");
  for (const std::string& line : lines_of(one.text)) {
    if (!line.starts_with("#> ")) continue;
    const size_t colon = line.find(": ");
    const std::string what = line.substr(3, colon - 3), rest = line.substr(colon + 2);
    if (what == "error") {
      one.errors.push_back(rest);
    } else if (what == "noted") {
      for (size_t begin = 0; begin < rest.size();) {
        const size_t end = std::min(rest.find(", ", begin), rest.size());
        one.noted.insert(rest.substr(begin, end - begin));
        begin = end + 2;
      }
    } else {
      one.values.emplace_back(what, rest);
    }
  }
  return one;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& file : std::filesystem::directory_iterator(kFolder)) {
    if (file.path().extension() == ".yml") cases.push_back(read_case(file.path()));
  }
  std::ranges::sort(cases, {}, &Case::name);
  return cases;
}

/// As a config has the key, or, for "datasets.0.path", the data set.
std::string value_of(const Config& config, const std::string& key) {
  const size_t dot = key.find('.');
  if (dot == key.npos) return find_flag(key)->write(config);
  const auto& list = key.starts_with("test_") ? config.test_datasets : config.datasets;
  const size_t index = std::stoul(key.substr(dot + 1));
  const size_t inner = key.find('.', dot + 1);
  return index < list.size() ? find_dataset_key(key.substr(inner + 1))->write(list[index]) : "";
}

/// The key of a note: "F line 12: KEY: VALUE means ...".
std::string key_of(const std::string& note) {
  const size_t begin = note.find(": ") + 2;
  return note.substr(begin, note.find_first_of(": ", begin) - begin);
}

struct Loaded {
  Config config;
  Lines errors;  // without their places
};

Loaded load(const std::string& text) {
  Loaded loaded;
  Faults faults;
  try {
    const Settings settings = read_settings(text, "F", {}, faults);
    loaded.config = checked_config(settings, "F", {}, faults);
  } catch (const Error& error) {
    for (const std::string& line : lines_of(error.what())) {
      loaded.errors.push_back(line.substr(line.find(": ") + 2));
    }
  }
  return loaded;
}

TEST(ForeignConfigs, ThereAreThirty) { EXPECT_GE(all_cases().size(), 30u); }

TEST(ForeignConfigs, BecomeWhatTheySay) {
  for (const Case& one : all_cases()) {
    SCOPED_TRACE(one.name);
    const Loaded loaded = load(one.text);
    ASSERT_EQ(loaded.errors.size(), one.errors.size())
        << (loaded.errors.empty() ? "accepted" : fmt::format("{}", loaded.errors.front()));
    for (size_t i = 0; i < one.errors.size(); ++i) {
      EXPECT_TRUE(loaded.errors[i].starts_with(one.errors[i])) << loaded.errors[i];
    }
    if (!one.errors.empty()) continue;
    std::multiset<std::string> noted;
    for (const std::string& note : loaded.config.notes) {
      if (key_of(note) != "read") noted.insert(key_of(note));
    }
    EXPECT_EQ(noted, one.noted);
    for (const auto& [key, value] : one.values) {
      EXPECT_TRUE(value_of(loaded.config, key).starts_with(value))
          << key << ": " << value_of(loaded.config, key);
    }
  }
}

/// What convert-config writes is a config of ours alone, and means the same.
TEST(ForeignConfigs, ConvertToOnesOfOurs) {
  for (const Case& one : all_cases()) {
    SCOPED_TRACE(one.name);
    const Conversion made = convert_config(one.text, "F");
    EXPECT_EQ(made.lost.size(), one.errors.size());
    if (!one.errors.empty()) continue;
    const Loaded again = load(made.text);
    ASSERT_TRUE(again.errors.empty()) << made.text << again.errors.front();
    for (const std::string& note : again.config.notes) {
      // Data that are not there to evaluate on stay a note.
      EXPECT_EQ(key_of(note), "evals_per_epoch") << note;
    }
    EXPECT_EQ(dump_config(again.config), dump_config(load(one.text).config));
  }
}

TEST(ForeignConfigs, AConversionNamesWhereEachKeyComesFrom) {
  const Conversion made = convert_config(
      "model_name_or_path: m\nflash_attention: true\ndatasets: [{path: x, type: alpaca}]\n"
      "use_dora: true\n",
      "lf.yml");
  EXPECT_EQ(
      made.text,
      "# Model\nbase_model: m  # model_name_or_path, lf.yml:1\n\n# Data\n"
      "datasets:  # lf.yml:3\n  - path: x\n    type: alpaca\n"
      "sequence_len: 512  # the default of axolotl\n"
      "sample_packing: false  # the default of axolotl\n\n"
      "# What became of the other keys:\n"
      "# - lf.yml line 2: flash_attention: not needed here: there is one attention, exact and in "
      "blocks\n"
      "# - lf.yml: read as a config of axolotl, whose defaults hold for what it leaves out: "
      "sample_packing: false, sequence_len: 512\n\n"
      "# Lost, which would change the result:\n"
      "# - lf.yml:4: use_dora is not a key of this program: remove it; that method is not "
      "offered\n");
  EXPECT_EQ(made.lost.size(), 1u);
}

/// In the order of the file, whatever the kinds of the keys.
TEST(ForeignConfigs, NotesHaveTheirPlaces) {
  Faults faults;
  const Lines overrides = {"tf32=true"};
  const Settings settings = read_settings(
      "flash_attention: true\nbf16: true\nwandb_project: p\nxformers_attention: false\n"
      "model_type:\nspecial_tokens: {pad_token: x}\n",
      "run.yml", overrides, faults);
  EXPECT_EQ(
      checked_config(settings, "run.yml", {}, faults).notes,
      (Lines{"run.yml line 1: flash_attention: not needed here: there is one attention, exact and "
             "in blocks",
             "run.yml line 2: bf16: true means bnb_4bit_compute_dtype: auto here",
             "run.yml line 3: wandb_project: not needed here: metrics.jsonl in output_dir holds "
             "the numbers; report_to: tensorboard gives TensorBoard's files, which other "
             "trackers read",
             "run.yml line 6: special_tokens.pad_token: not needed here: nothing is padded",
             "run.yml: read as a config of axolotl, whose defaults hold for what it leaves "
             "out: sample_packing: false, sequence_len: 512",
             "command line: tf32=true: tf32: not needed here: products are never rounded to "
             "TF32"}));
}

TEST(ForeignConfigs, OurOwnKeysAndTheCommandLineGoBefore) {
  Faults faults;
  const auto config = [&](const std::string& text, const Lines& overrides) {
    return checked_config(read_settings(text, "F", overrides, faults), "F", {}, faults);
  };
  EXPECT_EQ(config("bf16: true\nbnb_4bit_compute_dtype: float32\n", {}).bnb_4bit_compute_dtype,
            DType::kF32);
  EXPECT_EQ(config("save_strategy: epoch\n", {"save_steps=7"}).save_steps, 7);
  EXPECT_EQ(config("save_strategy: epoch\n", {"save_strategy=null"}).saves_per_epoch, std::nullopt);
  EXPECT_EQ(config("rl: dpo\n", {"rl=null"}).lora_r, 16);
  EXPECT_EQ(config("finetuning_type: lora\n", {"adapter=qlora"}).adapter, AdapterKind::kQlora);
}

TEST(ForeignConfigs, EveryKeyOfTheTableStandsThereOnce) {
  std::set<std::string_view> seen;
  for (const ForeignKey& key : foreign_keys()) {
    EXPECT_EQ(key.translate != nullptr, key.use == ForeignUse::kMeans);
    for (const std::string_view name : key.names) {
      EXPECT_TRUE(seen.insert(name).second) << name;
      EXPECT_EQ(find_flag(name), nullptr) << name;
      EXPECT_TRUE(load(fmt::format("{}:\n", name)).errors.empty()) << name;
      const Loaded some = load(fmt::format("{}: [x]\n", name));
      const auto named = std::ranges::count_if(
          some.config.notes, [&](const std::string& note) { return key_of(note) == name; });
      EXPECT_EQ(some.errors.size() + size_t(named), 1u) << name;
    }
  }
  for (const ForeignValue& row : foreign_values()) {
    for (const std::string_view value : row.theirs) {
      const Loaded loaded = load(fmt::format("{}: '{}'\n", row.key, value));
      EXPECT_TRUE(loaded.errors.empty()) << row.key << value << loaded.errors.front();
    }
  }
}

/// Every spelling that the reader takes, and no other, is in the schema.
TEST(ForeignConfigs, TheSchemaHasEveryKey) {
  const Schema schema = config_schema();
  std::set<std::string> expected;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      expected.insert(std::string(flag.name));
      expected.insert(flag.aliases.begin(), flag.aliases.end());
      EXPECT_FALSE(flag.schema.empty()) << flag.name;
    }
  }
  for (const ForeignKey& key : foreign_keys()) expected.insert(key.names.begin(), key.names.end());
  std::set<std::string> found;
  for (const auto& [key, value] : schema["properties"].items()) found.insert(key);
  EXPECT_EQ(found, expected);
  EXPECT_EQ(schema["additionalProperties"], false);
  const Schema& rank = schema["properties"]["lora_r"];
  EXPECT_EQ(rank["default"], 16);
  EXPECT_EQ(rank["anyOf"][0], (Schema{{"type", "integer"}, {"minimum", 1}, {"maximum", 65536}}));
}

TEST(Cadences, ComeDueWhereTheyShould) {
  using Kind = Cadence::Kind;
  // Two epochs and a half, of 6 steps each.
  const auto steps_of = [](const Cadence& cadence) {
    std::vector<int64_t> due;
    for (int64_t step = 1; step <= 15; ++step) {
      const auto epochs = [](int64_t done) { return double(done) / 6; };
      if (cadence.due({step, 15, epochs(step - 1), epochs(step)})) due.push_back(step);
    }
    return due;
  };
  using Steps = std::vector<int64_t>;
  EXPECT_EQ(steps_of({}), Steps{});
  EXPECT_EQ(steps_of({Kind::kSteps, 4}), (Steps{4, 8, 12}));
  EXPECT_EQ(steps_of({Kind::kShare, 0.25}), (Steps{4, 8, 12}));  // of 15: 3.75, rounded up
  EXPECT_EQ(steps_of({Kind::kShare, 0.001}).size(), 15u);
  EXPECT_EQ(steps_of({Kind::kPerEpoch, 1}), (Steps{6, 12}));
  EXPECT_EQ(steps_of({Kind::kPerEpoch, 3}), (Steps{2, 4, 6, 8, 10, 12, 14}));
  EXPECT_EQ(steps_of({Kind::kPerEpoch, 4}), (Steps{2, 3, 5, 6, 8, 9, 11, 12, 14, 15}));
  EXPECT_EQ(steps_of({Kind::kPerEpoch, 50}).size(), 15u);
  // A third of an epoch is no sum of sixths in floating point, and still a step.
  for (int64_t rows = 1; rows < 200; ++rows) {
    int64_t due = 0;
    for (int64_t step = 1; step <= rows; ++step) {
      const auto epochs = [&](int64_t done) { return 7 + double(done) / double(rows); };
      due += Cadence{Kind::kPerEpoch, 3}.due({step, rows, epochs(step - 1), epochs(step)});
    }
    EXPECT_EQ(due, std::min<int64_t>(rows, 3)) << rows;
  }
  Config config;
  config.save_steps = 0.5;
  config.evals_per_epoch = 0;
  EXPECT_EQ(save_cadence(config), (Cadence{Kind::kShare, 0.5}));
  EXPECT_EQ(eval_cadence(config), Cadence{});
}

}  // namespace
}  // namespace tessera::launch
