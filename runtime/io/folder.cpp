#include "runtime/io/folder.h"

#include <algorithm>
#include <system_error>

#include "runtime/core/error.h"

namespace tessera::io {
namespace {

namespace fs = std::filesystem;

fs::file_status status_of(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  // "Not found" is an answer, and is also reported as an error.
  if (status.type() == fs::file_type::none) {
    fail("cannot look at {}: {}", path.string(), error.message());
  }
  return status;
}

}  // namespace

bool exists(const fs::path& path) { return fs::exists(status_of(path)); }

bool is_folder(const fs::path& path) { return fs::is_directory(status_of(path)); }

fs::path absolute(const fs::path& path) {
  std::error_code error;
  const fs::path full = fs::absolute(path / ".", error);
  if (error) fail("cannot find the folder that {} is below: {}", path.string(), error.message());
  return full.lexically_normal().parent_path();
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) fail("cannot list the folder {}: {}", folder.string(), error.message());
  std::ranges::sort(names);
  return names;
}

void make_folders(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("cannot make the folder {}: {}", path.string(), error.message());
}

void remove_all(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail("cannot remove {}: {}", path.string(), error.message());
}

}  // namespace tessera::io
