// What `tessera doctor` finds, what it says to do about it, and what a report keeps to itself.
#include "launch/commands/doctor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "launch/console/progress.h"
#include "launch/machine/rank_test.h"
#include "launch/machine/signals.h"
#include "launch/machine/storage.h"
#include "launch/machine/surroundings.h"
#include "launch/machine/timed_program.h"
#include "tests/expect_error.h"
#include "tests/launch/program.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using testing::Outcome;
using testing::run_program;
using testing::ScratchFolder;
using Grade = Finding::Grade;

/// A variable of the environment, until the end of the test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() {
    if (before_) {
      ::setenv(name_, before_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// Puts a program of that text first in PATH.
class ProgramInPath : public ScratchFolder {
 public:
  ProgramInPath(const std::string& name, const std::string& text)
      : path_("PATH", this->path() + ":" + std::getenv("PATH")) {
    ::chmod(write(name, "#!/bin/sh\n" + text).c_str(), 0755);
  }

 private:
  Variable path_;
};

bool is_empty(const ScratchFolder& folder) { return std::filesystem::is_empty(folder.path()); }

TEST(Doctor, MeasuresAFolderAndLeavesNothingThere) {
  const ScratchFolder folder;
  const std::vector<Finding> found = check_storage(folder.path(), 3 << 20, true);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].name, "disk");
  EXPECT_EQ(found[0].grade, Grade::kFine);
  EXPECT_NE(found[0].text.find(" free, writes "), std::string::npos) << found[0].text;
  EXPECT_EQ(found[1].text, "locks work: a second run in a folder is refused");
  EXPECT_TRUE(is_empty(folder));
}

TEST(Doctor, AFolderThatCannotBeWrittenToIsBrokenWhereItIsAskedFor) {
  const ScratchFolder folder;
  for (const bool required : {true, false}) {
    const std::vector<Finding> found = check_storage(folder.file("none"), 1, required);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].grade, required ? Grade::kBroken : Grade::kLacking);
    EXPECT_EQ(can_train(found), !required);
    EXPECT_NE(found[0].cure, "");
  }
  EXPECT_EQ(run_program({"doctor", "--output_dir", folder.file("none")}).code, 1);
}

TEST(Doctor, ASignalEndsTheWritingAndLeavesNothing) {
  const ScratchFolder folder;
  const StopSignals signals;
  ::raise(SIGTERM);
  testing::expect_error([&] { check_storage(folder.path(), 1 << 20, true); }, "signal");
  EXPECT_TRUE(is_empty(folder));
}

TEST(Doctor, SharedMemoryThatIsNotThereIsNamed) {
  EXPECT_EQ(check_shared_memory("/nowhere").grade, Grade::kLacking);
  EXPECT_NE(check_shared_memory("/nowhere").cure.find("/nowhere"), std::string::npos);
}

TEST(Doctor, ProgramsEndWithTheirTime) {
  const Stopwatch watch;
  const ProgramResult slow = run_program_for({"sh", "-c", "echo begun; sleep 60"}, {}, 0.3);
  EXPECT_TRUE(slow.timed_out);
  EXPECT_EQ(slow.output, "begun\n");
  EXPECT_LT(watch.seconds(), 30);
  const ProgramResult quick = run_program_for({"sh", "-c", "echo $A >&2; exit 7"}, {"A=b"}, 60);
  EXPECT_FALSE(quick.timed_out);
  EXPECT_EQ(quick.code, 7);
  EXPECT_EQ(quick.output, "b\n");
  EXPECT_FALSE(run_program_for({"no-such-program"}, {}, 60).started);
}

TEST(Doctor, SaysWhyTwoRanksDoNotRun) {
  {
    const ProgramInPath failing("mpirun", "echo ------; echo the network is down; exit 3\n");
    const Finding found = test_two_ranks(60);
    EXPECT_EQ(found.text, "failed with exit code 3: the network is down");
    EXPECT_EQ(found.grade, Grade::kLacking);
  }
  {
    const ProgramInPath stuck("mpirun", "echo waiting for a host; exec sleep 60\n");
    const Finding found = test_two_ranks(0.3);
    EXPECT_NE(found.text.find("did not end within"), std::string::npos) << found.text;
    EXPECT_NE(found.text.find("waiting for a host"), std::string::npos) << found.text;
  }
  const Variable nowhere("PATH", "/nowhere");
  EXPECT_EQ(test_two_ranks(60).cure, "apt-get install openmpi-bin");
}

