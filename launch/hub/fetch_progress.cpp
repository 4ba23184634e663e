#include "launch/hub/fetch_progress.h"

#include <algorithm>

#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr double kLiveSeconds = 0.2;
constexpr double kLineSeconds = 10;

}  // namespace

FetchProgress::FetchProgress(std::string what, size_t files, uint64_t bytes, Console& console)
    : what_(std::move(what)), files_(files), bytes_(bytes), console_(console) {}

void FetchProgress::begin_file(const std::string& name) {
  file_ = name;
  ++number_;
  if (console_.is_terminal()) show();
}

void FetchProgress::keep(uint64_t bytes) { done_ += bytes; }

void FetchProgress::add(uint64_t bytes) {
  done_ += bytes;
  fetched_ += bytes;
  const double since = watch_.seconds() - shown_;
  if (since < (console_.is_terminal() ? kLiveSeconds : kLineSeconds)) return;
  show();
}

void FetchProgress::take_back(uint64_t bytes) { done_ -= std::min(bytes, done_); }

void FetchProgress::show() {
  const double seconds = watch_.seconds();
  std::string text = fmt::format("fetching {}: file {} of {} ({}), {} of {}", what_, number_,
                                 files_, io::printable(file_, 60), format_bytes(int64_t(done_)),
                                 format_bytes(int64_t(bytes_)));
  if (fetched_ > 0 && seconds > 0) {
    const double speed = double(fetched_) / seconds;
    const uint64_t rest = bytes_ - std::min(done_, bytes_);
    text +=
        fmt::format(", {:.1f} MB/s, {} left", speed / 1e6, format_duration(double(rest) / speed));
  }
  console_.is_terminal() ? console_.live(text) : console_.line(text);
  shown_ = seconds;
}

void FetchProgress::finish() {
  console_.line(fmt::format("fetched {}: {} {}, {} in {}", what_, files_,
                            files_ == 1 ? "file" : "files", format_bytes(int64_t(bytes_)),
                            format_duration(watch_.seconds())));
}

}  // namespace tessera::launch
