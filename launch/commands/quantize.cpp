#include "launch/commands/quantize.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "launch/commands/arguments.h"
#include "launch/commands/model_folder.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "lora/model/bnb_linear.h"
#include "lora/model/loader.h"
#include "quant/format_4bit.h"
#include "runtime/core/buffer.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// A file without a name for bytes that are read back later, on the disk of `folder`.
class Spool {
 public:
  explicit Spool(const std::string& folder) : folder_(folder) {
    std::string name = folder + "/spool.XXXXXX";
    fd_ = ::mkstemp(name.data());
    if (fd_ < 0) refuse();
    ::unlink(name.c_str());
  }
  ~Spool() { ::close(fd_); }
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void clear() {
    if (::ftruncate(fd_, 0) != 0) refuse();
    size_ = 0;
  }
  /// Returns where they are.
  uint64_t append(std::span<const std::byte> bytes) {
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
  void read(uint64_t at, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t n = ::pread(fd_, out.data(), out.size(), off_t(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) refuse();
      out = out.subspan(size_t(n));
      at += uint64_t(n);
    }
  }

 private:
  [[noreturn]] void refuse() const {
    fail("cannot keep what is to be written in {}: {}", folder_, std::strerror(errno));
  }

  std::string folder_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Makes the tensors of a file: its linears are quantized when the file is begun, because the sizes
/// of all tensors come first in it, and kept on the disk until it is their turn.
class QuantizedTensors {
 public:
  QuantizedTensors(Context& ctx, const lora::Checkpoint& checkpoint, const quant::Storage& storage)
      : ctx_(ctx), checkpoint_(checkpoint), storage_(storage) {
    for (const lora::TensorRow& row : lora::linears_of(checkpoint.spec())) {
      linears_.insert(row.name());
    }
  }

  /// Before the first file.
  void keep_in(const std::string& folder) { spool_.emplace(folder); }
  bool is_linear(const lora::TensorInfo& info) const { return linears_.contains(info.name); }
  quant::FrozenSpec spec_of(const lora::TensorInfo& info) const {
    return {storage_, info.shape[0], info.shape[1]};
  }
  /// At most, with the tables of its codes and its settings.
  uint64_t bytes_of(const lora::TensorInfo& info) const {
    constexpr uint64_t kTablesAndState = 2048;
    return is_linear(info) ? spec_of(info).bytes() + kTablesAndState : info.bytes();
  }

  std::vector<io::SafetensorsEntry> begin(std::span<const lora::TensorInfo> tensors,
                                          FunctionRef<void()> next) {
    spool_->clear();
    spooled_.clear();
    dense_.clear();
    std::vector<io::SafetensorsEntry> entries;
    for (const lora::TensorInfo& info : tensors) {
      next();
      const std::string stored = checkpoint_.stored_name(info.name);
      if (is_linear(info)) {
        quantize(info, stored, entries);
        continue;
      }
      dense_[stored] = info.name;
      entries.push_back(
          {.name = stored, .dtype = io::safetensors_name(info.dtype), .shape = info.shape});
    }
    return entries;
  }

  std::span<const std::byte> bytes(const std::string& stored) {
    const auto dense = dense_.find(stored);
    if (dense != dense_.end()) {
      const std::span<std::byte> out = room(checkpoint_.info(dense->second).bytes());
      checkpoint_.read(dense->second, out);
      return out;
    }
    const auto& [at, size] = spooled_.at(stored);
    const std::span<std::byte> out = room(size);
    spool_->read(at, out);
    return out;
  }

  int64_t linears() const { return int64_t(linears_.size()); }

 private:
  std::span<std::byte> room(size_t bytes) {
    if (memory_.size() < bytes) {
      memory_ = Buffer();  // first, so that the two never exist together
      memory_ = Buffer::host(bytes);
    }
    return {memory_.data(), bytes};
  }

  void quantize(const lora::TensorInfo& info, const std::string& stored,
                std::vector<io::SafetensorsEntry>& entries) {
    const quant::FrozenSpec spec = spec_of(info);
    const std::span<std::byte> memory = room(size_t(info.numel()) * sizeof(float));
    const std::span<float> values(reinterpret_cast<float*>(memory.data()), size_t(info.numel()));
    checkpoint_.read_f32(info.name, values);
    if (blob_.size() < spec.bytes()) blob_ = Buffer::host(spec.bytes());
    const std::span<std::byte> blob(blob_.data(), spec.bytes());
    quant::FrozenMatrix::quantize(ctx_, spec, values, blob.data(), info.name);
    const lora::BnbParts parts(stored, spec, info.dtype, blob);
    for (const lora::BnbPart& part : parts.parts()) {
      spooled_[part.entry.name] = {spool_->append(part.bytes), part.bytes.size()};
      entries.push_back(part.entry);
    }
  }

  struct Place {
    uint64_t at;
    size_t size;
  };
  Context& ctx_;
  const lora::Checkpoint& checkpoint_;
  quant::Storage storage_;
  std::optional<Spool> spool_;
  std::set<std::string> linears_;
  std::map<std::string, Place> spooled_;      // of the file that is being written
  std::map<std::string, std::string> dense_;  // likewise; to the table's names
  Buffer memory_, blob_;
};

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

json config_of(const lora::Checkpoint& checkpoint, const quant::Storage& storage) {
  json config = io::parse_json(checkpoint.config(), checkpoint.path());
  const std::string dtype(name_of(checkpoint.spec().dtype));
  if (!config.contains("dtype") && !config.contains("torch_dtype")) config["dtype"] = dtype;
  // As transformers writes it.
  config["quantization_config"] = {{"_load_in_4bit", true},
                                   {"_load_in_8bit", false},
                                   {"bnb_4bit_compute_dtype", dtype},
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
  return config;
}

std::string describe(const QuantizeReport& report, const QuantizeOptions& options) {
  return fmt::format("quantized   {} linears as {}; {}\nmodel       {}\n", report.linears,
                     quant::describe(options.storage), format_bytes(int64_t(report.bytes)),
                     options.output);
}

}  // namespace

QuantizeReport quantize(const QuantizeOptions& options, Console& console) {
  options.storage.format->check(options.storage);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(options.model);
  const quant::Storage stored = lora::checkpoint_format(checkpoint).linear;
  if (!stored.format->dtype) {
    fail_usage("{} is quantized already: {}", options.model, quant::describe(stored));
  }
  for (const std::string& note : checkpoint.notes()) console.line(note);

  const StopSignals signals;
  Context ctx(Device::cpu(), thread_count(options.threads), 0);
  QuantizedTensors tensors(ctx, checkpoint, options.storage);
  const auto bytes_of = [&](const lora::TensorInfo& info) { return tensors.bytes_of(info); };
  ModelFolder folder(
      options.output, checkpoint,
      {.bytes_of = bytes_of, .shard_bytes = uint64_t(options.shard_bytes), .spools = true});
  tensors.keep_in(folder.temporary());
  int64_t done = 0;
  const auto next = [&] {
    if (StopSignals::received()) fail("stopped by a signal; {} was not written", options.output);
    console.live(fmt::format("quantizing: tensor {}/{}", ++done, checkpoint.tensors().size()));
  };
  folder.write_tensors(
      {[&](std::span<const lora::TensorInfo> of_file) { return tensors.begin(of_file, next); },
       [&](const std::string& entry) { return tensors.bytes(entry); }});
  console.live("");
  for (const std::string& note : folder.commit(config_of(checkpoint, options.storage))) {
    console.line(note);
  }
  return {tensors.linears(), folder.tensor_bytes()};
}

void declare_quantize(CLI::App* command, int&) {
  struct Options : QuantizeOptions {
    std::optional<const quant::Format*> type;
    std::optional<bool> double_quant;
    std::optional<int> block;
  };
  auto options = std::make_shared<Options>();
  add_path(command, "model", options->model, "Model: a Hugging Face folder or a .gguf file")
      ->required();
  add_path(command, "output", options->output, "Folder to make; must not exist")->required();
  add_choice<const quant::Format*>(command, "--quant_type", options->type,
                                   {{"nf4", &quant::kNf4Format}, {"fp4", &quant::kFp4Format}},
                                   "nf4 (the default) or fp4");
  add_choice<bool>(command, "--double_quant", options->double_quant,
                   {{"true", true}, {"false", false}},
                   "Quantize the scales, too: true (the default) or false");
  std::map<std::string, int> blocks;
  for (int block = 32; block <= 4096; block *= 2) blocks[std::to_string(block)] = block;
  add_choice<int>(command, "--block", options->block, blocks,
                  "Weights that share one scale: 32, 64 (the default), 128, ... or 4096");
  add_number(command, "--max_shard_size", options->shard_bytes, SizeType{},
             "Bytes of tensors in a file")
      ->type_name("SIZE");
  add_number(command, "--threads", options->threads, IntType{1, 4096},
             "CPU threads; default: every core")
      ->type_name("N");
  command->footer(
      "\nThe linears of the layers become 4-bit, as transformers and bitsandbytes store them; all "
      "other\ntensors are copied. Runs on the folder start without quantizing again, and train the "
      "same\nadapters.\n\nExample: tessera quantize models/llama-3.1-8b models/llama-3.1-8b-nf4");
  command->callback([options] {
    require_cpu();
    require_alone("quantize");
    if (options->type) options->storage.format = *options->type;
    if (options->double_quant) options->storage.double_quant = *options->double_quant;
    if (options->block) options->storage.block = *options->block;
    Console console;
    options->model = find_model(options->model, console);
    const QuantizeReport report = quantize(*options, console);
    write_stdout(describe(report, *options));
  });
}

}  // namespace tessera::launch
