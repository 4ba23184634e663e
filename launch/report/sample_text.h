// A sample for a terminal: its text with what is learned in colour or between marks, or its tokens
// one by one.
#pragma once

#include <string>

#include "launch/report/data_summary.h"

namespace tessera::launch {

/// What the colours, or the marks, of a sample's text mean.
std::string sample_legend(bool colour);

/// The whole text, indented; a line's end is shown as ↵.
std::string sample_text(const SampleSummary& sample, bool colour);

/// A line for each token: its index, its id, its text, whether it is learned, and the token that is
/// predicted at its place.
std::string token_table(const SampleSummary& sample, bool colour);

}  // namespace tessera::launch
