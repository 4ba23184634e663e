// libstdc++'s std::random_device, which the program does not use but cannot leave out, asks for
// this function of glibc 2.36.
#include <sys/random.h>

#include <cstdlib>

extern "C" unsigned arc4random() noexcept {
  unsigned bits = 0;
  if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits)) std::abort();
  return bits;
}
