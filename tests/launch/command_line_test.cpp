// The program as users run it: what it prints where, how it ends, and that wrong use of any kind is
// one line on stderr and nothing on stdout.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/config/config.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/program.h"
#include "tests/sanitized.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using tessera::testing::bytes_of_file;
using tessera::testing::Outcome;
using tessera::testing::Program;
using tessera::testing::run_program;
using tessera::testing::ScratchFolder;
using Args = std::vector<std::string>;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class CommandLine : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = folder_.file("base");
    tessera::testing::write_byte_tokenizer(base_);
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::copy_file(kTiny + "/" + file, base_ + "/" + file);
    }
    config_ = config("run.yml", "run");
  }
  std::string config(const std::string& name, const std::string& output,
                     const std::string& more = "") {
    return folder_.write(name,
                         "base_model: " + base_ + "\ndatasets: [{path: " + kTiny +
                             "/data.jsonl, type: tokenized}]\noutput_dir: " + folder_.file(output) +
                             "\nmicro_batch_size: 2\nlora_r: 4\nthreads: 1\n" + more);
  }
  /// Ends with `code`, prints nothing to stdout and one line, with `parts`, to stderr.
  void expect_failure(const Args& args, int code, const Args& parts) {
    const Outcome o = run_program(args);
    const std::string all = ::testing::PrintToString(args) + "\n" + o.err;
    EXPECT_EQ(o.code, code) << all;
    EXPECT_EQ(o.out, "") << all;
    EXPECT_TRUE(o.err.starts_with("tessera: ")) << all;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << all;
    for (const std::string& part : parts) {
      EXPECT_NE(o.err.find(part), std::string::npos) << part << " is not in " << all;
    }
  }
  Args generate(const Args& more) const {
    Args args = {"generate", "--base_model", base_, "--max_new_tokens", "8", "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  ScratchFolder folder_;
  std::string base_, config_;
};

TEST_F(CommandLine, HelpGoesToStdout) {
  for (const Args& args : {Args{}, Args{"--help"}, Args{"help"}}) {
    const Outcome o = run_program(args);
    EXPECT_EQ(o.code, 0);
    EXPECT_EQ(o.err, "");
    for (const char* command : {"train", "plan", "data", "eval", "generate", "merge", "quantize",
                                "inspect", "fetch", "tokenize", "doctor"}) {
      EXPECT_NE(o.out.find(std::string("\n  ") + command + " "), std::string::npos) << command;
    }
  }
  for (const char* command : {"train", "plan", "data", "eval", "generate", "merge", "quantize",
                              "inspect", "fetch", "tokenize", "doctor"}) {
    const Outcome o = run_program({command, "--help"});
    EXPECT_EQ(o.code, 0) << command;
    EXPECT_NE(o.out.find("Usage: tessera " + std::string(command)), std::string::npos) << o.out;
    EXPECT_TRUE(run_program({"help", command}).out == o.out) << command;
  }
  EXPECT_TRUE(run_program({"help", "config"}).out == config_help());
  EXPECT_TRUE(run_program({"help", "config", "--markdown"}).out == config_reference_markdown());
  EXPECT_EQ(run_program({"--version"}).out, "tessera 0.1.0\n");
}

TEST_F(CommandLine, WrongUseIsOneLineAndExitCode2) {
  expect_failure({"trian"}, 2, {"'trian'", "did you mean 'train'?"});
  expect_failure({"qqqqqq"}, 2, {"unknown command 'qqqqqq'", "tessera --help"});
  expect_failure({"--nonsense"}, 2, {"--nonsense"});
  expect_failure({"help", "nonsense"}, 2, {"nonsense"});
  expect_failure({"help", "train", "--markdown"}, 2, {"help config"});
  expect_failure({"train"}, 2, {"config", "tessera train --help"});
  expect_failure({"train", folder_.file("missing.yml")}, 2, {"missing.yml"});
  expect_failure({"train", config_, "lora_q=4"}, 2, {"lora_q", "lora_r"});
  expect_failure({"train", config_, "lora_r"}, 2, {"key=value"});
  expect_failure({"train", config("bad.yml", "run", "learning_rat: 1\n")}, 2,
                 {"bad.yml:7", "learning_rate"});
  expect_failure({"eval", config_, "adapter=a", "adapter=b"}, 2, {"adapter", "twice"});
  expect_failure({"eval", folder_.write("e.yml", "datasets: [{path: d}]\n")}, 2,
                 {"e.yml", "base_model"});
  expect_failure({"generate", "--prompt", "A"}, 2, {"--base_model is required"});
  expect_failure(generate({}), 2, {"--prompt", "--messages"});
  expect_failure(generate({"--prompt", "A", "--messages", "B"}), 2, {"--prompt", "--messages"});
  expect_failure(generate({"--prompt", "A", "--nonsense", "1"}), 2, {"--nonsense"});
  expect_failure(generate({"--prompt", "A", "--temperature", "hot"}), 2, {"temperature", "hot"});
  expect_failure(generate({"--prompt", "A", "--temperature", "-1"}), 2, {"temperature", "-1"});
  expect_failure(generate({"--prompt", "A", "--top_p", "2"}), 2, {"top_p", "2"});
  expect_failure(generate({"--prompt", "A", "--max_new_tokens", "0"}), 2, {"max_new_tokens"});
  expect_failure(generate({"--prompt", "A", "--threads", "0"}), 2, {"threads"});
  // Numbers are those of a config: neither octal nor cut to what fits.
  expect_failure(generate({"--prompt", "A", "--seed", "010"}), 2,
                 {"command line: --seed: expected a whole number, 0 or more, got '010'"});
  expect_failure(generate({"--prompt", "A", "--top_k", "99999999999999999999"}), 2, {"--top_k"});
  expect_failure(generate({"--prompt", "A", "--temperature", "1e999"}), 2, {"--temperature"});
  expect_failure({"plan", config_, "--ranks", "4294967297"}, 2, {"--ranks", "4294967297"});
  expect_failure(generate({"--prompt", "A", "--bnb_4bit_blocksize", "64"}), 2,
                 {"--bnb_4bit_blocksize needs --load_in_4bit true"});
  expect_failure(generate({"--prompt", "A", "--load_in_4bit", "maybe"}), 2, {"load_in_4bit"});
  expect_failure(
      generate({"--prompt", "A", "--load_in_4bit", "false", "--bnb_4bit_quant_type", "nf4"}), 2,
      {"bnb_4bit_quant_type"});
  expect_failure(generate({"--prompt", "A", "--bnb_4bit_compute_dtype", "int8"}), 2,
                 {"bnb_4bit_compute_dtype", "int8"});
  expect_failure({"merge", "--base_model", base_, "--adapter", base_}, 2, {"--output"});
  expect_failure(
      {"merge", "--base_model", base_, "--adapter", base_, "--output", "o", "--dtype", "int8"}, 2,
      {"--dtype", "int8"});
  expect_failure({"tokenize", "--tokenizer", base_}, 2, {"FILE", "--messages"});
}

/// Each fault is a line of this program's; nothing is done.
TEST_F(CommandLine, AllFaultsOfAConfigAreTold) {
  const std::string yml = folder_.write("f.yml", "base_modle: m\nlora_r: 0\n\nseed: x\n");
  for (const char* command : {"train", "eval", "plan"}) {
    const Outcome o = run_program({command, yml, "threads=0", "lora_alfa=1"});
    EXPECT_EQ(o.code, 2);
    EXPECT_EQ(o.out, "");
    std::string expected =
        "tessera: F:1: unknown key 'base_modle'; did you mean 'base_model'?\n"
        "tessera: F:2: lora_r: expected a whole number from 1 to 65536, got '0'\n"
        "tessera: F:4: seed: expected a whole number, 0 or more, got 'x'\n";
    if (command != std::string("plan")) {
      expected +=
          "tessera: F: datasets is missing; add e.g. datasets: [{path: data.jsonl, type: "
          "alpaca}]\n";
    }
    if (command == std::string("train")) {
      expected += "tessera: F: output_dir is missing; add e.g. output_dir: runs/first\n";
    }
    expected +=
        "tessera: command line: threads=0: threads: expected a whole number from 1 to 4096, "
        "got '0'\n"
        "tessera: command line: lora_alfa=1: unknown key 'lora_alfa'; did you mean "
        "'lora_alpha'?\n";
    for (size_t at; (at = expected.find("F:")) != std::string::npos;) expected.replace(at, 1, yml);
    EXPECT_EQ(o.err, expected) << command;
  }
}

/// A shell replaces ~ neither in key=~/x nor in --option=~/x.
TEST_F(CommandLine, ATildeIsTheHomeFolderInEveryPath) {
  const char* before = std::getenv("HOME");
  const std::string kept = before ? before : "/";
  ::setenv("HOME", folder_.path().c_str(), 1);
  const Outcome trained =
      run_program({"train", "~/run.yml", "output_dir=~/home_run", "base_model=~/base"});
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_TRUE(fs::exists(folder_.file("home_run/adapter_model.safetensors")));
  EXPECT_FALSE(fs::exists("~"));
  EXPECT_NE(bytes_of_file(folder_.file("home_run/config.resolved.yml"))
                .find("\noutput_dir: " + folder_.file("home_run") + "\n"),
            std::string::npos);
  const Outcome evaluated = run_program({"eval", config_, "adapter=~/home_run"});
  EXPECT_EQ(evaluated.code, 0) << evaluated.err;
  const Args with = {"generate", "--base_model=~/base", "--adapter=~/home_run"};
  const Args limits = {"--max_new_tokens", "2", "--threads", "1", "--prompt", "A"};
  Args generate_args = with;
  generate_args.insert(generate_args.end(), limits.begin(), limits.end());
  EXPECT_EQ(run_program(generate_args).code, 0);
  EXPECT_EQ(run_program(
                {"merge", "--base_model=~/base", "--adapter=~/home_run", "--output=~/home_merged"})
                .code,
            0);
  EXPECT_TRUE(fs::exists(folder_.file("home_merged")));
  folder_.write("text", "Hi");
  EXPECT_EQ(run_program({"tokenize", "--tokenizer=~/base", "~/text"}).out, "[72,105]\n");
  expect_failure({"tokenize", "--tokenizer=$HOME/base", "-"}, 2, {"--tokenizer", "'$HOME/base'"});
  expect_failure({"merge", "--base_model", base_, "--adapter", "file:///x", "--output", "o"}, 2,
                 {"--adapter", "URL 'file:///x'"});
  expect_failure({"eval", config_, "adapter=~no-such-user/x"}, 2, {"adapter=", "no-such-user"});
  expect_failure({"plan", config_, "--profile=~/none.json"}, 2, {folder_.file("none.json")});
  ::setenv("HOME", kept.c_str(), 1);
}

TEST_F(CommandLine, FilesThatFailUsAreOneLineAndExitCode1) {
  const std::string nothing = folder_.file("nothing");
  expect_failure({"generate", "--base_model", nothing, "--prompt", "A"}, 1, {"nothing"});
  expect_failure(generate({"--prompt", "A", "--adapter", nothing}), 1, {"adapter", "nothing"});
  expect_failure(generate({"--prompt", "A", "--adapter", base_}), 1, {"adapter_config.json"});
  expect_failure(generate({"--prompt", ""}), 1, {"the prompt is empty"});
  expect_failure(generate({"--prompt", std::string(300, 'a')}), 1, {"300 tokens", "256 positions"});
  expect_failure(generate({"--chat_template", "alpaca", "--messages", nothing}), 1, {"nothing"});
  const std::string rows = folder_.write("rows.jsonl", "[{\"role\": \"user\"}]\n");
  expect_failure(generate({"--chat_template", "alpaca", "--messages", rows}), 1,
                 {"rows.jsonl:1", "content"});
  expect_failure({"tokenize", "--tokenizer", base_, nothing}, 1, {"nothing"});
  expect_failure({"eval", config_, "adapter=" + nothing}, 1, {"nothing"});
  expect_failure({"merge", "--base_model", base_, "--adapter", nothing, "--output", "out"}, 1,
                 {"nothing"});
}

TEST_F(CommandLine, AnAdapterOfAnotherModelIsRefused) {
  // The same model, said to be wider inside: the adapter's tensors do not fit any more.
  const std::string other = folder_.file("other");
  fs::copy(kTiny + "/adapter_out", other);
  std::string text = bytes_of_file(other + "/adapter_config.json");
  const size_t at = text.find("\"r\": 16");
  ASSERT_NE(at, std::string::npos);
  folder_.write("other/adapter_config.json", text.replace(at, 7, "\"r\": 8"));
  const Outcome generated = run_program(generate({"--prompt", "A", "--adapter", other}));
  EXPECT_EQ(generated.code, 1);
  EXPECT_EQ(generated.out, "");
  EXPECT_NE(generated.err.find("lora_A"), std::string::npos) << generated.err;
  const std::string out = folder_.file("out");
  expect_failure({"merge", "--base_model", base_, "--adapter", other, "--output", out}, 1,
                 {"lora_A"});
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(CommandLine, KeysOfAnAdapterThatAreNotUsedAreNamed) {
  const std::string adapter = folder_.file("newer");
  fs::copy(kTiny + "/adapter_out", adapter);
  json root = json::parse(bytes_of_file(adapter + "/adapter_config.json"));
  root.update({{"a_new_scaling", true}, {"a_new_switch", false}, {"eva_config", {{"rho", 2.0}}}});
  folder_.write("newer/adapter_config.json", root.dump());
  const std::string line =
      "warning: " + adapter +
      "/adapter_config.json: unknown and ignored, as PEFT ignores what it does not know: "
      "a_new_scaling; without effect on a finished adapter: eva_config\n";
  const std::vector<Args> commands = {
      {"eval", config_, "adapter=" + adapter},
      generate({"--adapter", adapter, "--prompt", "a"}),
      {"merge", "--base_model", base_, "--adapter", adapter, "--output", folder_.file("merged")},
      {"train", config_, "lora_model_dir=" + adapter, "lora_r=16", "max_steps=1"}};
  for (const Args& args : commands) {
    const Outcome o = run_program(args);
    EXPECT_EQ(o.code, 0) << o.err;
    const size_t at = o.err.find(line);
    EXPECT_NE(at, std::string::npos) << args[0] << ": " << o.err;
    EXPECT_EQ(o.err.find("a_new", at + line.size()), std::string::npos) << args[0];  // once
  }
}

TEST_F(CommandLine, DropoutThatIsNotAppliedIsNamed) {
  json model = json::parse(bytes_of_file(base_ + "/config.json"));
  const std::string line =
      "warning: " + base_ + "/config.json: attention_dropout 0.1 is not applied\n";
  for (const double dropout : {0.0, 0.1}) {
    model["attention_dropout"] = dropout;
    folder_.write("base/config.json", model.dump());
    const Outcome o = run_program({"train", config_, "max_steps=1", "overwrite_output_dir=true"});
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(o.err.find(line) != std::string::npos, dropout > 0) << o.err;
  }
  model.erase("architectures");
  model.update({{"model_type", "seed_oss"}, {"residual_dropout", 0.2}});
  folder_.write("base/config.json", model.dump());
  const Outcome o = run_program({"train", config_, "max_steps=1", "overwrite_output_dir=true"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find(line + "warning: " + base_ +
                       "/config.json: residual_dropout 0.2 is not applied\n"),
            std::string::npos)
      << o.err;
}

TEST_F(CommandLine, AnEndOfTextThatTheModelLacksIsNamed) {
  json model = json::parse(bytes_of_file(base_ + "/config.json"));
  model["eos_token_id"] = {2, 256, 900};
  folder_.write("base/config.json", model.dump());
  folder_.write("base/generation_config.json", R"({"eos_token_id": [255, 900]})");
  const auto line = [&](int id, const std::string& sources) {
    return fmt::format(
        "warning: {} token {} as an end of text; the model has only 256 tokens, so it is ignored\n",
        sources, id);
  };
  const std::string config = base_ + "/config.json";
  const std::vector<std::pair<Args, std::string>> cases = {
      {{"train", config_, "max_steps=1"},
       line(256, config + " names") + line(900, config + " names")},
      {generate({"--prompt", "A"}),
       line(256, config + " names") + line(258, "the tokenizer of " + base_ + " names") +
           line(900, config + " and " + base_ + "/generation_config.json name")}};
  for (const auto& [args, lines] : cases) {
    const Outcome o = run_program(args);
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find(lines), std::string::npos) << o.err;
    size_t warnings = 0;
    for (size_t at = 0; (at = o.err.find("as an end of text", at)) != std::string::npos; ++at) {
      ++warnings;
    }
    EXPECT_EQ(warnings, size_t(std::ranges::count(lines, '\n'))) << o.err;
  }
}

TEST_F(CommandLine, AnotherDropoutThanTheAdaptersIsNamed) {
  const std::string adapter = folder_.file("dropped");
  fs::copy(kTiny + "/adapter_out", adapter);
  json root = json::parse(bytes_of_file(adapter + "/adapter_config.json"));
  root["lora_dropout"] = 0.05;
  folder_.write("dropped/adapter_config.json", root.dump());
  const std::string line =
      "the adapter in " + adapter + " was trained with lora_dropout 0.05; this run uses ";
  for (const std::string dropout : {"0", "0.05"}) {
    const Outcome o =
        run_program({"train", config_, "lora_model_dir=" + adapter, "lora_r=16", "max_steps=1",
                     "overwrite_output_dir=true", "lora_dropout=" + dropout});
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(o.err.find(line + "0\n") != std::string::npos, dropout == "0") << o.err;
    EXPECT_EQ(o.err.find(line) != std::string::npos, dropout == "0") << o.err;
  }
}

/// Of the 16 rows six are longer than 20 tokens.
TEST_F(CommandLine, EvalSaysWhichRowsItMeasures) {
  const std::string lost = ", 6 longer than sequence_len (dropped)";
  const std::pair<Args, std::string> cases[] = {
      {{}, "16 rows, all"},
      {{"sequence_len=20"}, "10 rows" + lost},
      {{"val_set_size=4"}, "4 rows held out"},
      {{"val_set_size=4", "sequence_len=20"}, "4 rows held out" + lost},
  };
  for (const auto& [settings, line] : cases) {
    Args args = {"eval", config_};
    args.insert(args.end(), settings.begin(), settings.end());
    const Outcome o = run_program(args);
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find("\ndata     " + line + "\n"), std::string::npos) << o.err;
  }
}

TEST_F(CommandLine, AStopThatIsNoTokenIsRefused) {
  for (const std::string id : {"16777216", "-1", "1.5", "\"</s>\""}) {
    folder_.write("base/generation_config.json", "{\"eos_token_id\": [2, " + id + "]}");
    expect_failure(generate({"--prompt", "A"}), 1, {"generation_config.json: eos_token_id"});
  }
}

TEST_F(CommandLine, ATruncatedModelIsRefused) {
  fs::resize_file(base_ + "/model.safetensors", fs::file_size(base_ + "/model.safetensors") - 10);
  expect_failure(generate({"--prompt", "A"}), 1, {"model.safetensors"});
  expect_failure({"train", config_}, 1, {"model.safetensors"});
  EXPECT_FALSE(fs::exists(folder_.file("run/adapter_model.safetensors")));
}

TEST_F(CommandLine, DataThatCannotBeLearnedIsRefused) {
  const auto train_on = [&](const std::string& name, const std::string& content,
                            const Args& parts) {
    folder_.write(name, content);
    const std::string path = "datasets.0.path=" + folder_.file(name);
    expect_failure({"train", config_, path}, 1, parts);
  };
  train_on("empty.jsonl", "", {"empty.jsonl", "empty"});
  train_on("list.json", "[]", {"list.json: the array holds no rows"});
  train_on("cut.jsonl", "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [1,\n", {"cut.jsonl:2"});
  train_on("big.jsonl", "{\"input_ids\": [1, 2, 256]}\n", {"big.jsonl:1", "256"});
  train_on("text.jsonl", "{\"input_ids\": \"a\"}\n", {"text.jsonl:1", "input_ids"});
}

TEST_F(CommandLine, OutputThatCannotBeWrittenIsRefusedFirst) {
  const std::string file = folder_.write("a_file", "");
  expect_failure({"train", config_, "output_dir=" + file}, 2, {"a_file"});
  expect_failure({"train", config_, "output_dir=" + file + "/run"}, 1, {"a_file"});
  EXPECT_EQ(bytes_of_file(file), "");
  Program full({"tokenize", "--tokenizer", base_, "-"}, "Hi", "/dev/full");
  const Outcome o = full.wait();
  EXPECT_EQ(o.code, 1);
  EXPECT_NE(o.err.find("cannot write to standard output"), std::string::npos) << o.err;
}

TEST_F(CommandLine, TokenizeReadsStandardInput) {
  const Outcome o = run_program({"tokenize", "--tokenizer", base_, "-"}, "Hi\n");
  EXPECT_EQ(o.out, "[72,105,10]\n");
  EXPECT_EQ(o.err, "");
}

TEST_F(CommandLine, PlansWithAProfileOfThisMachine) {
  const Outcome measured = run_program({"doctor", "--profile"});
  ASSERT_EQ(measured.code, 0) << measured.err;
  const std::string profile = folder_.write("here.json", measured.out);
  const Outcome o = run_program({"plan", config_, "--profile", profile, "--json", "--ranks", "2"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.err, "");
  const json plan = json::parse(o.out);
  EXPECT_EQ(plan["ranks"], 2);
  EXPECT_GT(plan["time"]["tokens_per_second"], 0);
  const Outcome text = run_program({"plan", config_});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("\nmemory   "), std::string::npos) << text.out;
  EXPECT_FALSE(fs::exists(folder_.file("run")));
  expect_failure({"plan", config_, "memory_budget=1KiB"}, 2, {"the smallest plan needs"});
  expect_failure({"plan", config_, "--profile", "B2000"}, 2, {"--profile B2000", "H100"});
  expect_failure({"plan", config_, "--ranks", "0"}, 2, {"--ranks"});
}

TEST_F(CommandLine, DoctorSaysWhatIsThere) {
  const Outcome o = run_program({"doctor"});
  EXPECT_EQ(o.code, 0);
  for (const char* row : {"cpu ", "simd ", "cores ", "memory ", "gpu ", "ranks ", "parquet "}) {
    EXPECT_NE(o.out.find(row), std::string::npos) << row;
  }
}

/// A child of this process inherits the limit.
class DataLimit {
 public:
  explicit DataLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_DATA, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_DATA, &limit);
  }
  ~DataLimit() { ::setrlimit(RLIMIT_DATA, &before_); }

 private:
  rlimit before_{};
};

