#include <cctype>

#include "launch/hub/hub.h"
#include "launch/hub/listing.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

constexpr size_t kLongestId = 96;
constexpr size_t kLongestRevision = 200;

/// Endings of files. Repositories may be called so, too; then "hf:" is needed.
constexpr std::string_view kFileEndings[] = {".json", ".jsonl",       ".parquet", ".arrow", ".csv",
                                             ".tsv",  ".txt",         ".yml",     ".yaml",  ".zst",
                                             ".gz",   ".safetensors", ".gguf",    ".jinja"};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// The name of an organisation or of a repository: words, joined by '-' and '.'.
bool is_part(std::string_view part) {
  if (part.empty() || !is_word(part.front()) || !is_word(part.back())) return false;
  for (const char c : part) {
    if (!is_word(c) && c != '-' && c != '.') return false;
  }
  return part.find("--") == std::string_view::npos && part.find("..") == std::string_view::npos;
}

bool is_id(std::string_view id, bool may_be_alone) {
  const size_t slash = id.find('/');
  if (id.size() > kLongestId || id.ends_with(".git")) return false;
  if (slash == std::string_view::npos) return may_be_alone && is_part(id);
  return is_part(id.substr(0, slash)) && is_part(id.substr(slash + 1));
}

/// As git takes them, and safe as the path of a file in refs/.
bool is_revision(std::string_view revision) {
  if (revision.size() > kLongestRevision || !is_safe_file_name(revision)) return false;
  return revision.find_first_of(" ~^:?*[@") == std::string_view::npos;
}

bool ends_as_file(std::string_view text) {
  for (const std::string_view ending : kFileEndings) {
    if (text.ends_with(ending)) return true;
  }
  return false;
}

/// Splits "org/name/folder/file.gguf" behind the second word; `file` is empty where there is none.
/// False where a slash is at the end.
bool split_file(std::string_view text, HubName& name) {
  const size_t first = text.find('/');
  const size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
  name.id = text.substr(0, second);
  if (second == std::string_view::npos) return true;
  name.file = text.substr(second + 1);
  return !name.file.empty();
}

}  // namespace

std::optional<HubName> hub_name(std::string_view text, HubKind kind) {
  const bool said = text.starts_with("hf:");
  const std::string_view bare = said ? text.substr(3) : text;
  const size_t at = bare.find('@');
  HubName name{.kind = kind, .id = {}};
  if (!split_file(bare.substr(0, at), name)) return {};
  if (at != std::string_view::npos) name.revision = bare.substr(at + 1);
  if (!is_id(name.id, said) || !is_revision(name.revision)) return {};
  if (!name.file.empty()) {
    const bool weights = kind == HubKind::kModel && name.file.ends_with(".gguf");
    if (!weights || !is_safe_file_name(name.file)) return {};
  }
  name.is_sure = said;
  if (said) return name;
  if (name.file.empty() && ends_as_file(name.id)) return {};
  if (io::exists(std::string(text))) return {};
  return name;
}

std::string describe(const HubName& name) {
  return (name.kind == HubKind::kModel ? "model " : "data set ") + name.id +
         (name.revision == "main" ? "" : "@" + name.revision);
}

}  // namespace tessera::launch
