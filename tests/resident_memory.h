// For tests: whether resident memory is the program's own, or a sanitizer's too.
#pragma once

namespace tessera::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kMeasuresOwnMemory = false;
#else
inline constexpr bool kMeasuresOwnMemory = true;
#endif

}  // namespace tessera::testing