TEST_F(CommandLine, LimitsOfTheProcessCount) {
  if (testing::kSanitized) GTEST_SKIP() << "a sanitizer takes more than any limit";
  const DataLimit limit(rlim_t{512} << 20);
  const Outcome doctor = run_program({"doctor"});
  EXPECT_NE(doctor.out.find(" free of the 512 MiB that ulimit -d allows"), std::string::npos)
      << doctor.out;
  const std::string tokens = "sequence_len=4194304";
  const Outcome plan = run_program({"plan", config_, tokens});
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_NE(plan.out.find("here     would not run: memory: the smallest plan needs"),
            std::string::npos)
      << plan.out;
  EXPECT_NE(plan.out.find("what ulimit -d (512 MiB) leaves is"), std::string::npos) << plan.out;
}

/// One conversation is plain text, lines are JSON; the answers are the same.
TEST_F(CommandLine, GenerateAnswersFilesOfConversations) {
  folder_.write("base/tokenizer_config.json", R"({"eos_token": "~"})");  // the model has it
  const std::string a = R"([{"role": "user", "content": "A"}])";
  const std::string b = R"({"messages": [{"role": "user", "content": "Bee"}]})";
  const auto answers_to = [&](const std::string& name, const std::string& content) {
    const Outcome o = run_program(
        generate({"--chat_template", "alpaca", "--messages", folder_.write(name, content)}));
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(o.err, "");
    return o.out;
  };
  const std::string both = answers_to("both.jsonl", a + "\n" + b + "\n");
  json lines = json::array();
  for (size_t begin = 0; begin < both.size();) {
    const size_t end = both.find('\n', begin);
    lines.push_back(json::parse(both.substr(begin, end - begin)));
    begin = end + 1;
  }
  ASSERT_EQ(lines.size(), 2u) << both;
  EXPECT_EQ(answers_to("a.json", a), lines[0]["text"].get<std::string>() + "\n");
  EXPECT_EQ(answers_to("b.json", b), lines[1]["text"].get<std::string>() + "\n");
  EXPECT_NE(lines[0], lines[1]);
}

