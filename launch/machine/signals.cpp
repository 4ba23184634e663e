#include "launch/machine/signals.h"

#include <atomic>
#include <csignal>

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

void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  for (int number : kSignals) sigaction(number, &action, nullptr);
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

void ignore_closed_pipes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace tessera::launch
