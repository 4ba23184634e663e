#include "launch/ranks.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "launch/agreement.h"
#include "parallel/launcher.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

const auto environment = [](const char* name) -> const char* { return std::getenv(name); };

int say_and_fail(int rank, std::string_view message) {
  fmt::print(stderr, "tessera: rank {}: {}\n", rank, message);
  return int(Fault::kFailure);
}

}  // namespace

int run_on_ranks(FunctionRef<int(parallel::Communicator&)> body) {
  const auto world = parallel::start_world(environment, say_and_fail);
  if (world->size() == 1) return body(*world);
  try {
    return body(*world);
  } catch (const SharedError& error) {
    if (world->rank() == 0) fmt::print(stderr, "tessera: {}\n", error.what());
    return int(error.fault());
  } catch (const std::exception& error) {
    world->abort(error.what());
    return int(Fault::kFailure);
  }
}

void require_alone(const char* command) {
  if (const auto launcher = parallel::find_launcher(environment)) {
    fail_usage("{} runs as one process, but {} started several; leave that out", command,
               launcher->name);
  }
}

}  // namespace tessera::launch
