#include "launch/commands/quantized_linears.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "lora/model/bnb_linear.h"
#include "runtime/core/error.h"

namespace tessera::launch {

using nlohmann::json;

Spool::Spool(const std::string& folder) : folder_(folder) {
  std::string name = folder + "/spool.XXXXXX";
  fd_ = ::mkstemp(name.data());
  if (fd_ < 0) refuse();
  ::unlink(name.c_str());
}

Spool::~Spool() { ::close(fd_); }

void Spool::clear() {
  if (::ftruncate(fd_, 0) != 0) refuse();
  size_ = 0;
}

uint64_t Spool::append(std::span<const std::byte> bytes) {
  const uint64_t at = size_;
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) refuse();
    bytes = bytes.subspan(size_t(n));
    size_ += uint64_t(n);
  }
  return at;
}

void Spool::read(uint64_t at, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), off_t(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) refuse();
    out = out.subspan(size_t(n));
    at += uint64_t(n);
  }
}

void Spool::refuse() const {
  fail("cannot keep what is to be written in {}: {}", folder_, std::strerror(errno));
}

void QuantizedLinears::begin_file() {
  spool_->clear();
  places_.clear();
}

uint64_t QuantizedLinears::bytes_of(const lora::TensorInfo& info) const {
  constexpr uint64_t kTablesAndState = 2048;
  return spec_of(info).bytes() + kTablesAndState;
}

quant::FrozenMatrix QuantizedLinears::add(const lora::TensorInfo& info, const std::string& stored,
                                          DType dtype, std::span<const float> values,
                                          std::vector<io::SafetensorsEntry>& entries) {
  const quant::FrozenSpec spec = spec_of(info);
  if (blob_.size() < spec.bytes()) blob_ = Buffer::host(spec.bytes());
  const std::span<std::byte> blob(blob_.data(), spec.bytes());
  quant::FrozenMatrix::quantize(ctx_, spec, values, blob.data(), info.name);
  const lora::BnbParts parts(stored, spec, dtype, blob);
  for (const lora::BnbPart& part : parts.parts()) {
    places_[part.entry.name] = {spool_->append(part.bytes), part.bytes.size()};
    entries.push_back(part.entry);
  }
  return {spec, blob.data()};
}

std::span<const std::byte> QuantizedLinears::bytes(const std::string& entry) {
  const auto& [at, size] = places_.at(entry);
  if (read_.size() < size) {
    read_ = Buffer();  // first, so that the two never exist together
    read_ = Buffer::host(size);
  }
  const std::span<std::byte> out(read_.data(), size);
  spool_->read(at, out);
  return out;
}

namespace {

/// Those that transformers is to leave alone; null for its own choice, which is the head.
json skipped_modules(const lora::Checkpoint& checkpoint) {
  if (checkpoint.others().empty()) return nullptr;
  std::set<std::string> names = {std::string(lora::kHeadModule)};
  for (const lora::OtherTensor& other : checkpoint.others()) {
    std::string_view name = other.name;
    if (name.starts_with("model.")) name.remove_prefix(6);
    names.insert("model." + std::string(name.substr(0, name.find('.'))));
  }
  return names;
}

}  // namespace

json quantization_config(const lora::Checkpoint& checkpoint, const quant::Storage& storage,
                         DType dtype) {
  return {{"_load_in_4bit", true},
          {"_load_in_8bit", false},
          {"bnb_4bit_compute_dtype", name_of(dtype)},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", storage.format->name},
          {"bnb_4bit_use_double_quant", storage.double_quant},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skipped_modules(checkpoint)},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"quant_method", "bitsandbytes"}};
}

}  // namespace tessera::launch
