#include "parallel/load_mpi.h"

#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::parallel {

namespace {

namespace fs = std::filesystem;

/// Beside the program: in a build's folder, a folder above the tests, or as installed.
fs::path module_path() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (error) fail("MPI cannot be loaded: /proc/self/exe: {}", error.message());
  const fs::path name = "lib/tessera/tessera_mpi.so";
  return io::exists(folder / name) ? folder / name : folder.parent_path() / name;
}

/// Error where it cannot be loaded. Stays loaded.
const MpiModule& load_mpi() {
  static const MpiModule& module = [&]() -> const MpiModule& {
    // Its own modules expect to find MPI's symbols.
    void* const library = dlopen(module_path().c_str(), RTLD_NOW | RTLD_GLOBAL);
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
