// All that is wrong with a config is told in one go: which lines, in which order, and that nothing
// is told that only follows from something else.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "launch/config/config.h"
#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using Lines = std::vector<std::string>;
using tessera::testing::error_of;
using tessera::testing::ScratchFolder;

class ConfigFaults : public ::testing::Test {
 protected:
  /// The lines of the error that load_config throws, without the folder of the file.
  Lines faults_of(const std::string& text, const Lines& overrides = {}, Keys needed = {}) {
    const std::string path = folder_.write("run.yml", text);
    std::string all = "accepted";
    try {
      load_config(path, overrides, needed);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      all = error.what();
    }
    for (size_t at; (at = all.find(path)) != std::string::npos;) all.replace(at, path.size(), "F");
    Lines lines;
    for (size_t begin = 0; begin <= all.size();) {
      const size_t end = std::min(all.find('\n', begin), all.size());
      lines.push_back(all.substr(begin, end - begin));
      begin = end + 1;
    }
    return lines;
  }

  ScratchFolder folder_;
};

TEST_F(ConfigFaults, OfEveryKindAreToldInTheOrderOfTheFile) {
  const std::string text =
      "lora_rnak: 8\n"                      // an unknown key
      "learning_rate: fast\n"               // a wrong value
      "lora_dropout: 7\n"                   // out of range
      "use_dora: true\n"                    // a foreign key
      "lora_alpha: 8\n"                     //
      "lora_target_modules: [q_*, v, v]\n"  // two in one value
      "datasets:\n"                         //
      "  - {path: x, type: share}\n"        // inside a value
      "  - {pth: y, zzzzzzzz: 1}\n"         //
      "  - just_text\n"                     //
      "micro_batch_size: 2\n"               //
      "per_device_train_batch_size: two\n"  // two spellings, and the second is wrong in itself
      "seed: 1\n"                           //
      "seed: 2\n"                           // given twice
      "warmup_ratio: 0.1\n"                 // a contradiction
      "warmup_steps: 5\n"                   //
      "early_stopping_threshold: 1\n"       // needs another key
      "optimizer: &a adamw\n"               // an anchor
      "lr_scheduler: !x linear\n";          // a tag
  EXPECT_EQ(
      faults_of(text,
                {"lora_r", "threads=0", "sharding=[1", "zzzzzzzz=1", "max_steps=1", "max_steps=2"},
                kTrainNeeds),
      (Lines{
          "F:1: unknown key 'lora_rnak'; did you mean 'lora_rank'?",
          "F:2: learning_rate: expected a number above 0, got 'fast'",
          "F:3: lora_dropout: expected a number, 0 or more, below 1, got '7'",
          "F:4: use_dora is not a key of this program: remove it; that method is not offered",
          "F:6: lora_target_modules: 'q_*' is not the name of a linear layer, such as q_proj; a "
          "regular expression stands alone, not in a list",
          "F:6: lora_target_modules: 'v' is named twice",
          "F:8: datasets.0.type: expected alpaca, chat_template, completion, prompt_completion, "
          "tokenized or input_output, got 'share'",
          "F:9: datasets.1: unknown key 'pth'; did you mean 'path'?",
          "F:9: datasets.1: unknown key 'zzzzzzzz'; `tessera help config` lists the keys of a data "
          "set",
          "F:10: datasets.2: expected a map, such as {path: data.jsonl, type: alpaca}, got "
          "'just_text'",
          "F:12: per_device_train_batch_size and micro_batch_size (F:11) are two spellings of one "
          "key; keep one",
          "F:12: per_device_train_batch_size: expected a whole number from 1 to 1048576, got 'two'",
          "F:14: 'seed' is given twice, first in line 13; keep one",
          "F:15: warmup_ratio contradicts warmup_steps: 5 (F:16): each says how long warm-up is; "
          "keep one",
          "F:17: early_stopping_threshold contradicts early_stopping_patience: null (the "
          "default): set it, e.g. to 3",
          "F:18: an anchor (&name) is not allowed here; write the value out",
          "F:19: the tag '!x' is not allowed here; remove it",
          "F: base_model is missing; add e.g. base_model: models/llama-3.2-1b",
          "F: output_dir is missing; add e.g. output_dir: runs/first",
          "command line: lora_r: expected key=value, such as lora_r=8",
          "command line: threads=0: threads: expected a whole number from 1 to 4096, got '0'",
          "command line: sharding=[1: a key must be plain text; is a bracket left open?",
          "command line: zzzzzzzz=1: unknown key 'zzzzzzzz'; `tessera help config` lists the keys",
          "command line: max_steps=2: given twice on the command line; keep one",
      }));
}

