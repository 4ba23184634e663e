#include "launch/hub/listing.h"

#include <algorithm>
#include <unordered_set>

#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using io::printable;
using nlohmann::json;

constexpr size_t kLongestName = 1000;
constexpr size_t kLongestWord = 255;
constexpr int64_t kKeptFormat = 1;

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_safe_word(std::string_view word) {
  return !word.empty() && word.size() <= kLongestWord && word != "." && word != "..";
}

/// Null where the value is no object or has no such key.
const json& value_of(const json& object, const char* key) {
  static const json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::optional<uint64_t> size_of(const json& object, std::string_view source) {
  const json& size = value_of(object, "size");
  if (size.is_null()) return {};
  if (!size.is_number_unsigned() || size.get<uint64_t>() > kLargestHubFile) {
    fail("{}: expected the size of a file, got {}", source, printable(size.dump()));
  }
  return size.get<uint64_t>();
}

void check_name(std::string_view name, std::string_view source) {
  if (!is_safe_file_name(name)) {
    fail("{}: '{}' cannot be the name of a file here, so nothing is fetched", source,
         printable(name));
  }
}

/// Takes a hash that is written as such; anything else is left to a later question.
void take_hash(HubFile& file, const json& hash, HubFile::Hash kind, size_t digits) {
  if (!hash.is_string() || !is_hex(hash.get_ref<const std::string&>(), digits)) return;
  file.blob = hash.get_ref<const std::string&>();
  file.hash = kind;
}

void check_twice(const HubListing& listing, std::string_view source) {
  std::unordered_set<std::string_view> seen;
  for (const HubFile& file : listing.files) {
    if (!seen.insert(file.name).second) {
      fail("{}: the file '{}' is listed twice", source, printable(file.name));
    }
  }
}

}  // namespace

std::vector<std::string> HubListing::names() const {
  std::vector<std::string> names;
  for (const HubFile& file : files) names.push_back(file.name);
  return names;
}

bool HubListing::is_known() const {
  return std::all_of(files.begin(), files.end(),
                     [](const HubFile& file) { return file.is_known(); });
}

bool is_commit(std::string_view text) { return is_hex(text, 40); }

bool is_safe_file_name(std::string_view name) {
  if (name.size() > kLongestName || io::has_control_characters(name) ||
      name.find('\\') != std::string_view::npos) {
    return false;
  }
  for (size_t begin = 0;;) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (!is_safe_word(name.substr(begin, end - begin))) return false;
    if (end == name.size()) return true;
    begin = end + 1;
  }
}

bool is_safe_blob_name(std::string_view name) {
  if (name.empty() || name.size() > 128 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
  });
}

HubListing parse_listing(std::string_view text, std::string_view source) {
  const json root = io::parse_json(text, source);
  const json& commit = value_of(root, "sha");
  const json& siblings = value_of(root, "siblings");
  if (!commit.is_string() || !is_commit(commit.get_ref<const std::string&>()) ||
      !siblings.is_array()) {
    fail(
        "{}: expected a commit (sha) and a list of files (siblings), as the Hugging Face hub "
        "answers; is HF_ENDPOINT a hub?",
        source);
  }
  HubListing listing{commit.get<std::string>(), {}};
  for (const json& sibling : siblings) {
    const json& name = value_of(sibling, "rfilename");
    if (!name.is_string()) fail("{}: a file without a name (rfilename)", source);
    HubFile file{name.get<std::string>()};
    check_name(file.name, source);
    const json& large = value_of(sibling, "lfs");
    if (large.is_object()) {
      file.size = size_of(large, source);
      take_hash(file, value_of(large, "sha256"), HubFile::Hash::kSha256, 64);
    } else {
      file.size = size_of(sibling, source);
      take_hash(file, value_of(sibling, "blobId"), HubFile::Hash::kGit, 40);
    }
    listing.files.push_back(std::move(file));
  }
  check_twice(listing, source);
  return listing;
}

std::string text_of_listing(const HubListing& listing) {
  json files = json::object();
  for (const HubFile& file : listing.files) {
    json& entry = files[file.name];
    entry["size"] = *file.size;
    const bool large = file.hash == HubFile::Hash::kSha256;
    entry["blob_id"] = large ? "" : file.blob;
    if (large) {
      entry["lfs_sha256"] = file.blob;
      entry["lfs_size"] = *file.size;
    }
  }
  const json root = {{"format_version", kKeptFormat}, {"files", files}};
  return root.dump(1) + "\n";
}

HubListing parse_kept_listing(std::string_view text, std::string_view source, std::string commit) {
  const json root = io::parse_json(text, source);
  const json& files = value_of(root, "files");
  if (value_of(root, "format_version") != kKeptFormat || !files.is_object()) {
    fail("{}: expected a list of files in format {}", source, kKeptFormat);
  }
  HubListing listing{std::move(commit), {}};
  for (const auto& [name, entry] : files.items()) {
    check_name(name, source);
    HubFile file{name, size_of(entry, source)};
    take_hash(file, value_of(entry, "blob_id"), HubFile::Hash::kGit, 40);
    take_hash(file, value_of(entry, "lfs_sha256"), HubFile::Hash::kSha256, 64);
    listing.files.push_back(std::move(file));
  }
  return listing;
}

}  // namespace tessera::launch
