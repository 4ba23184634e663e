// What `tessera completion`, `tessera help schema` and `tessera convert-config` print, by the
// program itself. Shells that are here run what is made for them.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/launch/program.h"
#include "tests/scratch_folder.h"

namespace tessera {
namespace {

using testing::Outcome;
using testing::Program;
using testing::ScratchFolder;

Outcome run_program(const std::vector<std::string>& args) { return Program(args).wait(); }

struct ShellOutcome {
  int code;
  std::string out;
};

ShellOutcome run_shell(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string out;
  std::array<char, 4096> some;
  for (size_t n; (n = ::fread(some.data(), 1, some.size(), pipe)) > 0;) out.append(some.data(), n);
  return {::pclose(pipe), out};
}

bool has_shell(const std::string& name) { return run_shell("command -v " + name).code == 0; }

class Completion : public ::testing::Test {
 protected:
  std::string script_for(const std::string& shell) {
    const Outcome outcome = run_program({"completion", shell});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return folder_.write("script." + shell, outcome.out);
  }

  /// What bash offers for the last of `words`, separated by blanks.
  std::string offered(const std::string& words, int last) {
    const std::string script =
        folder_.write("ask.sh", "source " + script_for("bash") + "\nCOMP_WORDS=(" + words +
                                    ")\nCOMP_CWORD=" + std::to_string(last) +
                                    "\n_tessera\necho \"${COMPREPLY[@]}\"\n");
    return run_shell("bash " + script).out;
  }

  ScratchFolder folder_;
};

TEST_F(Completion, OfBashOffersCommandsOptionsKeysAndValues) {
  EXPECT_EQ(offered("tessera tr", 1), "train\n");
  EXPECT_EQ(offered("tessera comp", 1), "completion\n");
  EXPECT_EQ(offered("tessera train run.yml lora_target_m", 3), "lora_target_modules=\n");
  EXPECT_EQ(offered("tessera train run.yml sharding = h", 5), "hybrid host\n");
  EXPECT_EQ(offered("tessera plan run.yml sharding =", 4), "auto replicate full hybrid host\n");
  EXPECT_EQ(offered("tessera convert-config --o", 2), "--output\n");
  EXPECT_EQ(offered("tessera help sch", 2), "schema\n");
  EXPECT_EQ(offered("tessera generate lora_", 2), "\n");
}

TEST_F(Completion, IsWhatEachShellReads) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const std::string script = script_for(shell);
    if (!has_shell(shell)) continue;
    const ShellOutcome read = run_shell(shell + " -n " + script);
    EXPECT_EQ(read.code, 0) << read.out;
    EXPECT_EQ(read.out, "");
  }
  if (has_shell("fish")) {
    const ShellOutcome fish = run_shell("fish -c 'source " + folder_.file("script.fish") +
                                        "; complete -C \"tessera tr\"'");
    EXPECT_EQ(fish.out.substr(0, 5), "train") << fish.out;
  }
  const Outcome other = run_program({"completion", "csh"});
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("expected bash, zsh or fish, got 'csh'"), std::string::npos);
}

TEST_F(Completion, TheSchemaIsJson) {
  const Outcome outcome = run_program({"help", "schema"});
  const auto schema = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_TRUE(schema["properties"].contains("model_name_or_path"));
}

TEST_F(Completion, AConversionIsWholeOrNotThere) {
  const std::string good = folder_.write("good.yml", "model_name_or_path: m\ntf32: true\n");
  const std::string out = folder_.file("ours.yml");
  EXPECT_EQ(run_program({"convert-config", good, "--output", out}).code, 0);
  const std::string made = testing::bytes_of_file(out);
  EXPECT_TRUE(made.starts_with("# Model\nbase_model: m  # model_name_or_path, ")) << made;
  EXPECT_EQ(run_program({"convert-config", good}).out, made);
  EXPECT_EQ(run_program({"convert-config", good, "--output", out}).code, 2);  // is there already

  const std::string lossy = folder_.write("lossy.yml", "base_model: m\nrl: dpo\n");
  const Outcome lost = run_program({"convert-config", lossy});
  EXPECT_EQ(lost.code, 1);
  EXPECT_NE(lost.err.find("lossy.yml:2: rl is not a key"), std::string::npos) << lost.err;
  EXPECT_NE(lost.out.find("# - " + lossy + ":2: rl is not a key"), std::string::npos) << lost.out;

  const std::string broken = folder_.write("broken.yml", "a: [1\n");
  const std::string none = folder_.file("none.yml");
  EXPECT_EQ(run_program({"convert-config", broken, "--output", none}).code, 2);
  EXPECT_FALSE(std::filesystem::exists(none));
}

}  // namespace
}  // namespace tessera
