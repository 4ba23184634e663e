// What a look at this machine finds: a fact, whether something is missing, and what brings it.
#pragma once

#include <string>

namespace tessera::launch {

struct Finding {
  enum class Grade {
    kFine,
    kLacking,  // training runs, but not all of it
    kBroken,   // training cannot run
  };

  std::string name;  // of the row; empty: it goes on with the row before
  std::string text;  // one line
  Grade grade = Grade::kFine;
  std::string cure = {};  // a command, or what to do; empty where nothing is to be done
};

}  // namespace tessera::launch