TEST_F(ConfigFaults, OneIsTheLineAlone) {
  EXPECT_EQ(faults_of("lora_r: 0\n"),
            Lines{"F:1: lora_r: expected a whole number from 1 to 65536, got '0'"});
  EXPECT_EQ(faults_of("micro_batch_size: auto\n"),
            Lines{"F:1: micro_batch_size: auto is not in this version; leave out what this version "
                  "does not do"});
  EXPECT_EQ(faults_of("lora_r: 8\n"), Lines{"accepted"});
}

/// One line each: the fault, and not what would be true of the default that stands in for it.
TEST_F(ConfigFaults, WhatFollowsFromOneIsNotTold) {
  const std::string cases[] = {
      // A wrong value: nothing is said of what goes against the default.
      "sharding: hybird\nsharding_group: 4\n",
      "adapter: loar\nload_in_4bit: false\n",
      "adapter: loar\nbnb_4bit_quant_type: nf4\nload_in_4bit: false\n",
      "val_set_size: lots\neval_steps: 5\n",
      "optimizer: paged\noptimizer_page_dir: x\n",
      "lora_target_linear: false\nlora_target_modules: [1, [2]]\n",
      "lora_target_linear: no\nlora_target_modules: '*'\n",
      "micro_batch_size: 0\nglobal_batch_size: 7\n",
      "overwrite_output_dir: true\nresume_from_checkpoint: ''\n",
      // Nor of a key that was meant by a misspelt one.
      "adaptor: lora\nload_in_4bit: false\n",
      "base_modle: m\n",
      "lora_target_linear: false\nlora_target_module: [q_proj]\n",
      "datasets: [{pth: x}]\n",
      "datasets: [{path: 'https://x'}]\n",
      // Nor of one that was given more than once.
      "adapter: qlora\nadapter: lora\nload_in_4bit: false\n",
      "load_in_4bit: false\nquantization_bit: 4\nadapter: lora\n",
      "seed: 1\nlora_r: {a: 1, a: 2}\n",
  };
  for (const std::string& text : cases) {
    std::string whole = text + "output_dir: o\n";
    if (text.find("base_mod") == std::string::npos) whole += "base_model: m\n";
    if (text.find("datasets") == std::string::npos) whole += "datasets: [{path: d}]\n";
    const size_t expected = text.find("{a: 1") != std::string::npos ? 2 : 1;
    EXPECT_EQ(faults_of(whole, {}, kTrainNeeds).size(), expected)
        << whole << ::testing::PrintToString(faults_of(whole, {}, kTrainNeeds));
  }
}

TEST_F(ConfigFaults, OfTheCommandLineHideNoneOfTheFile) {
  const Lines list = {
      "F:1: datasets: expected a list, such as [{path: data.jsonl, type: alpaca}], "
      "got 'x.jsonl'"};
  EXPECT_EQ(faults_of("datasets: x.jsonl\n", {"datasets.0.type=alpaca"}), list);
  EXPECT_EQ(faults_of("datasets: [{path: x, typ: alpaca}]\n", {"datasets.3.path=y"}),
            (Lines{"F:1: datasets.0: unknown key 'typ'; did you mean 'type'?",
                   "command line: datasets.3.path=y: expected an index from 0 to 1, got '3'"}));
  EXPECT_EQ(faults_of("lora_r: 8\n", {"lora_r.0=8", "lora_alpha.x.y=1"}),
            (Lines{"command line: lora_r.0=8: there is nothing inside the value before '0'",
                   "command line: lora_alpha.x.y=1: lora_alpha: expected a number above 0, got a "
                   "map"}));
  // A value that is replaced does not matter; the text that replaces it does.
  EXPECT_EQ(faults_of("lora_r: x\n", {"lora_r=8"}), Lines{"accepted"});
  EXPECT_EQ(faults_of("lora_r: x\n", {"lora_r=[1"}),
            Lines{"command line: lora_r=[1: a key must be plain text; is a bracket left open?"});
  EXPECT_EQ(faults_of("base_model: m\n", {"output_dir", "datasets=[", "base_model="}, kTrainNeeds),
            (Lines{"F: base_model is missing; add e.g. base_model: models/llama-3.2-1b",
                   "command line: output_dir: expected key=value, such as lora_r=8",
                   "command line: datasets=[: a key must be plain text; is a bracket left open?"}));
}

