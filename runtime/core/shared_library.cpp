#include "runtime/core/shared_library.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/core/error.h"

namespace tessera {
namespace {

LibraryFolders& library_folders() {
  static LibraryFolders folders;
  return folders;
}

/// The first in `folders` that can be opened, or null; `faults` gets why those that are there
/// cannot.
void* open_in(const std::vector<std::string>& folders, const std::string& file,
              std::vector<std::string>& faults) {
  for (const std::string& folder : folders) {
    const std::string path = folder + "/" + file;
    if (access(path.c_str(), F_OK) != 0) continue;
    if (void* library = dlopen(path.c_str(), RTLD_NOW)) return library;
    faults.emplace_back(dlerror());
  }
  return nullptr;
}

void* open(const std::string& file) {
  const auto& [first, last, cure] = library_folders();
  std::vector<std::string> faults;
  const auto give_up = [&] {
    fail("{}{}", fmt::join(faults, "; "), cure.empty() ? "" : fmt::format(" ({})", cure));
  };
  if (void* library = open_in(first, file, faults)) return library;
  if (!faults.empty()) give_up();  // the user named it
  if (void* library = dlopen(file.c_str(), RTLD_NOW)) return library;
  faults.emplace_back(dlerror());
  if (void* library = open_in(last, file, faults)) return library;
  std::vector<std::string> searched = first;
  searched.insert(searched.end(), last.begin(), last.end());
  if (!searched.empty()) faults.push_back(fmt::format("looked in {}", fmt::join(searched, ", ")));
  give_up();
  return nullptr;
}

std::string path_of(void* library) {
  const link_map* map = nullptr;
  return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : "";
}

}  // namespace

void set_library_folders(LibraryFolders folders) { library_folders() = std::move(folders); }

std::string module_beside_program(const std::string& file) {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) fail("{} cannot be found: /proc/self/exe: {}", file, error.message());
  const std::filesystem::path folder = program.parent_path();
  const std::string beside = folder / "lib/tessera" / file;
  if (access(beside.c_str(), F_OK) == 0) return beside;
  return folder.parent_path() / "lib/tessera" / file;
}

SharedLibrary::SharedLibrary(const std::string& file, const char* function) : file_(file) {
  if (dlsym(RTLD_DEFAULT, function)) {
    handle_ = RTLD_DEFAULT;
    place_ = "the program";
  } else {
    handle_ = open(file);
    place_ = path_of(handle_);
  }
}

void* SharedLibrary::address_of(const char* name) const {
  void* const address = dlsym(handle_, name);
  if (!address) fail("{} ({}) has no {}: it is of another version", file_, place_, name);
  return address;
}

}  // namespace tessera
