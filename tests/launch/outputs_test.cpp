// What commands write: never over a file of another kind, a folder or a device; whole, or not at
// all when they are stopped; and options that would have no effect are refused.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>

#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/program.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using tessera::testing::bytes_of_file;
using tessera::testing::Outcome;
using tessera::testing::Program;
using tessera::testing::run_program;
using tessera::testing::ScratchFolder;
using Args = std::vector<std::string>;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class Outputs : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = folder_.file("base");
    tessera::testing::write_byte_tokenizer(base_);
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::copy_file(kTiny + "/" + file, base_ + "/" + file);
    }
    config_ = folder_.write(
        "run.yml", "base_model: " + base_ + "\ndatasets: [{path: " + kTiny +
                       "/data.jsonl, type: tokenized}]\noutput_dir: " + folder_.file("run") +
                       "\nmicro_batch_size: 2\nlora_r: 4\nthreads: 1\n");
    fs::create_directory(folder_.file("a_run"));
    folder_.write("a_run/metrics.jsonl", "{\"step\":1,\"loss\":2.0}\n");
    notes_ = folder_.write("notes.md", "mine");
    fs::create_directory(folder_.file("a_folder"));
    fs::create_directory_symlink(folder_.file("a_folder"), folder_.file("a_link"));
  }
  /// Fails with one line, in which `part` stands, and prints nothing.
  void expect_refused(const Args& args, const std::string& part) {
    const Outcome o = run_program(args);
    const std::string all = ::testing::PrintToString(args) + "\n" + o.err;
    EXPECT_NE(o.code, 0) << all;
    EXPECT_EQ(o.out, "") << all;
    EXPECT_NE(o.err.find(part), std::string::npos) << all;
    const size_t last = o.err.rfind('\n', o.err.size() - 2);
    EXPECT_TRUE(o.err.substr(last == std::string::npos ? 0 : last + 1).starts_with("tessera: "))
        << all;
  }
  Args merge(const Args& more) const {
    Args args = {"merge", "--base_model", kTiny, "--adapter", kTiny + "/adapter_out"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  ScratchFolder folder_;
  std::string base_, config_, notes_;
};

/// Each command that writes one file, with the option that names it last.
TEST_F(Outputs, NoFileTakesTheNameOfAnotherThing) {
  ASSERT_EQ(::mkfifo(folder_.file("a_pipe").c_str(), 0600), 0);
  const Args commands[] = {{"report", folder_.file("a_run"), "--output"},
                           {"data", config_, "--html"},
                           {"eval", config_, "adapter=none", "--per_sample"},
                           {"convert-config", config_, "--output"}};
  for (const Args& command : commands) {
    for (const char* name : {"a_folder", "a_link", "a_pipe", "notes.md", "no/such"}) {
      Args args = command;
      args.push_back(folder_.file(name));
      expect_refused(args, name);
    }
  }
  EXPECT_EQ(bytes_of_file(notes_), "mine");
  EXPECT_TRUE(fs::is_symlink(folder_.file("a_link")) && fs::is_empty(folder_.file("a_folder")));
  EXPECT_TRUE(fs::is_fifo(folder_.file("a_pipe")));
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  }
  // A page is written over an older page.
  const Args report = {"report", folder_.file("a_run"), "--output", folder_.file("p.html")};
  EXPECT_EQ(run_program(report).code, 0);
  EXPECT_EQ(run_program(report).code, 0);
}

TEST_F(Outputs, ADeviceStaysOne) {
  const std::string link = folder_.file("device.gguf");
  fs::create_symlink("/dev/null", link);
  expect_refused({"export", "--base_model", kTiny, "--output", link, "--overwrite"}, "special");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(Outputs, AConversationIsSavedOverAConversationOnly) {
  const auto save = [&](const std::string& path) {
    return run_program({"chat", "--base_model", base_, "--chat_template", "alpaca",
                        "--max_new_tokens", "2", "--threads", "1"},
                       "a\n/save " + path + "\n");
  };
  const std::string path = folder_.file("c.json");
  EXPECT_EQ(save(path).code, 0);
  EXPECT_EQ(save(path).code, 0);
  const Outcome refused = save(notes_);
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("holds no conversation"), std::string::npos) << refused.err;
  EXPECT_EQ(bytes_of_file(notes_), "mine");
  EXPECT_EQ(save(folder_.file("a_folder")).code, 1);
}

/// TensorBoard's folder is looked at before the run's is begun, which then still is no run.
TEST_F(Outputs, ALoggingDirThatCannotBeMadeLeavesNoRun) {
  const Args train = {"train", config_, "max_steps=1", "report_to=tensorboard"};
  Args bad = train;
  bad.push_back("logging_dir=" + notes_);
  expect_refused(bad, "logging_dir: ");
  EXPECT_FALSE(fs::exists(folder_.file("run/metrics.jsonl")));
  EXPECT_EQ(run_program(train).code, 0);
}

