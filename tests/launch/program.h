// For tests: the built program as a child process.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "tests/scratch_folder.h"

namespace tessera::testing {

struct Outcome {
  int code = -1;  // 128 + the signal's number where one ended the process
  std::string out;
  std::string err;
};

/// A child whose stderr is read here and whose stdout goes to a file. The pipe is made small, so
/// that a child that prints cannot run far ahead of what was read.
class Program {
 public:
  explicit Program(std::vector<std::string> args, const std::string& input = "",
                   const std::string& out = "") {
    out_ = out.empty() ? folder_.file("out") : out;
    args.insert(args.begin(), TESSERA_PROGRAM);
    folder_.write("in", input);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
    ::fcntl(ends[0], F_SETPIPE_SZ, 4096);
    child_ = ::fork();
    if (child_ == 0) start(args, ends[1]);
    ::close(ends[1]);
    err_end_ = ends[0];
  }
  ~Program() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(err_end_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Reads on until `text` stands in stderr. False when it ends without.
  bool wait_for(const std::string& text) {
    while (err_.find(text) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  /// The same until stderr has so many lines.
  bool wait_for_lines(size_t lines) {
    while (size_t(std::count(err_.begin(), err_.end(), '\n')) < lines) {
      if (!read_some()) return false;
    }
    return true;
  }
  /// Waits until `holds()`. False when the program ends before.
  template <typename Condition>
  bool wait_until(const Condition& holds) const {
    while (!holds()) {
      siginfo_t ended = {};
      ::waitid(P_PID, id_t(child_), &ended, WEXITED | WNOHANG | WNOWAIT);
      if (ended.si_pid != 0) return holds();
      ::usleep(100);
    }
    return true;
  }
  void send(int signal) const { ::kill(child_, signal); }

  Outcome wait() {
    while (read_some()) {
    }
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    Outcome outcome;
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome.err = err_;
    if (out_ == folder_.file("out")) outcome.out = bytes_of_file(out_);
    return outcome;
  }

 private:
  [[noreturn]] void start(const std::vector<std::string>& args, int err) const {
    std::vector<char*> argv;
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    const int in = ::open(folder_.file("in").c_str(), O_RDONLY);
    const int out = ::open(out_.c_str(), O_WRONLY | O_CREAT, 0600);
    if (in >= 0 && out >= 0 && ::dup2(in, 0) == 0 && ::dup2(out, 1) == 1 && ::dup2(err, 2) == 2) {
      ::execv(argv[0], argv.data());
    }
    ::_exit(127);
  }
  bool read_some() {
    char chunk[128];
    const ssize_t n = ::read(err_end_, chunk, sizeof chunk);
    if (n > 0) err_.append(chunk, size_t(n));
    return n > 0;
  }

  ScratchFolder folder_;
  std::string out_;
  std::string err_;
  pid_t child_ = -1;
  int err_end_ = -1;
};

inline Outcome run_program(const std::vector<std::string>& args, const std::string& input = "") {
  return Program(args, input).wait();
}

}  // namespace tessera::testing
