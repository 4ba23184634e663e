// The list of a repository's files at one commit: as the hub answers, and as it is kept in the
// cache. It comes from strangers: a name in it is safe as a path below a folder, and a blob's name
// as the name of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

struct HubFile {
  /// What the blob's name says of the content.
  enum class Hash {
    kNone,    // nothing that is sure
    kSha256,  // it is the SHA-256
    kGit,     // it is what git makes of it: the SHA-1 of "blob SIZE\0" and the content
  };

  std::string name;                // "folder/file"
  std::optional<uint64_t> size{};  // in bytes
  std::string blob{};              // its name in the cache's blobs/; empty: not known
  Hash hash = Hash::kNone;

  bool is_known() const { return size && !blob.empty(); }
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;

  std::vector<std::string> names() const;
  bool is_known() const;
};

/// No file is larger, in bytes. A list of 64 MiB has less than 2^22 files, so a sum of sizes fits
/// in 63 bits.
constexpr uint64_t kLargestHubFile = uint64_t{1} << 40;

/// 40 hexadecimal digits, small letters.
bool is_commit(std::string_view text);
/// Words between single slashes that lead to a file below the folder they begin in: no "..", no
/// backslash, no control characters, bounded length.
bool is_safe_file_name(std::string_view name);
/// Safe as the name of a file.
bool is_safe_blob_name(std::string_view name);

/// The hub's answer to /api/models/ID/revision/REVISION, with or without what blobs=true adds.
/// `source` stands in errors.
HubListing parse_listing(std::string_view json, std::string_view source);

/// A listing that is_known(), as the cache keeps it: in the form that huggingface_hub has for its
/// own.
std::string text_of_listing(const HubListing& listing);
HubListing parse_kept_listing(std::string_view json, std::string_view source, std::string commit);

}  // namespace tessera::launch
