#include "launch/commands/quantize.h"

#include <map>
#include <set>

#include "launch/commands/arguments.h"
#include "launch/commands/model_folder.h"
#include "launch/commands/quantized_linears.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "lora/model/loader.h"
#include "quant/format_4bit.h"
#include "runtime/core/buffer.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// Makes the tensors of a file.
class QuantizedTensors {
 public:
  QuantizedTensors(Context& ctx, const lora::Checkpoint& checkpoint, const quant::Storage& storage)
      : checkpoint_(checkpoint), linears_(ctx, storage) {
    for (const lora::TensorRow& row : lora::linears_of(checkpoint.spec())) {
      names_.insert(row.name());
    }
  }

  /// Before the first file.
  void keep_in(const std::string& folder) { linears_.keep_in(folder); }
  uint64_t bytes_of(const lora::TensorInfo& info) const {
    return is_linear(info) ? linears_.bytes_of(info) : info.bytes();
  }

  std::vector<io::SafetensorsEntry> begin(std::span<const lora::TensorInfo> tensors,
                                          FunctionRef<void()> next) {
    linears_.begin_file();
    dense_.clear();
    std::vector<io::SafetensorsEntry> entries;
    for (const lora::TensorInfo& info : tensors) {
      next();
      const std::string stored = checkpoint_.stored_name(info.name);
      if (is_linear(info)) {
        const std::span<std::byte> memory = room(size_t(info.numel()) * sizeof(float));
        const std::span<float> values(reinterpret_cast<float*>(memory.data()),
                                      size_t(info.numel()));
        checkpoint_.read_f32(info.name, values);
        linears_.add(info, stored, info.dtype, values, entries);
        continue;
      }
      dense_[stored] = info.name;
      entries.push_back(
          {.name = stored, .dtype = io::safetensors_name(info.dtype), .shape = info.shape});
    }
    return entries;
  }

  std::span<const std::byte> bytes(const std::string& stored) {
    if (linears_.has(stored)) return linears_.bytes(stored);
    const std::string& name = dense_.at(stored);
    const std::span<std::byte> out = room(checkpoint_.info(name).bytes());
    checkpoint_.read(name, out);
    return out;
  }

  int64_t linears() const { return int64_t(names_.size()); }

 private:
  bool is_linear(const lora::TensorInfo& info) const { return names_.contains(info.name); }
  std::span<std::byte> room(size_t bytes) {
    if (memory_.size() < bytes) {
      memory_ = Buffer();  // first, so that the two never exist together
      memory_ = Buffer::host(bytes);
    }
    return {memory_.data(), bytes};
  }

  const lora::Checkpoint& checkpoint_;
  QuantizedLinears linears_;
  std::set<std::string> names_;               // of the linears
  std::map<std::string, std::string> dense_;  // of the file that is being written; to the table's
  Buffer memory_;
};

json config_of(const lora::Checkpoint& checkpoint, const quant::Storage& storage) {
  json config = io::parse_json(checkpoint.config(), checkpoint.path());
  const DType dtype = checkpoint.spec().dtype;
  if (!config.contains("dtype") && !config.contains("torch_dtype"))
    config["dtype"] = name_of(dtype);
  config["quantization_config"] = quantization_config(checkpoint, storage, dtype);
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
