// `tessera doctor`: what this machine has, and whether Tessera runs on it.
#pragma once

#include <string>

namespace tessera::launch {

/// The report; a text of lines.
std::string diagnose();

}  // namespace tessera::launch
