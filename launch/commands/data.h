// `tessera data`: what a run will train on, before a step is taken.
#pragma once

#include <optional>
#include <string>

#include "launch/commands/data_summary.h"
#include "launch/console/progress.h"
#include "launch/report/data_text.h"

namespace tessera::launch {

struct DataOptions {
  SampleChoice samples = {};
  DataTextOptions text = {};
  int ranks = 1;
  bool json = false;                     // instead of text
  std::optional<std::string> html = {};  // a file for a page, beside what is printed
};

struct DataOutput {
  std::string text;  // or JSON
  int64_t lost_rows = 0;
};

/// Reads and tokenizes the data of a config as its run does, and keeps the tokens where it keeps
/// them. Loads no weights: a folder with a tokenizer alone is enough of a model.
DataOutput show_data(const Config& config, const DataOptions& options, Console& console);

/// How standard output is written to: its columns and whether it takes colours.
DataTextOptions text_options_of_stdout();

}  // namespace tessera::launch
