// `tessera doctor`: what this machine has, and whether Tessera runs on it.
#pragma once

#include <string>

#include "launch/machine/device.h"

namespace tessera::launch {

/// The report on this machine, with `gpus`; a text of lines.
std::string diagnose(const Gpus& gpus);

}  // namespace tessera::launch