TEST_F(ConfigFaults, WhatYamlHasAndAConfigNotIsToldTogether) {
  EXPECT_EQ(faults_of("seed: &s 1\nlora_r: *s\n<<: {lora_alpha: [2], a: b}\nlora_alpha: !!int 8\n"
                      ": 5\nseed: 3\nlora_dropout: 2\n*s : 4\n"),
            (Lines{"F:1: an anchor (&name) is not allowed here; write the value out",
                   "F:2: an alias (*name) is not allowed here; write the value out",
                   "F:3: a merge key (<<) is not allowed here; write the keys out",
                   "F:4: the tag 'tag:yaml.org,2002:int' is not allowed here; remove it",
                   "F:5: a key is missing before ':'",
                   "F:6: 'seed' is given twice, first in line 1; keep one",
                   "F:7: lora_dropout: expected a number, 0 or more, below 1, got '2'",
                   "F:8: an alias (*name) is not allowed here; write the value out"}));
  // Broken YAML ends the reading.
  EXPECT_EQ(faults_of("lora_r: x\nseed: &s 1\nlora_alpha: [1\nlora_dropout: 2\n", {"threads=0"}),
            (Lines{"F:2: an anchor (&name) is not allowed here; write the value out",
                   "F:4: not valid YAML: end of sequence flow not found"}));
}

/// On the command line a key of another trainer, too, is given once, and has nothing inside.
TEST_F(ConfigFaults, OfForeignKeysOnTheCommandLine) {
  EXPECT_EQ(faults_of("save_steps: 5\n", {"save_strategy=no", "save_strategy=steps"}),
            Lines{"command line: save_strategy=steps: given twice on the command line; keep one"});
  EXPECT_EQ(
      faults_of("save_strategy: steps\nsave_steps: 5\n", {"save_strategy.x=no"}),
      Lines{"command line: save_strategy.x=no: save_strategy is a key of other trainers; give "
            "its value as a whole"});
}

TEST_F(ConfigFaults, ThatAreManyAreCounted) {
  std::string text;
  for (int i = 0; i < 130; ++i) text += fmt::format("unknown_{}: 1\n", i);
  const Lines lines = faults_of(text);
  ASSERT_EQ(lines.size(), 101u);
  EXPECT_TRUE(lines[99].starts_with("F:100: ")) << lines[99];
  EXPECT_EQ(lines[100], "and 30 faults more");
}

/// A share of 1.0 is all rows; the 1 of a count is one. Neither becomes the other.
TEST_F(ConfigFaults, AShareOfOneIsNotOneRow) {
  for (const std::string& text :
       std::vector<std::string>{"1.0", "1.00", "1.", "1e0", "'1.0'", "10e-1", "0.1e1", "1E0"}) {
    const std::string plain = text[0] == '\'' ? "1.0" : text;
    const std::string fault = "val_set_size: '" + plain +
                              "' is the share of all rows, which leaves nothing to train on; a "
                              "share is below 1, and 1 is one row";
    EXPECT_EQ(faults_of("val_set_size: " + text + "\n"), Lines{"F:1: " + fault});
    EXPECT_EQ(faults_of("seed: 1\n", {"val_size=" + plain}).at(0),
              "command line: val_size=" + plain + ": val_size" + fault.substr(12));
  }
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{
           {"1", 1}, {"+1", 1}, {"0", 0}, {"0.0", 0}, {"2.0", 2}, {"1e3", 1000}, {"0.99", 0.99}}) {
    const std::string path = folder_.write("val.yml", "val_set_size: " + text + "\n");
    EXPECT_EQ(load_config(path, {}).val_set_size, value) << text;
  }
  // The resolved config says the same.
  Config one;
  one.val_set_size = 1;
  EXPECT_EQ(load_config(folder_.write("one.yml", dump_config(one)), {}).val_set_size, 1);
}

