// Where the tokens of large data sets are kept between runs. An entry is one file, whose name is
// the hash of all that its tokens depend on; it appears whole. Of several processes that want one
// that is not there, one makes it and the others wait for it.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launch/console/progress.h"
#include "launch/data/sample_store.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

class TokenCache {
 public:
  /// Source files of fewer bytes than this, in all, are tokenized anew in every run, unless the
  /// user names a folder for the cache.
  static constexpr uint64_t kWorthwhile = uint64_t{64} << 20;

  /// `folder` is the user's; nothing: tessera/tokens in the user's cache ($XDG_CACHE_HOME, else
  /// ~/.cache).
  explicit TokenCache(const std::optional<std::string>& folder);

  /// What `make` writes and says of it. `key` names everything that it depends on; the program
  /// itself, another build of which may encode otherwise, is added. Error with the cure where the
  /// folder cannot be written.
  std::shared_ptr<const SampleStore> get(const nlohmann::json& key,
                                         FunctionRef<nlohmann::json(SampleWriter&)> make,
                                         Console* console) const;
  /// The file of an entry.
  std::string path_of(const nlohmann::json& key) const;

 private:
  std::string folder_;
};

}  // namespace tessera::launch
