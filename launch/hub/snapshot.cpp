#include "launch/hub/snapshot.h"

#include <sys/statvfs.h>

#include <cstdlib>
#include <unordered_set>

#include "launch/hub/cache.h"
#include "launch/hub/download.h"
#include "launch/hub/refusals.h"
#include "launch/hub/retries.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

constexpr size_t kLargestAnswer = 64 << 20;
constexpr int kTriesToReach = 2;  // of a hub that was never reached
constexpr size_t kMissingNames = 3;

using Names = std::vector<std::string>;

/// Of the chosen files, those that the snapshot does not have.
std::vector<HubFile> missing_of(const CachedRepository& cached, const HubListing& listing,
                                const Names& chosen) {
  const std::unordered_set<std::string_view> wanted(chosen.begin(), chosen.end());
  std::vector<HubFile> missing;
  for (const HubFile& file : listing.files) {
    if (wanted.contains(file.name) && !cached.has(listing.commit, file)) missing.push_back(file);
  }
  return missing;
}

/// What the cache has of a revision.
struct CachedSnapshot {
  HubListing listing;
  bool is_listed = false;  // by the hub; else the listing is what the folder holds
  Names missing;           // of the chosen files
  std::string refusal;     // why none of its files can be chosen

  bool is_complete() const { return missing.empty() && refusal.empty(); }
};

/// Nothing where the cache does not know the revision.
std::optional<CachedSnapshot> look_up(const CachedRepository& cached, const std::string& revision,
                                      ChooseFiles choose) {
  const auto commit = cached.commit_of(revision);
  if (!commit) return {};
  CachedSnapshot found;
  auto listing = cached.kept_listing(*commit);
  found.is_listed = listing.has_value();
  found.listing = listing ? std::move(*listing) : cached.present_files(*commit);
  Names chosen;
  try {
    chosen = choose(found.listing.names());
  } catch (const Error& error) {
    found.refusal = error.what();
  }
  for (const HubFile& file : missing_of(cached, found.listing, chosen)) {
    found.missing.push_back(file.name);
  }
  return found;
}