TEST_F(Outputs, AStoppedEvaluationLeavesNoSamples) {
  const std::string path = folder_.file("samples.jsonl");
  std::string row = "{\"input_ids\": [1", rows;
  for (int i = 0; i < 250; ++i) row += ", 2";
  for (int i = 0; i < 2000; ++i) rows += row + "]}\n";
  const std::string data = "datasets.0.path=" + folder_.write("many.jsonl", rows);
  Program eval({"eval", config_, "adapter=none", data, "--per_sample", path});
  ASSERT_TRUE(eval.wait_for("data     "));
  eval.send(SIGKILL);
  EXPECT_EQ(eval.wait().code, 128 + SIGKILL);
  EXPECT_FALSE(fs::exists(path) || fs::exists(path + ".tmp"));
}

TEST_F(Outputs, OptionsWithoutEffectAreRefused) {
  const std::string gguf = folder_.file("m.gguf"), adapter = kTiny + "/adapter_out";
  const auto exported = [&](const Args& more) {
    Args args = {"export", "--base_model", kTiny, "--output", gguf};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  expect_refused(exported({"--adapter_only"}), "--adapter_only needs --adapter");
  expect_refused(exported({"--merge_into", "original"}), "--merge_into needs --adapter");
  expect_refused(exported({"--partial"}), "--partial needs --adapter");
  const Args alone = exported({"--adapter", adapter, "--adapter_only"});
  for (const auto& [option, value] :
       {std::pair("--merge_into", "original"), std::pair("--tokenizer_pre", "gpt-2")}) {
    Args args = alone;
    args.insert(args.end(), {option, value});
    expect_refused(args, std::string(option) + " has no effect with --adapter_only");
  }
  EXPECT_FALSE(fs::exists(gguf));
  for (const Args& args : {Args{"--json", "--report"},
                           {"--profile", "--json"},
                           {"--profile", "--report"},
                           {"--profile", "--output_dir", "."}}) {
    Args doctor = {"doctor"};
    doctor.insert(doctor.end(), args.begin(), args.end());
    expect_refused(doctor, "excludes");
  }
  expect_refused({"tokenize", "--tokenizer", base_, notes_, "--chat_template", "chatml"},
                 "--chat_template requires --messages");
}

/// All commands name what is wrong with a path that is no model in the same words.
TEST_F(Outputs, APathThatIsNoModelIsNamedAlike) {
  folder_.write("empty", "");
  for (const Args& command : {Args{"generate", "--prompt", "A", "--base_model"},
                              {"chat", "--base_model"},
                              {"merge", "--adapter", kTiny + "/adapter_out", "--output",
                               folder_.file("o"), "--base_model"},
                              {"export", "--output", folder_.file("o.gguf"), "--base_model"}}) {
    for (const auto& [path, part] :
         {std::pair("none", "no such file or folder"),
          std::pair("a_folder", "holds neither config.json nor a .gguf file"),
          std::pair("empty", "not a GGUF file")}) {
      Args args = command;
      args.push_back(folder_.file(path));
      expect_refused(args, part);
    }
  }
  expect_refused({"eval", config_, "adapter=" + folder_.file("none")},
                 "there is no adapter folder");
}

TEST_F(Outputs, ARowHeldOutIsNotCountedAsTrainedOn) {
  const Outcome o = run_program({"train", config_, "max_steps=1", "val_set_size=3"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find(" supervised): 13 to train on, 3 held out\n"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("\ndata     16 rows ("), std::string::npos) << o.err;
  const Outcome one = run_program({"eval", config_, "adapter=none", "val_set_size=1"});
  EXPECT_NE(one.err.find("\ndata     1 row held out\n"), std::string::npos) << one.err;
}

TEST_F(Outputs, AMergeThatChangesNothingElseSaysSo) {
  const Outcome o =
      run_program(merge({"--output", folder_.file("merged"), "--merge_into", "original"}));
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("to what was trained: none\n"), std::string::npos) << o.out;
}

TEST_F(Outputs, AConversionNeedsKeys) {
  const std::string out = folder_.file("ours.yml");
  expect_refused({"convert-config", folder_.write("nothing.yml", "# no key\n"), "--output", out},
                 "nothing is set in it");
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(run_program({"convert-config", config_, "--output", out}).out, out + "\n");
}

TEST_F(Outputs, AReportSaysWhatItLeavesOut) {
  folder_.write("a_run/metrics.jsonl", "{\"step\":1,\"loss\":2.0}\nnonsense\n");
  const Outcome o = run_program({"report", folder_.file("a_run")});
  EXPECT_EQ(o.code, 0);
  EXPECT_NE(o.err.find("warning: " + folder_.file("a_run") + ": metrics.jsonl"), std::string::npos)
      << o.err;
}

}  // namespace
}  // namespace tessera::launch
