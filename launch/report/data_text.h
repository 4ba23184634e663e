// The content of `tessera data` for a terminal, or for a file of text.
#pragma once

#include <cstdint>
#include <string>

#include "launch/report/data_summary.h"

namespace tessera::launch {

struct DataTextOptions {
  size_t columns = 80;     // of the terminal; samples are as wide as their lines
  bool colour = false;     // else what is learned stands between marks
  bool tokens = false;     // samples token by token
  int64_t lost_rows = 10;  // that are named
};

std::string data_text(const DataSummary& data, const DataTextOptions& options);

}  // namespace tessera::launch
