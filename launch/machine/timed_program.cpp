#include "launch/machine/timed_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "launch/console/progress.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

constexpr int kNotFound = 127;  // as shells say it
constexpr size_t kMostOutput = size_t{64} << 10;
constexpr double kToEnd = 2;  // seconds for a program that was asked to end

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void become(const std::vector<char*>& arguments, const std::vector<char*>& extra,
                         int output) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  for (char* const variable : extra) {
    if (variable) ::putenv(variable);
  }
  const int input = ::open("/dev/null", O_RDONLY);
  if (input >= 0 && ::dup2(input, 0) == 0 && ::dup2(output, 1) == 1 && ::dup2(output, 2) == 2) {
    ::execvp(arguments[0], arguments.data());
  }
  ::_exit(kNotFound);
}

/// Reads until the program closes its output. False where the time ends first.
bool read_all(int from, std::string& output, double seconds) {
  const Stopwatch watch;
  std::array<char, 4096> piece;
  for (;;) {
    const double left = seconds - watch.seconds();
    if (left <= 0) return false;
    pollfd ready{from, POLLIN, 0};
    const int events = ::poll(&ready, 1, int(left * 1000) + 1);
    if (events < 0 && errno != EINTR) return true;
    if (events <= 0) continue;
    const ssize_t n = ::read(from, piece.data(), piece.size());
    if (n <= 0) return true;
    output.append(piece.data(), std::min(size_t(n), kMostOutput - output.size()));
  }
}

}  // namespace

ProgramResult run_program_for(const std::vector<std::string>& arguments,
                              const std::vector<std::string>& extra, double seconds) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot make a pipe: {}", std::strerror(errno));
  const std::vector<char*> argv = pointers_to(arguments), added = pointers_to(extra);
  const pid_t child = ::fork();
  if (child == 0) become(argv, added, ends[1]);
  ::close(ends[1]);
  ProgramResult result;
  if (child > 0) {
    result.timed_out = !read_all(ends[0], result.output, seconds);
    if (result.timed_out) {
      ::kill(child, SIGTERM);
      std::string rest;
      if (!read_all(ends[0], rest, kToEnd)) ::kill(-child, SIGKILL);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.started = result.code != kNotFound || !result.output.empty();
  }
  ::close(ends[0]);
  if (child < 0) fail("cannot start {}: {}", arguments[0], std::strerror(errno));
  return result;
}

}  // namespace tessera::launch
