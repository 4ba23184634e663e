#include "launch/machine/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

std::atomic<int> stop_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // so that a handler may use it
std::atomic<int> listeners = 0;
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1};

void on_signal(int number) {
  if (number == SIGINT && stop_signal == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
    return;
  }
  stop_signal = number;
}

void set_handler(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, nullptr);
}

void set_handlers(void (*handler)(int)) {
  for (int number : kSignals) set_handler(number, handler);
}

std::atomic<int> status_pipe = -1;  // its writing end, while somebody listens

void on_status_signal(int) {
  const int saved = errno;
  // A full pipe has questions enough.
  [[maybe_unused]] const ssize_t written = ::write(status_pipe, "?", 1);
  errno = saved;
}

}  // namespace

StopSignals::StopSignals() {
  if (listeners++ > 0) return;
  stop_signal = 0;
  set_handlers(on_signal);
}

StopSignals::~StopSignals() {
  if (--listeners == 0) set_handlers(SIG_DFL);
}

int StopSignals::received() { return stop_signal; }

StatusSignal::StatusSignal(std::function<std::string()> describe) : describe_(std::move(describe)) {
  TESSERA_CHECK(status_pipe == -1);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot make a pipe: {}", std::strerror(errno));
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  reading_ = ends[0];
  status_pipe = ends[1];
  thread_ = std::thread([this] { answer(); });
  set_handler(SIGUSR2, on_status_signal);
}

StatusSignal::~StatusSignal() {
  set_handler(SIGUSR2, SIG_IGN);  // one that comes late must not end the process
  ::close(status_pipe.exchange(-1));
  thread_.join();
  ::close(reading_);
}

void StatusSignal::answer() {
  char asked;
  while (true) {
    const ssize_t got = ::read(reading_, &asked, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got != 1) return;  // the other end is closed
    const std::string line = describe_() + "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  }
}

void ignore_closed_pipes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace tessera::launch