TEST_F(CommandLine, TrainEvaluateMergeGenerate) {
  const std::string run = folder_.file("run"), merged = folder_.file("merged");
  ASSERT_EQ(run_program({"train", config_, "num_epochs=2", "learning_rate=0.02"}).code, 0);
  expect_failure({"train", config_}, 2, {run, "resume_from_checkpoint=auto"});

  const auto loss = [](const Outcome& o) {
    EXPECT_EQ(o.code, 0) << o.err;
    return json::parse(o.out);
  };
  const json base = loss(run_program({"eval", config_, "adapter=none"}));
  const json tuned = loss(run_program({"eval", config_}));
  EXPECT_LT(tuned["loss"], base["loss"].get<double>() - 0.05);
  EXPECT_EQ(tuned, loss(run_program({"eval", config_, "adapter=" + run})));
  EXPECT_DOUBLE_EQ(tuned["perplexity"], std::exp(tuned["loss"].get<double>()));
  EXPECT_EQ(tuned["tokens"], base["tokens"]);

  const Outcome o =
      run_program({"merge", "--base_model", base_, "--adapter", run, "--output", merged});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("into the dequantized weights, float32"), std::string::npos) << o.out;
  // The merged model as it is computes what base and adapter do.
  const Outcome together = run_program(generate({"--adapter", run, "--prompt", "Hello"}));
  const Outcome alone = run_program(
      {"generate", "--base_model", merged, "--max_new_tokens", "8", "--prompt", "Hello"});
  EXPECT_EQ(together.code, 0) << together.err;
  EXPECT_EQ(together.out, alone.out);
  EXPECT_NE(together.out, run_program(generate({"--prompt", "Hello"})).out);
  expect_failure({"merge", "--base_model", base_, "--adapter", run, "--output", merged}, 2,
                 {merged, "exists already"});
}

