// TensorBoard's event files: records of the TFRecord format, each an Event of TensorFlow's
// event.proto. tensorboard shows them while the run goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "runtime/io/append_file.h"

namespace tessera::launch {

/// Seconds since 1970.
using WallClock = std::function<double()>;
double system_clock_seconds();

class TensorBoardFile {
 public:
  /// Begins a file in `folder`, which is made if it is not there. A run that goes on after
  /// `resumed_step` leaves the older files, and tensorboard drops what they have of later steps.
  /// With 0 the older files are removed. Error where the file cannot be written.
  TensorBoardFile(const std::string& folder, int64_t resumed_step, WallClock clock);
  TensorBoardFile(const std::string& folder, int64_t resumed_step)
      : TensorBoardFile(folder, resumed_step, system_clock_seconds) {}

  const std::string& path() const { return file_.path(); }

  /// Both: false where the value could not be written (a full disk). Then it is lost, and the file
  /// is as it was before: that must not end a run. What was written is there at once.
  bool scalar(std::string_view tag, int64_t step, double value);
  /// `text` is shown as Markdown.
  bool text(std::string_view tag, int64_t step, std::string_view text);

 private:
  io::AppendFile begin(const std::string& folder, int64_t resumed_step) const;
  /// An Event with the time, the step and `what`, one more of its fields.
  bool write_event(int64_t step, const std::string& what);

  WallClock clock_;
  io::AppendFile file_;
};

}  // namespace tessera::launch
