#include "launch/hub/retries.h"

#include <algorithm>
#include <thread>

namespace tessera::launch {
namespace {

constexpr uint64_t kLongestWish = 600;

const char* meaning_of(int status) {
  switch (status) {
    case 408:
      return " (the request took too long)";
    case 429:
      return " (too many requests from here)";
    case 500:
      return " (a fault of the server)";
    case 502:
    case 503:
    case 504:
      return " (the server is not available)";
    default:
      return "";
  }
}

}  // namespace

std::string describe_failure(const HttpAnswer& answer) {
  if (answer.end == HttpAnswer::End::kWhole) {
    return fmt::format("{} answers {}{}", answer.host, answer.head.status(),
                       meaning_of(answer.head.status()));
  }
  const bool begun = answer.head.status() != 0;
  return fmt::format("{} {}: {}", begun ? "lost the connection to" : "cannot reach", answer.host,
                     answer.fault);
}

bool Retries::again(const HttpAnswer& answer) {
  const bool passing = answer.end == HttpAnswer::End::kBroken || answer.is_busy();
  if (!passing || tries_ == most_) return false;
  uint64_t seconds = uint64_t(first_) << tries_;
  if (const auto wish = answer.head.retry_after()) seconds = std::min(*wish, kLongestWish);
  ++tries_;
  console_.line(
      fmt::format("{}; trying again{}", describe_failure(answer),
                  seconds > 0 ? fmt::format(" in {}", format_duration(double(seconds))) : ""));
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  return true;
}

}  // namespace tessera::launch