/// A run that was stopped and went on leaves the adapter of one that never stopped.
class Stopping : public CommandLine {
 protected:
  static constexpr int kSteps = testing::kSanitized ? 30 : 80;
  const std::string more_ = fmt::format("max_steps: {}\nsave_steps: 10\n", kSteps);

  std::string adapter_of(const std::string& run) {
    return bytes_of_file(folder_.file(run + "/adapter_model.safetensors"));
  }
  void expect_same_after_resume(const std::string& stopped) {
    const Outcome resumed = run_program({"train", stopped, "resume_from_checkpoint=auto"});
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("\nresumed "), std::string::npos) << resumed.err;
    ASSERT_EQ(run_program({"train", config("straight.yml", "straight", more_)}).code, 0);
    EXPECT_EQ(adapter_of("run"), adapter_of("straight"));
    const json state = json::parse(bytes_of_file(folder_.file("run/state.json")));
    EXPECT_EQ(state["finished"], true);
  }
};

class StoppingBySignal : public Stopping, public ::testing::WithParamInterface<int> {};

TEST_P(StoppingBySignal, CheckpointsAndResumesToTheSameBytes) {
  const std::string yml = config("stop.yml", "run", more_);
  Program program({"train", yml});
  ASSERT_TRUE(program.wait_for(fmt::format("step  3/{}", kSteps)));
  program.send(GetParam());
  const Outcome o = program.wait();
  EXPECT_EQ(o.code, 3) << o.err;
  EXPECT_NE(o.err.find("add to the same command: resume_from_checkpoint=auto\n"), std::string::npos)
      << o.err;
  EXPECT_FALSE(fs::exists(folder_.file("run/adapter_model.safetensors")));
  const json state = json::parse(bytes_of_file(folder_.file("run/state.json")));
  EXPECT_EQ(state["finished"], false);
  EXPECT_LT(state["step"], kSteps);
  expect_same_after_resume(yml);
}

INSTANTIATE_TEST_SUITE_P(, StoppingBySignal, ::testing::Values(SIGINT, SIGTERM, SIGUSR1));

TEST_F(Stopping, AKilledRunResumesToTheSameBytes) {
  const std::string yml = config("stop.yml", "run", more_);
  Program program({"train", yml});
  ASSERT_TRUE(program.wait_for("checkpoint-20"));
  program.send(SIGKILL);
  EXPECT_EQ(program.wait().code, 128 + SIGKILL);
  expect_same_after_resume(yml);
}

}  // namespace
}  // namespace tessera::launch
