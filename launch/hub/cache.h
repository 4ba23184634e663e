// One repository in the cache, laid out as huggingface_hub has it:
//   models--org--name/refs/main                the commit of a branch or tag
//   models--org--name/snapshots/COMMIT/a/file  a link to ../../../../blobs/BLOB
//   models--org--name/blobs/BLOB               the content; BLOB.incomplete while it is fetched
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "launch/console/progress.h"
#include "launch/hub/hub.h"
#include "launch/hub/listing.h"
#include "runtime/io/lock_file.h"

namespace tessera::launch {

class CachedRepository {
 public:
  /// `cache` is the folder of all repositories. Nothing is made before it is written.
  CachedRepository(const std::string& cache, const HubName& name);

  const std::string& folder() const { return folder_; }
  std::string snapshot(const std::string& commit) const;
  std::string blob(const std::string& name) const;
  std::string partial_blob(const std::string& name) const;  // while it is fetched

  /// The commit of the revision, where it is one or was asked for before.
  std::optional<std::string> commit_of(const std::string& revision) const;
  void write_ref(const std::string& revision, const std::string& commit) const;

  /// The list of the commit's files, where one was kept: here, or by huggingface_hub.
  std::optional<HubListing> kept_listing(const std::string& commit) const;
  void keep_listing(const HubListing& listing) const;
  /// The files of the snapshot's folder, without sizes; those that lead nowhere are left out.
  HubListing present_files(const std::string& commit) const;

  /// Whether the file is in the snapshot, with its size where that is known.
  bool has(const std::string& commit, const HubFile& file) const;
  /// Whether the blob is there, with its size.
  bool has_blob(const HubFile& file) const;
  /// Bytes of the file that are to be fetched, without those that an earlier run has left.
  uint64_t absent_bytes(const HubFile& file) const;
  /// Makes the file of the snapshot lead to its blob.
  void link(const std::string& commit, const HubFile& file) const;

  /// Waits, and says so, while another process has the part of this repository: the name of a blob,
  /// which may be Python's; "refs", for refs and listings; or "", for all that is to be fetched.
  /// Held until the lock is destroyed.
  std::unique_ptr<io::LockFile> lock(const std::string& part, Console& console) const;

 private:
  std::string name_;   // "models--org--name"
  std::string cache_;  // the folder around folder_
  std::string folder_;
};

}  // namespace tessera::launch
