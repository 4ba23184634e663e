#include "lora/model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "lora/model/checkpoint_source.h"
#include "lora/model/families.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/gguf_split.h"
#include "runtime/io/pickle.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kChunkBytes = 1 << 20;
constexpr size_t kMaxConfig = 1 << 20;

/// The row of the Hugging Face tensor that row `row` of llama.cpp's is: [heads, half, 2] there,
/// [heads, 2, half] here.
int64_t deinterleaved(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim;
  const int64_t within = row % head_dim;
  return head * head_dim + within % 2 * (head_dim / 2) + within / 2;
}

io::GgufFile open_gguf(const std::string& path) {
  if (io::is_folder(path)) return io::GgufFile(find_gguf(path));
  io::ReadFile file(path);
  char magic[4] = {};
  if (file.size() >= sizeof magic) file.read(0, std::as_writable_bytes(std::span(magic)));
  const std::string_view first(magic, sizeof magic);
  if (first == "GGUF") return io::GgufFile(std::move(file));
  if (io::is_pickle(first) || io::has_pickle_name(path)) io::refuse_pickle(path);
  fail("{}: not a GGUF file; for safetensors give the folder that holds config.json", path);
}

}  // namespace

std::string find_gguf(const std::string& folder) {
  std::vector<std::string> found;
  for (const std::string& name : io::names_in(folder)) {
    const fs::path path = fs::path(folder) / name;
    if (path.extension() == ".gguf") found.push_back(path.string());
  }
  if (found.size() > 1 && !io::are_parts_of_one(found)) {
    fail("{}: holds {} .gguf files and no config.json; name one of them, e.g. {}", folder,
         found.size(), found.front());
  }
  if (!found.empty()) return found.front();
  if (io::exists(fs::path(folder) / "adapter_config.json")) {
    fail(
        "{}: a LoRA adapter, not a model; give its base as base_model and this folder as "
        "lora_model_dir",
        folder);
  }
  fail("{}: holds neither config.json nor a .gguf file", folder);
}

void CheckpointSource::add(std::string_view name, const StoredTensor& stored) {
  TESSERA_CHECK(stored_.emplace(name, stored).second);
}

void CheckpointSource::add(std::string_view name, BnbLinear linear) {
  TESSERA_CHECK(bnb_.emplace(name, std::move(linear)).second);
}

void CheckpointSource::add(std::string_view name, Fp8Linear linear) {
  TESSERA_CHECK(fp8_.emplace(name, std::move(linear)).second);
}

void CheckpointSource::read_blob(const TensorInfo& info, std::span<std::byte> blob) const {
  bnb_.at(info.name).read_blob(files, blob);
}

void CheckpointSource::read(const TensorInfo& info, bool as_float, std::span<std::byte> out) const {
  if (const auto linear = fp8_.find(info.name); linear != fp8_.end()) {
    return linear->second.read(files, info.dtype, as_float, out);
  }
  if (const auto linear = bnb_.find(info.name); linear != bnb_.end()) {
    TESSERA_CHECK(out.size() == size_t(info.numel()) * sizeof(float));
    return linear->second.read_f32(files,
                                   {reinterpret_cast<float*>(out.data()), size_t(info.numel())});
  }
  const StoredTensor& stored = stored_.at(info.name);
  const io::ReadFile& file = files[stored.file];
  const io::GgufBlock block = io::block_of(stored.encoding);
  // A bias has a row for each of the rows of its linear.
  const int64_t cols = stored.interleaved_heads && info.shape.size() == 1 ? 1 : info.shape.back();
  const int64_t rows = info.numel() / cols;
  const size_t out_row = size_t(cols) * (as_float ? sizeof(float) : size_of(info.dtype));
  const size_t file_row = size_t(cols) / block.elements * block.bytes;
  TESSERA_CHECK(out.size() == size_t(rows) * out_row);

  // Nothing but quantized blocks changes its size on the way, unless it is widened.
  const bool as_stored = block.elements == 1 && file_row == out_row && stored.plus == 0;
  const int64_t head_dim = stored.interleaved_heads ? rows / stored.interleaved_heads : 0;
  if (as_stored && !head_dim) return file.read(stored.offset, out);

  const int64_t step = std::clamp<int64_t>(kChunkBytes / int64_t(file_row), 1, rows);
  std::vector<std::byte> chunk(size_t(step) * file_row);
  std::vector<float> values(as_stored ? 0 : size_t(cols));
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(rows, begin + step);
    const auto bytes = std::span(chunk).first(size_t(end - begin) * file_row);
    file.read(stored.offset + uint64_t(begin) * file_row, bytes);
    for (int64_t row = begin; row < end; ++row) {
      std::span<const std::byte> from = bytes.subspan(size_t(row - begin) * file_row, file_row);
      if (!as_stored) {
        io::decode(stored.encoding, from, values);
        for (float& value : values) value -= stored.plus;
        from = std::as_bytes(std::span(values));
      }
      const int64_t to = head_dim ? deinterleaved(row, head_dim) : row;
      std::memcpy(out.data() + size_t(to) * out_row, from.data(), out_row);
    }
  }
}

