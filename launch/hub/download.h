// One file of the hub into the cache's blobs: resumed, checked, fetched once more where it is not
// what the hub lists.
#pragma once

#include "launch/hub/cache.h"
#include "launch/hub/fetch_progress.h"
#include "launch/hub/http.h"

namespace tessera::launch {

/// Where the files of a repository come from.
struct HubSource {
  const HubSettings& settings;
  const HubName& name;
  const CachedRepository& cached;
  Http& http;
  Console& console;

  std::string url_of(const std::string& commit, const std::string& file) const;
};

/// Asks the hub for the size and the blob of a file whose listing does not have them.
void ask_about(const HubSource& source, const std::string& commit, HubFile& file);

/// Makes the blob of the file, which is_known(), unless it is there. Error of one line; what was
/// fetched stays for the next time.
void download(const HubSource& source, const std::string& commit, const HubFile& file,
              FetchProgress& progress);

}  // namespace tessera::launch