TEST(Doctor, KnowsLocales) {
  const auto with = [](const char* value) {
    return check_locale([&](const char* name) -> const char* {
      return std::string_view(name) == "LC_ALL" ? value : nullptr;
    });
  };
  EXPECT_EQ(with("C.UTF-8").text, "C.UTF-8 (LC_ALL): UTF-8");
  EXPECT_EQ(with("xx_YY.UTF-8").text, "xx_YY.UTF-8 (LC_ALL): not installed");
  EXPECT_EQ(with("xx_YY.UTF-8").cure, "export LC_ALL=C.UTF-8");
  EXPECT_EQ(with(nullptr).grade, Grade::kLacking);
}

TEST(Doctor, KnowsContainers) {
  const ScratchFolder root;
  std::filesystem::create_directories(root.file("etc"));
  root.write("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 7\"\n");
  const auto none = [](const char*) -> const char* { return nullptr; };
  EXPECT_TRUE(describe_system(root.path(), none).text.starts_with("Some Linux 7, kernel "));
  EXPECT_EQ(describe_system(root.path(), none).text.find(", in "), std::string::npos);
  root.write(".dockerenv", "");
  EXPECT_TRUE(describe_system(root.path(), none).text.ends_with(", in Docker"));
}

TEST(Doctor, AReportHasNoPathsAndNoNames) {
  const std::vector<PrivateName> names = {{"hf_0123456789", "(hidden)"},
                                          {"/home/jane", "(home)"},
                                          {"jane", "(user)"},
                                          {"node7", "(host)"}};
  const auto told = [&](const std::string& text) { return without_names(text, names); };
  EXPECT_EQ(told("in /home/jane/keys/a.txt, by jane"), "in (home)(path), by (user)");
  EXPECT_EQ(told("janes node71 is not node7"), "janes node71 is not (host)");
  EXPECT_EQ(told("/scratch/x/lib/libnccl.so.2: gone"), "(path)/libnccl.so.2: gone");
  EXPECT_EQ(told("/usr/lib/libmpi.so.40"), "/usr/lib/libmpi.so.40");
  EXPECT_EQ(told("token=hf_0123456789abc"), "token=(hidden)abc");
  EXPECT_EQ(told("writes 46 MiB/s"), "writes 46 MiB/s");
}

TEST(Doctor, SecretsOfTheEnvironmentAreInNoOutput) {
  const ProgramInPath telling("mpirun", "echo I saw $HF_TOKEN in $SECRET_PLACE; exit 1\n");
  const std::string token = "hf_PlantedTokenOfATest", place = "/planted/place of/secrets";
  const Variable a("HF_TOKEN", token), b("SECRET_PLACE", place), c("WANDB_API_KEY", "planted-key"),
      d("TESSERA_CUDA_LIBRARY_PATH", "/planted/libraries"), e("OMP_NUM_THREADS", "2");
  const Outcome o = run_program({"doctor", "--report"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(o.out.starts_with("```\ntessera ")) << o.out;
  EXPECT_TRUE(o.out.ends_with("```\n")) << o.out;
  EXPECT_NE(o.out.find("I saw (hidden) in (hidden)"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("OMP_NUM_THREADS=2"), std::string::npos) << o.out;
  for (const char* secret : {"anted", "secrets", "hf_"}) {
    EXPECT_EQ(o.out.find(secret), std::string::npos) << secret << " in " << o.out;
  }
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  EXPECT_TRUE(std::string(host).size() < 2 || o.out.find(host) == std::string::npos) << o.out;
}

TEST(Doctor, JsonNamesEveryCheckAndItsState) {
  const Outcome o = run_program({"doctor", "--json"});
  EXPECT_EQ(o.code, 0) << o.err;
  const json all = json::parse(o.out);
  EXPECT_EQ(all["can_train"], true);
  std::set<std::string> names;
  for (const json& check : all["checks"]) {
    names.insert(check["name"].get<std::string>());
    EXPECT_EQ(check["state"] != "ok", check.contains("cure")) << check;
  }
  for (const char* name : {"cpu", "ranks", "hub", "system", "disk", "shm", "limits", "two ranks"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(Doctor, WritesACureBelowWhatIsMissing) {
  const std::vector<Finding> findings = {{"disk", "fine"},
                                         {"hub", "no libcurl", Grade::kLacking, "get it"}};
  EXPECT_EQ(to_text(findings), "disk       fine\nhub        no libcurl\n           -> get it\n");
  EXPECT_TRUE(can_train(findings));
}

}  // namespace
}  // namespace tessera::launch