TEST_F(ConfigFaults, AnOverrideHoldsNoComment) {
  const std::string text = "base_model: m\n";
  for (const std::string value : {"runs/a #3", "#1", "\"runs/a\" # b"}) {
    EXPECT_EQ(faults_of(text, {"output_dir=" + value}, kPlanNeeds),
              Lines{"command line: output_dir=" + value +
                    ": what follows '#' would be a comment; put the value in quotes"});
  }
  const std::string path = folder_.write("comment.yml", text);
  const std::pair<std::string, std::string> fine[] = {
      {"'runs/a #3'", "runs/a #3"}, {"\"a \\\" #3\"", "a \" #3"}, {"it's#1", "it's#1"}};
  for (const auto& [value, read] : fine) {
    const std::vector<std::string> overrides = {"output_dir=" + value};
    EXPECT_EQ(load_config(path, overrides).output_dir, read) << value;
  }
}

TEST_F(ConfigFaults, AFileThatIsNoConfigIsOneLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "F: nothing is set in it; expected 'key: value' lines with base_model"},
      {"\xef\xbb\xbf# only a comment\r\n",
       "F: nothing is set in it; expected 'key: value' lines with base_model"},
      {std::string("\xff\xfe"
                   "b\0a\0",
                   6),
       "F: the text is UTF-16; save it as UTF-8"},
      {std::string("\xfe\xff\0b\0a", 6), "F: the text is UTF-16; save it as UTF-8"},
      {std::string("b\0a\0s\0", 6), "F: the text is UTF-16; save it as UTF-8"},
      {"PK\x03\x04\x14", "F:1: a control character is not allowed here"},
      {"base_model: caf\xe9\n", "F:1: not valid UTF-8"},
      {"base_model: m\ndatasets:\n\t- path: x\n",
       "F:3: a tab indents this line; YAML takes spaces "
       "only"},
      {"base_model: m\ndatasets:\n  - path: x\n\t  type: alpaca\n",
       "F:4: a tab indents this line; YAML takes spaces only"},
      {"[{\"path\": \"x\"}]", "F:1: expected 'key: value' lines"},
      {"just text", "F:1: expected 'key: value' lines"},
  };
  for (const auto& [text, line] : cases) EXPECT_EQ(faults_of(text, {}, kPlanNeeds), Lines{line});
  EXPECT_EQ(error_of([&] { load_config(folder_.path(), {}); }),
            folder_.path() + " is a folder, not a regular file");
  EXPECT_EQ(error_of([&] { load_config(folder_.file("none.yml"), {}); }),
            "cannot open " + folder_.file("none.yml") + ": No such file or directory");
}

TEST_F(ConfigFaults, TextFromOtherSystemsAndJsonAreAConfig) {
  for (const std::string& text :
       {std::string("\xef\xbb\xbf"
                    "base_model: m\r\ndatasets:\r\n  - path: d\r\nlora_r: 4\r\n"),
        std::string("{\n\t\"base_model\": \"m\",\n\t\"datasets\": [\n\t\t{\"path\": \"d\"}\n\t],\n"
                    "\t\"lora_r\": 4, \"save_steps\": null\n}\n"),
        std::string("base_model: m\t# a tab that indents nothing\ndatasets: [{path: d}]\n"
                    "lora_r:\t4\n")}) {
    const Config config = load_config(folder_.write("run.yml", text), {});
    EXPECT_EQ(config.base_model, "m") << text;
    EXPECT_EQ(config.datasets, (std::vector<DatasetConfig>{{"d", {}}})) << text;
    EXPECT_EQ(config.lora_r, 4) << text;
  }
}

}  // namespace
}  // namespace tessera::launch
