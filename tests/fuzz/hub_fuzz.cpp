// What a server says: lists of files (the first byte 'L'), lists that were kept ('K'), headers
// ('H'), and names as users write them (all else).
#include <map>

#include "launch/hub/hub.h"
#include "launch/hub/listing.h"
#include "launch/hub/response_head.h"
#include "runtime/core/error.h"

namespace {

using namespace tessera;
using namespace tessera::launch;

void check(bool holds) {
  if (!holds) __builtin_trap();
}

/// Whoever makes paths of a listing relies on this.
void check_listing(const HubListing& listing) {
  check(is_commit(listing.commit));
  for (const HubFile& file : listing.files) {
    const std::string path = "/" + file.name + "/";
    check(path.find("/../") == std::string::npos && path.find("//") == std::string::npos);
    check(path.find('\0') == std::string::npos && path.find('\\') == std::string::npos);
    check(file.blob.empty() || is_safe_blob_name(file.blob));
  }
  if (!listing.is_known()) return;
  const HubListing again = parse_kept_listing(text_of_listing(listing), "kept", listing.commit);
  check(again.files.size() == listing.files.size());
  std::map<std::string, const HubFile*> before;
  for (const HubFile& file : listing.files) before[file.name] = &file;
  for (const HubFile& file : again.files) {
    const HubFile* const same = before.at(file.name);
    check(same->size == file.size && same->blob == file.blob && same->hash == file.hash);
  }
}

void check_head(std::string_view text) {
  ResponseHead head;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    head.take_line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  check(head.status() == 0 || (head.status() >= 100 && head.status() <= 999));
  check(head.location().find('\n') == std::string::npos);
}

void check_user_name(std::string_view text) {
  const auto name = hub_name(text, HubKind::kModel);
  if (!name) return;
  check(!name->id.empty() && name->id.find("..") == std::string::npos);
  check(is_safe_file_name(name->revision));
  check(name->file.empty() || is_safe_file_name(name->file));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view rest = text.substr(size > 0 ? 1 : 0);
  try {
    if (text.starts_with('L')) {
      check_listing(parse_listing(rest, "list"));
    } else if (text.starts_with('K')) {
      check_listing(parse_kept_listing(rest, "kept", std::string(40, 'a')));
    } else if (text.starts_with('H')) {
      check_head(rest);
    } else {
      check_user_name(text);
    }
  } catch (const Error&) {
  }
  return 0;
}
