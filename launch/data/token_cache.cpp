#include "launch/data/token_cache.h"

#include <chrono>
#include <cstdlib>
#include <thread>

#include "launch/config/user_path.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/hash.h"
#include "runtime/io/lock_file.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKey = "key";  // in what is said of an entry

std::string default_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const std::string above = cache && *cache ? cache : read_user_path("~/.cache").path;
  return (fs::path(above) / "tessera" / "tokens").string();
}

/// Of this build.
const std::string& program_hash() {
  static const std::string hash = io::hash_file("/proc/self/exe");
  return hash;
}

nlohmann::json whole_key(const nlohmann::json& key) {
  return {{"program", program_hash()}, {"tokens of", key}};
}

std::shared_ptr<const SampleStore> find(const std::string& path, const nlohmann::json& key) {
  std::optional<SampleStore> store = SampleStore::open(path);
  if (!store || store->about().value(kKey, nlohmann::json()) != key) return nullptr;
  return std::make_shared<const SampleStore>(std::move(*store));
}

/// Waits until nobody else makes the entry.
std::unique_ptr<io::LockFile> take_lock(const std::string& path, Console* console) {
  while (true) {
    auto lock = std::make_unique<io::LockFile>(path);
    if (lock->state() == io::LockFile::State::kHeld) {
      lock->write_holder("this data set is tokenized");
      return lock;
    }
    if (lock->state() == io::LockFile::State::kUnsupported) {
      fail("{}: the file system has no locks; set dataset_prepared_path to a folder on another",
           path);
    }
    if (console) console->live("waiting for another process, which tokenizes this data set");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace

TokenCache::TokenCache(const std::optional<std::string>& folder)
    : folder_(folder.value_or(default_folder())) {}

std::string TokenCache::path_of(const nlohmann::json& key) const {
  const std::string text = whole_key(key).dump();
  const uint64_t hash = io::hash_bytes(std::as_bytes(std::span(text)), 0);
  return (fs::path(folder_) / fmt::format("{:016x}.tokens", hash)).string();
}

std::shared_ptr<const SampleStore> TokenCache::get(const nlohmann::json& key,
                                                   FunctionRef<nlohmann::json(SampleWriter&)> make,
                                                   Console* console) const {
  try {
    io::make_folders(folder_);
  } catch (const Error& error) {
    fail(
        "{}; the tokens of large data sets are kept there: set dataset_prepared_path to a folder "
        "that can be written",
        error.what());
  }
  const std::string path = path_of(key);
  if (auto store = find(path, whole_key(key))) return store;
  const auto lock = take_lock(path + ".lock", console);
  if (auto store = find(path, whole_key(key))) return store;
  SampleWriter writer(path);
  nlohmann::json about = make(writer);
  about[kKey] = whole_key(key);
  return std::make_shared<const SampleStore>(writer.finish(std::move(about)));
}

}  // namespace tessera::launch
