#include "runtime/core/error.h"

namespace tessera {

void check_failed(const char* condition, const char* file, int line) {
  throw std::logic_error(
      fmt::format("internal error: {} does not hold at {}:{}", condition, file, line));
}

}  // namespace tessera
