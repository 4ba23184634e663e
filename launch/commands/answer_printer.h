// Where finished answers go: to stdout as they are made, to stdout as lines in the order of the
// prompts, or to a file as they are finished.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "launch/console/progress.h"
#include "launch/run/answers.h"

namespace tessera::launch {

/// One answer's text, as it is made.
class StreamedAnswer {
 public:
  /// Prints what is new in the text so far.
  void print(const std::string& text);
  void end() { write_stdout("\n"); }

 private:
  size_t printed_ = 0;
};

/// A line for each answer.
class AnswerLines {
 public:
  /// With `whole` the line is the answer's row, else {"text": ...}.
  explicit AnswerLines(bool whole) : whole_(whole) {}

  /// Prints it as soon as those of all places before are printed.
  void add(uint64_t place, const Answer& answer);
  uint64_t printed() const { return printed_; }

 private:
  bool whole_;
  std::map<uint64_t, std::string> waiting_;
  uint64_t printed_ = 0;
};

/// How far a long piece of work is: a live line on a terminal, elsewhere a line every half minute.
class AnswerProgress {
 public:
  AnswerProgress(Console& console, uint64_t answers, uint64_t already)
      : console_(console), answers_(answers), already_(already) {}

  void token();
  void answer() { ++done_; }
  uint64_t done() const { return already_ + done_; }
  /// "12 of 100 answers, 3,401 tokens in 20s (170 tokens/s)": what is done now.
  std::string line() const;

 private:
  Console& console_;
  uint64_t answers_;
  uint64_t already_;
  uint64_t done_ = 0;
  int64_t tokens_ = 0;
  Stopwatch watch_;
  double shown_ = 0;
};

}  // namespace tessera::launch