std::string missing_list(Names names) {
  const size_t more = names.size() > kMissingNames ? names.size() - kMissingNames : 0;
  names.resize(names.size() - more);
  return fmt::format("{}{}", fmt::join(names, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

/// What is added where a repository was not found: its name may have been meant as a path.
std::string no_path(const HubName& name) {
  return name.is_sure ? "" : fmt::format("; and there is no file or folder {} here", name.id);
}

std::string snapshot_without_network(const HubSettings& settings, const HubName& name,
                                     const CachedRepository& cached, ChooseFiles choose) {
  const auto found = look_up(cached, name.revision, choose);
  if (found && found->is_complete()) return cached.snapshot(found->listing.commit);
  if (found && found->is_listed) {
    if (!found->refusal.empty()) fail("{}", found->refusal);
    fail("{}: the cache lacks {}, and {} forbids to fetch; unset it", describe(name),
         missing_list(found->missing), settings.offline);
  }
  fail("{} is not in the cache ({}), and {} forbids to fetch it; unset that{}", describe(name),
       cached.folder(), settings.offline, no_path(name));
}

/// Asks for the list of files. Nothing of an answer that is none goes into `listing`.
HttpAnswer ask_for_listing(const HubSettings& settings, const HubName& name, Http& http,
                           Retries retries, HubListing& listing) {
  const std::string url = fmt::format("{}/api/{}/{}/revision/{}?blobs=true", settings.endpoint,
                                      name.kind == HubKind::kDataset ? "datasets" : "models",
                                      name.id, url_part(name.revision, false));
  for (int unreached = 0;;) {
    std::string text;
    const auto take = [&](const ResponseHead&, std::span<const std::byte> bytes) {
      if (bytes.size() > kLargestAnswer - text.size()) {
        fail("{}: the list of its files is longer than 64 MiB", describe(name));
      }
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return true;
    };
    HttpAnswer answer = http.ask({.url = url}, take);
    if (answer.is_content()) {
      listing = parse_listing(text, fmt::format("{} at {}", describe(name), answer.host));
      return answer;
    }
    // A hub that was never reached is most often one that cannot be: there may be no network.
    const bool reached = answer.head.status() != 0;
    if (!reached && ++unreached > kTriesToReach) return answer;
    if (!retries.again(answer)) return answer;
  }
}

/// `bytes` more must fit beside the cache.
void check_room(const CachedRepository& cached, uint64_t bytes) {
  struct statvfs disk;
  const std::string folder = cached.folder() + "/blobs";
  if (::statvfs(folder.c_str(), &disk) != 0) return;  // writing will tell
  const uint64_t room = uint64_t(disk.f_bavail) * disk.f_frsize;
  if (bytes <= room) return;
  fail(
      "{} are to be fetched, but {} has room for {}: make room, or set HF_HUB_CACHE to a folder "
      "elsewhere",
      format_bytes(int64_t(bytes)), cached.folder(), format_bytes(int64_t(room)));
}

void fetch(const HubSource& source, const HubListing& listing, const Names& chosen) {
  const CachedRepository& cached = source.cached;
  const auto lock = cached.lock("", source.console);
  // Whoever held the lock before may have fetched them.
  std::vector<HubFile> missing = missing_of(cached, listing, chosen);
  if (missing.empty()) return;
  io::make_folders(cached.folder() + "/blobs");
  uint64_t all = 0, absent = 0;
  for (HubFile& file : missing) {
    if (!file.is_known()) ask_about(source, listing.commit, file);
    all += *file.size;
    absent += cached.absent_bytes(file);
  }
  check_room(cached, absent);
  FetchProgress progress(describe(source.name), missing.size(), all, source.console);
  for (const HubFile& file : missing) {
    download(source, listing.commit, file, progress);
    cached.link(listing.commit, file);
  }
  progress.finish();
}

}  // namespace

std::string hub_snapshot_of(const HubName& name, ChooseFiles choose, Console& console) {
  const HubSettings settings =
      read_hub_settings([](const char* variable) { return std::getenv(variable); });
  const CachedRepository cached(settings.cache, name);
  if (!settings.offline.empty()) {
    return snapshot_without_network(settings, name, cached, choose);
  }
  const auto found = look_up(cached, name.revision, choose);
  const bool complete = found && found->is_complete();
  // A commit does not change.
  if (complete && found->is_listed && is_commit(name.revision)) {
    return cached.snapshot(name.revision);
  }
  Http http(settings);
  HubListing listing;
  const HttpAnswer answer = ask_for_listing(
      settings, name, http, Retries(settings.pause_seconds, complete ? 0 : kMostRetries, console),
      listing);
  if (!answer.is_content()) {
    const std::string refusal = describe_refusal(settings, name, answer);
    if (!complete || is_revision_missing(answer)) fail("{}{}", refusal, no_path(name));
    console.line(fmt::format("{}; taking what the cache has of it", refusal));
    return cached.snapshot(found->listing.commit);
  }
  const Names chosen = choose(listing.names());
  const bool all_there = missing_of(cached, listing, chosen).empty();
  try {
    const auto lock = cached.lock("refs", console);
    if (listing.is_known()) cached.keep_listing(listing);
    cached.write_ref(name.revision, listing.commit);
  } catch (const Error&) {
    if (!all_there) throw;  // else it may be a cache that others fill
  }
  if (!all_there) fetch({settings, name, cached, http, console}, listing, chosen);
  return cached.snapshot(listing.commit);
}

std::string hub_snapshot(const HubName& name, FunctionRef<bool(std::string_view)> wanted,
                         Console& console) {
  return hub_snapshot_of(
      name,
      [&](const Names& names) {
        Names chosen;
        for (const std::string& file : names) {
          if (wanted(file)) chosen.push_back(file);
        }
        if (chosen.empty()) fail("{} has none of the files that are asked for", describe(name));
        return chosen;
      },
      console);
}

}  // namespace tessera::launch
