// What a person sees while files are fetched: one live line, or a line now and then where nobody
// watches a terminal.
#pragma once

#include <string>

#include "launch/console/progress.h"

namespace tessera::launch {

class FetchProgress {
 public:
  /// `bytes`: of all files, with what was fetched before.
  FetchProgress(std::string what, size_t files, uint64_t bytes, Console& console);

  void begin_file(const std::string& name);
  /// So much of the file is here from an earlier time.
  void keep(uint64_t bytes);
  void add(uint64_t bytes);
  /// So much of the file is to be fetched once more.
  void take_back(uint64_t bytes);
  /// A last line, which stays.
  void finish();

 private:
  void show();

  std::string what_;
  size_t files_;
  uint64_t bytes_;
  Console& console_;
  Stopwatch watch_;
  std::string file_;
  size_t number_ = 0;
  uint64_t done_ = 0;
  uint64_t fetched_ = 0;  // now
  double shown_ = 0;      // seconds
};

}  // namespace tessera::launch
