#include "launch/text/jinja/failure.h"

namespace tessera::launch::jinja {

void Budget::fail_steps() {
  throw LimitFailure(fmt::format("the template takes more than {} steps", kMaxSteps));
}

void Budget::fail_bytes() {
  throw LimitFailure(fmt::format("a text grows beyond {} MiB", kMaxTextBytes >> 20));
}

void Budget::fail_level() {
  throw LimitFailure(fmt::format("macros and loops recurse more than {} levels", kMaxCalls));
}

}  // namespace tessera::launch::jinja
