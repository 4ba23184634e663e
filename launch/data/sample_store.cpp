#include "launch/data/sample_store.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/hash.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

// A file: the words of all samples, their places, what is said of them as JSON, and this.
struct Footer {
  std::array<char, 8> magic = kMagic;
  uint64_t samples = 0;
  uint64_t about_bytes = 0;
  uint64_t fingerprint = 0;
  uint64_t seal = 0;  // hash of places, what is said, and the fields above

  static constexpr std::array<char, 8> kMagic = {'t', 'o', 'k', 'e', 'n', 's', '0', '1'};
};

// A token's word has this bit where its label is the token.
constexpr uint32_t kLearned = 0x80000000u;
constexpr size_t kBufferedWords = size_t{1} << 18;

uint64_t seal_of(const Footer& footer, std::span<const uint64_t> places, std::string_view about) {
  uint64_t hash = io::hash_bytes(std::as_bytes(places), 0);
  hash = io::hash_bytes(std::as_bytes(std::span(about)), hash);
  return io::hash_bytes(std::as_bytes(std::span(&footer, 1)).first(offsetof(Footer, seal)), hash);
}

template <class T>
std::span<std::byte> writable(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

}  // namespace

std::optional<SampleStore> SampleStore::open(const std::string& path) {
  if (!io::exists(path)) return std::nullopt;
  SampleStore store;
  io::ReadFile file(path);
  Footer footer;
  if (file.size() < sizeof footer) return std::nullopt;
  const uint64_t end = file.size() - sizeof footer;
  file.read(end, std::as_writable_bytes(std::span(&footer, 1)));
  if (footer.magic != Footer::kMagic || footer.about_bytes > end ||
      footer.samples > (end - footer.about_bytes) / sizeof(uint64_t)) {
    return std::nullopt;
  }
  std::string about(footer.about_bytes, '\0');
  file.read(end - about.size(), std::as_writable_bytes(std::span(about)));
  store.places_.resize(footer.samples);
  const uint64_t words_end = end - about.size() - footer.samples * sizeof(uint64_t);
  file.read(words_end, writable(store.places_));
  if (footer.seal != seal_of(footer, store.places_, about)) return std::nullopt;
  const uint64_t words = store.places_.empty() ? 0 : store.places_.back() >> 1;
  if (words * sizeof(int32_t) != words_end) return std::nullopt;
  store.fingerprint_ = footer.fingerprint;
  store.about_ = io::parse_json(about, path);
  store.file_ = std::move(file);
  return store;
}

void SampleStore::read_words(uint64_t begin, std::span<int32_t> out) const {
  if (file_) {
    file_->read(begin * sizeof(int32_t), std::as_writable_bytes(out));
  } else {
    std::copy_n(memory_.begin() + std::ptrdiff_t(begin), out.size(), out.begin());
  }
}

Sample SampleStore::read(size_t i) const {
  Sample sample;
  const size_t n = size_t(length(i));
  sample.ids.resize(n);
  read_words(begin(i), sample.ids);
  sample.labels.assign(n, Sample::kIgnore);
  for (size_t t = 0; t < n; ++t) {
    const bool learned = uint32_t(sample.ids[t]) & kLearned;
    sample.ids[t] = int32_t(uint32_t(sample.ids[t]) & ~kLearned);
    if (learned) sample.labels[t] = sample.ids[t];
  }
  if (has_labels(i)) read_words(begin(i) + n, sample.labels);
  return sample;
}

void SampleWriter::add(const Sample& sample) {
  const std::vector<int32_t>&ids = sample.ids, &labels = sample.labels;
  bool has_labels = false;  // others than the tokens themselves
  for (size_t t = 0; t < ids.size(); ++t) {
    const bool learned = labels[t] == ids[t];
    has_labels |= !learned && labels[t] != Sample::kIgnore;
    store_.memory_.push_back(int32_t(uint32_t(ids[t]) | (learned ? kLearned : 0)));
  }
  if (has_labels) store_.memory_.insert(store_.memory_.end(), labels.begin(), labels.end());
  end_ += ids.size() * (has_labels ? 2 : 1);
  store_.places_.push_back(end_ << 1 | uint64_t(has_labels));
  uint64_t& hash = store_.fingerprint_;
  hash = io::hash_bytes(std::as_bytes(std::span(ids)), hash);
  hash = io::hash_bytes(std::as_bytes(std::span(labels)), hash + ids.size());
  if (file_ && store_.memory_.size() >= kBufferedWords) flush();
}

void SampleWriter::flush() {
  file_->write(std::as_bytes(std::span(store_.memory_)));
  store_.memory_.clear();
}

SampleStore SampleWriter::finish(nlohmann::json about) {
  store_.about_ = std::move(about);
  if (!file_) {
    store_.memory_.shrink_to_fit();
    return std::move(store_);
  }
  flush();
  const std::string text = store_.about_.dump();
  Footer footer{
      .samples = store_.size(), .about_bytes = text.size(), .fingerprint = store_.fingerprint()};
  footer.seal = seal_of(footer, store_.places_, text);
  file_->write(std::as_bytes(std::span(store_.places_)));
  file_->write(std::string_view(text));
  file_->write(std::as_bytes(std::span(&footer, 1)));
  file_->commit();
  store_.memory_ = {};
  store_.file_.emplace(path_);
  return std::move(store_);
}

}  // namespace tessera::launch
