#include "launch/machine/cuda_libraries.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// What is in `folder`, in the order of names; nothing where it cannot be read.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  std::ranges::sort(entries);
  return entries;
}

/// Folders, each once, if it exists.
class Folders {
 public:
  void add(const fs::path& folder) {
    std::error_code error;
    if (!fs::is_directory(folder, error) || std::ranges::count(all_, folder.string()) > 0) return;
    all_.push_back(folder);
  }
  /// Of the toolkit that is installed in `home`.
  void add_toolkit(const fs::path& home) {
    add(home / "lib64");
    add(home / "targets/x86_64-linux/lib");
  }
  /// Of the Python packages under `prefix`: nvidia/cublas/lib, nvidia/nccl/lib, nvidia/cu13/lib.
  void add_python(const fs::path& prefix) {
    for (const fs::path& python : entries_of(prefix / "lib")) {
      if (!python.filename().string().starts_with("python3")) continue;
      for (const char* packages : {"site-packages", "dist-packages"}) {
        for (const fs::path& package : entries_of(python / packages / "nvidia")) {
          add(package / "lib");
        }
      }
    }
  }
  std::vector<std::string> take() { return std::move(all_); }

 private:
  std::vector<std::string> all_;
};

std::vector<std::string> parts_of(const char* path) {
  std::vector<std::string> parts;
  std::stringstream all(path ? path : "");
  for (std::string part; std::getline(all, part, ':');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

}  // namespace

LibraryFolders cuda_library_folders(FunctionRef<const char*(const char*)> variable,
                                    const std::string& root) {
  Folders last;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* home = variable(name)) last.add_toolkit(home);
  }
  last.add_toolkit(fs::path(root) / "usr/local/cuda");
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const char* prefix = variable(name)) last.add_python(prefix);
  }
  for (const std::string& folder : parts_of(variable("PATH"))) {
    std::error_code error;
    if (fs::exists(fs::path(folder) / "python3", error)) {
      last.add_python((fs::path(folder) / "python3").parent_path().parent_path());
    }
  }
  if (const char* home = variable("HOME")) last.add_python(fs::path(home) / ".local");
  last.add_python(fs::path(root) / "usr/local");
  last.add_python(fs::path(root) / "usr");
  return {parts_of(variable("TESSERA_CUDA_LIBRARY_PATH")), last.take(),
          "TESSERA_CUDA_LIBRARY_PATH may name its folder"};
}

void use_cuda_library_folders() {
  set_library_folders(
      cuda_library_folders([](const char* name) { return std::getenv(name); }, "/"));
}

}  // namespace tessera::launch