void CheckpointSource::read_row(const TensorInfo& info, int64_t row, std::span<float> out) const {
  const StoredTensor& stored = stored_.at(info.name);
  const io::GgufBlock block = io::block_of(stored.encoding);
  TESSERA_CHECK(stored.interleaved_heads == 0 && 0 <= row && row < info.shape[0]);
  TESSERA_CHECK(int64_t(out.size()) == info.shape[1]);
  std::vector<std::byte> bytes(out.size() / block.elements * block.bytes);
  files[stored.file].read(stored.offset + uint64_t(row) * bytes.size(), bytes);
  io::decode(stored.encoding, bytes, out);
  for (float& value : out) value -= stored.plus;
}

std::string StoredNames::of(std::string_view name) const {
  if (name == kHeadWeight) return head;
  if (!name.starts_with(prefix)) return std::string(name);
  return stored + std::string(name.substr(prefix.size()));
}

TensorInfo info_of(const TensorRow& row) { return {row.name(), DType::kF32, row.shape}; }

void check_shape(const TensorInfo& expected, const std::vector<int64_t>& found,
                 std::string_view file) {
  if (found == expected.shape) return;
  fail("{}: tensor '{}' has shape [{}], the config asks for [{}]", file, expected.name,
       fmt::join(found, ", "), fmt::join(expected.shape, ", "));
}

Checkpoint::Checkpoint(const std::string& path, const ModelSpec& spec, FoundTensors found)
    : path_(path),
      spec_(spec),
      tensors_(std::move(found.tensors)),
      names_(std::move(found.names)),
      others_(std::move(found.others)),
      notes_(std::move(found.notes)),
      source_(std::make_shared<const CheckpointSource>(std::move(found.source))) {
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
  // The embedding comes first, see tensors_of(). What the file holds beats what it says.
  spec_.dtype = tensors_.front().dtype;
  if (found.ties_head) spec_.tied_head = true;
  if (found.unties_head) {
    spec_.tied_head = false;
    spec_.head_differs = true;
  }
  if (spec_.tied_head) index_.emplace(kHeadWeight, 0);
}

Checkpoint Checkpoint::open(const std::string& path) {
  if (!io::exists(path)) fail("{}: no such file or folder", path);
  const fs::path config = fs::path(path) / "config.json";
  if (io::is_folder(path) && io::exists(config)) {
    std::string text = io::read_file(config.string(), kMaxConfig);
    Checkpoint checkpoint = open(path, parse_config(text, config.string()));
    checkpoint.config_ = std::move(text);
    return checkpoint;
  }
  io::GgufFile file = open_gguf(path);
  std::vector<std::string> notes;
  std::string text = config_of_metadata(file, notes);
  const ModelSpec spec = parse_config(text, file.path());
  FoundTensors found = find_tensors(spec, std::move(file));
  found.notes = std::move(notes);
  Checkpoint checkpoint(path, spec, std::move(found));
  checkpoint.config_ = std::move(text);
  return checkpoint;
}

Checkpoint Checkpoint::open(const std::string& path, const ModelSpec& spec) {
  return Checkpoint(
      path, spec,
      io::is_folder(path) ? find_tensors(spec, path) : find_tensors(spec, open_gguf(path)));
}

const TensorInfo& Checkpoint::info(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  if (found == index_.end()) fail("{}: there is no tensor '{}'", path_, io::printable(name));
  return tensors_[found->second];
}

void Checkpoint::read(std::string_view name, std::span<std::byte> out) const {
  source_->read(info(name), false, out);
}

void Checkpoint::read_blob(std::string_view name, std::span<std::byte> blob) const {
  source_->read_blob(info(name), blob);
}

void Checkpoint::read_other(const OtherTensor& other, uint64_t begin,
                            std::span<std::byte> out) const {
  TESSERA_CHECK(begin <= other.bytes && out.size() <= other.bytes - begin);
  source_->files[other.file].read(other.offset + begin, out);
}

void Checkpoint::read_f32(std::string_view name, std::span<float> out) const {
  source_->read(info(name), true, std::as_writable_bytes(out));
}

void Checkpoint::read_embedding_row(int64_t row, std::span<float> out) const {
  source_->read_row(tensors_.front(), row, out);
}

}  // namespace tessera::lora
