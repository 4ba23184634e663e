#include "launch/config/user_path.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "launch/config/flags.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::error_of;
using tessera::testing::ScratchFolder;

class UserPaths : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* home = std::getenv("HOME")) before_ = home;
    ::setenv("HOME", "/home of/me", 1);
  }
  void TearDown() override { ::setenv("HOME", before_.c_str(), 1); }

  std::string path_of(const std::string& written) {
    const UserPath path = read_user_path(written);
    EXPECT_EQ(path.fault, "") << written;
    return path.path;
  }

  ScratchFolder folder_;
  std::string before_;
};

TEST_F(UserPaths, ALeadingTildeIsTheHomeFolder) {
  EXPECT_EQ(path_of("~"), "/home of/me");
  EXPECT_EQ(path_of("~/"), "/home of/me/");
  EXPECT_EQ(path_of("~/runs/x"), "/home of/me/runs/x");
  ::setenv("HOME", "/trailing//", 1);
  EXPECT_EQ(path_of("~/x"), "/trailing/x");
  ::setenv("HOME", "/", 1);
  EXPECT_EQ(path_of("~/x"), "/x");
  EXPECT_EQ(path_of("~"), "/");
  const passwd* me = getpwuid(getuid());
  if (me == nullptr) return;
  const std::string home = me->pw_dir, name = me->pw_name;
  ::setenv("HOME", "", 1);
  EXPECT_EQ(path_of("~/x"), home + "/x");
  ::setenv("HOME", "not/absolute", 1);
  EXPECT_EQ(path_of("~/x"), home + "/x");
  ::unsetenv("HOME");
  EXPECT_EQ(path_of("~/x"), home + "/x");
  ::setenv("HOME", "/elsewhere", 1);
  EXPECT_EQ(path_of("~" + name + "/x"), home + "/x");
  EXPECT_EQ(path_of("~" + name), home);
}

TEST_F(UserPaths, AllOtherPathsStayAsTheyAre) {
  for (const std::string path :
       {"a", "./~", "./~me/x", "a/~/b", "a~", "/abs/x/", "../up", "with space", "cost 5$", "a$1",
        "x:y", "a//b", "://", "ünï", "hub/name", "-", " ~/x"}) {
    EXPECT_EQ(path_of(path), path);
  }
}

TEST_F(UserPaths, WhatIsNoPathIsRefusedByName) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "expected a path, got ''"},
      {std::string("a\0b", 3), "'a\\x00b' has a zero byte, which no path has"},
      {"file:///data/x", "expected a path of this machine, got the URL 'file:///data/x'"},
      {"hf://a/b", "expected a path of this machine, got the URL 'hf://a/b'"},
      {"$HOME/x",
       "'$HOME/x' names a variable, and those are not replaced; write the path out (a "
       "leading ~ is the home folder)"},
      {"runs/${NAME}",
       "'runs/${NAME}' names a variable, and those are not replaced; write the "
       "path out (a leading ~ is the home folder)"},
      {"~no-such-user/x",
       "'~no-such-user/x': the home folder of user 'no-such-user' is not known; "
       "write the path out, or ./~ for what is named so"},
  };
  for (const auto& [written, fault] : cases) EXPECT_EQ(read_user_path(written).fault, fault);
}

/// Every key that takes a path, found by its type.
TEST_F(UserPaths, HoldsForEveryKeyThatTakesOne) {
  int seen = 0;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      if (flag.type.find("path") == std::string::npos) continue;
      ++seen;
      const bool list = flag.name == "datasets";
      const auto text = [&](const std::string& path) {
        return fmt::format("optimizer: paged_adamw_8bit\n{}: {}\nreport_to: tensorboard\n",
                           flag.name, list ? "[{path: " + path + "}]" : path);
      };
      const Config config = load_config(folder_.write("x.yml", text("~/x/y")), {});
      EXPECT_NE(flag.write(config).find("\"/home of/me/x/y\""), std::string::npos)
          << flag.name << ": " << flag.write(config);
      // The resolved config has the path in full, wherever it is read.
      ::setenv("HOME", "/another", 1);
      Config again = load_config(folder_.write("again.yml", dump_config(config)), {});
      again.source = config.source;
      EXPECT_EQ(again, config) << flag.name;
      ::setenv("HOME", "/home of/me", 1);
      const std::string inner = list ? "datasets.0.path" : std::string(flag.name);
      EXPECT_EQ(load_config(folder_.write("x.yml", text("z")), std::vector{inner + "=~/x/y"}),
                config)
          << flag.name;
      EXPECT_EQ(error_of([&] { load_config(folder_.write("x.yml", text("$HOME/x")), {}); }),
                fmt::format("{}:2: {}: '$HOME/x' names a variable, and those are not replaced; "
                            "write the path out (a leading ~ is the home folder)",
                            folder_.file("x.yml"), inner));
    }
  }
  EXPECT_EQ(seen, 7)
      << "base_model, lora_model_dir, dataset_prepared_path, optimizer_page_dir, output_dir, "
         "resume_from_checkpoint, logging_dir";
}

}  // namespace
}  // namespace tessera::launch
