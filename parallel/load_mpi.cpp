#include "parallel/load_mpi.h"

#include <dlfcn.h>

#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/shared_library.h"

namespace tessera::parallel {

namespace {

/// Error where it cannot be loaded. Stays loaded.
const MpiModule& load_mpi() {
  static const MpiModule& module = [&]() -> const MpiModule& {
    const std::string path = module_beside_program("tessera_mpi.so");
    // Its own modules expect to find MPI's symbols.
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (!library) fail("MPI cannot be loaded: {}", dlerror());
    return *static_cast<const MpiModule*>(dlsym(library, kMpiModule));
  }();
  return module;
}

}  // namespace

std::unique_ptr<Communicator> start_mpi(MpiOptions options) {
  return load_mpi().start(std::move(options));
}

std::string describe_mpi() {
  try {
    return load_mpi().describe();
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace tessera::parallel
