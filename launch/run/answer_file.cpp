#include "launch/run/answer_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/hash.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Every row begins so.
constexpr std::string_view kFront = "{\"index\":";
constexpr size_t kChunk = size_t{1} << 20;

std::optional<uint32_t> parse_part(std::string_view text) {
  uint32_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string AnswerKey::text() const {
  return fmt::format("{:08x}-{:08x}-{:08x}", model, options, prompt);
}

std::optional<AnswerKey> AnswerKey::parse(std::string_view text) {
  if (text.size() != 26 || text[8] != '-' || text[17] != '-') return std::nullopt;
  const auto model = parse_part(text.substr(0, 8)), options = parse_part(text.substr(9, 8)),
             prompt = parse_part(text.substr(18));
  if (!model || !options || !prompt) return std::nullopt;
  return AnswerKey{*model, *options, *prompt};
}

uint32_t key_part(std::span<const std::byte> bytes) { return uint32_t(io::hash_bytes(bytes, 0)); }

AnswerFile::AnswerFile(std::string path, bool resume) : path_(std::move(path)) {
  const fs::path folder = fs::path(path_).parent_path();
  if (!folder.empty() && !io::is_folder(folder)) {
    fail("--output {}: there is no folder {}", path_, folder.string());
  }
  if (!io::exists(path_)) return;
  std::error_code error;
  if (!fs::is_regular_file(path_, error)) fail_usage("--output {}: expected a file", path_);
  if (!resume) {
    fail_usage("--output {}: the file is there already; --resume goes on with it, or name another",
               path_);
  }
  lock_.emplace(path_);
  if (lock_->state() == io::LockFile::State::kTaken) {
    fail("{}: another process writes answers to it; wait for its end", path_);
  }
  read();
}

AnswerFile::~AnswerFile() {
  if (fd_ >= 0) ::close(fd_);
}

void AnswerFile::read() {
  const io::ReadFile file(path_);
  std::string rest;  // of a line whose end was not read yet
  for (uint64_t at = 0; at < file.size();) {
    std::string chunk(size_t(std::min<uint64_t>(kChunk, file.size() - at)), '\0');
    file.read(at, std::as_writable_bytes(std::span(chunk)));
    at += chunk.size();
    rest += chunk;
    size_t begin = 0;
    for (size_t end; (end = rest.find('\n', begin)) != rest.npos; begin = end + 1) {
      take(std::string_view(rest).substr(begin, end - begin), where(kept_.size()));
      whole_ += end + 1 - begin;
    }
    rest.erase(0, begin);
  }
  refuse_tail(rest);
}

void AnswerFile::take(std::string_view line, const std::string& where) {
  const json row = line.starts_with(kFront) ? io::parse_json(line, where) : json();
  const auto number = [&](const char* key) {
    return row.contains(key) && row[key].is_number_unsigned() && row[key] <= uint64_t{0xffffffff};
  };
  std::optional<AnswerKey> key;
  if (row.contains("key") && row["key"].is_string()) {
    key = AnswerKey::parse(row["key"].get_ref<const std::string&>());
  }
  if (!key || !number("index") || !number("sample")) {
    fail("{}: no answer that --output has written; name another file", where);
  }
  const auto index = row["index"].get<uint64_t>();
  if (!sequences_.insert(sequence_of(index, row["sample"].get<uint64_t>())).second) {
    fail("{}: a second answer of index {} and sample {}; remove one", where, index,
         row["sample"].get<uint64_t>());
  }
  kept_.push_back({index, *key});
}

void AnswerFile::refuse_tail(std::string_view tail) const {
  const size_t n = std::min(tail.size(), kFront.size());
  if (tail.substr(0, n) == kFront.substr(0, n)) return;
  fail("{}: no answer that --output has written; name another file", where(kept_.size()));
}

std::string AnswerFile::where(size_t kept) const { return fmt::format("{}:{}", path_, kept + 1); }

void AnswerFile::check_prompts(std::span<const uint32_t> prompts) const {
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (kept_[i].index >= prompts.size()) {
      fail_usage(
          "{}: answers prompt {}, but there are {} prompts; give the same prompts, or "
          "another --output",
          where(i), kept_[i].index, prompts.size());
    }
    if (kept_[i].key.prompt != prompts[kept_[i].index]) {
      fail_usage(
          "{}: answers another prompt than the one of index {}; give the same prompts and "
          "chat template, or another --output",
          where(i), kept_[i].index);
    }
  }
}

void AnswerFile::check_options(uint32_t options) const {
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (kept_[i].key.options == options) continue;
    fail_usage(
        "{}: made with other values of --temperature, --top_p, --top_k, --seed, "
        "--max_new_tokens or --stop; give the same, or another --output",
        where(i));
  }
}

void AnswerFile::check_model(uint32_t model) const {
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (kept_[i].key.model == model) continue;
    fail_usage(
        "{}: made with another base model, adapter or compute dtype; give the same, or "
        "another --output",
        where(i));
  }
}

void AnswerFile::open() {
  // A file that came into being since it was looked for is another process's.
  const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | (lock_ ? 0 : O_EXCL);
  fd_ = ::open(path_.c_str(), flags, 0666);
  if (fd_ < 0) fail("cannot write {}: {}", path_, std::strerror(errno));
  if (!lock_) lock_.emplace(path_);
  if (lock_->state() == io::LockFile::State::kTaken) {
    fail("{}: another process writes answers to it; wait for its end", path_);
  }
  if (::ftruncate(fd_, off_t(whole_)) != 0) {
    fail("cannot write {}: {}", path_, std::strerror(errno));
  }
}

void AnswerFile::append(const Answer& answer, const AnswerKey& key) {
  nlohmann::ordered_json row = to_json(answer);
  row["key"] = key.text();
  const std::string line = row.dump() + "\n";
  for (size_t written = 0; written < line.size();) {
    const ssize_t n = ::write(fd_, line.data() + written, line.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write {}: {}", path_, std::strerror(errno));
    written += size_t(n);
  }
}

}  // namespace tessera::launch
