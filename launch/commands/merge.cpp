#include "launch/commands/merge.h"

#include <map>

#include "launch/commands/arguments.h"
#include "launch/commands/merge_inputs.h"
#include "launch/commands/merged_weights.h"
#include "launch/commands/model_folder.h"
#include "launch/commands/quantized_linears.h"
#include "launch/config/options.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "lora/model/loader.h"
#include "quant/format_4bit.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

/// The base's, of a model that is not quantized, in `dtype`.
nlohmann::json config_of(const lora::Checkpoint& base, DType dtype, bool unties) {
  nlohmann::json config = io::parse_json(base.config(), base.path());
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name_of(dtype);
  config.erase("quantization_config");
  if (unties) config["tie_word_embeddings"] = false;
  // Of a model with more than text.
  if (const auto text = config.find("text_config"); text != config.end() && text->is_object()) {
    for (const char* key : {"dtype", "torch_dtype"}) {
      if (text->contains(key)) (*text)[key] = name_of(dtype);
    }
    if (unties) (*text)["tie_word_embeddings"] = false;
  }
  return config;
}

/// How the linears are written: as the run or the checkpoint had them, where that is NF4.
quant::Storage nf4_of(const MergeInputs& inputs) {
  const quant::Storage stored = lora::checkpoint_format(inputs.checkpoint).linear;
  const quant::Storage storage = inputs.trained_over.value_or(stored);
  return storage.format == &quant::kNf4Format ? storage : quant::Storage();
}

/// Makes the tensors of a file.
class MergedTensors {
 public:
  MergedTensors(Context& ctx, const MergeInputs& inputs, MergeReport& report)
      : inputs_(inputs),
        checkpoint_(inputs.checkpoint),
        report_(report),
        weights_(ctx, checkpoint_, inputs.adapters, inputs.base, report),
        embedding_(lora::embedding_weight(checkpoint_.spec())) {
    weights_.set_trained_over(inputs.trained_over);
    if (report.quantized) linears_.emplace(ctx, *report.quantized);
  }

  /// Before the first file.
  void keep_in(const std::string& folder) {
    if (linears_) linears_->keep_in(folder);
  }
  uint64_t bytes_of(const lora::TensorInfo& info) const {
    if (is_quantized(info.name)) return linears_->bytes_of(info);
    return (unties(info) ? 2 : 1) * uint64_t(info.numel()) * size_of(report_.dtype);
  }
  std::vector<io::SafetensorsEntry> begin(std::span<const lora::TensorInfo> tensors,
                                          FunctionRef<void()> next) {
    if (linears_) linears_->begin_file();
    std::vector<io::SafetensorsEntry> entries;
    for (const lora::TensorInfo& info : tensors) {
      if (is_quantized(info.name)) {
        next();
        weights_.make_quantized(info.name, checkpoint_.stored_name(info.name), *linears_, entries);
        continue;
      }
      add(info.name, info.shape, entries);
      if (unties(info)) add(std::string(lora::kHeadWeight), info.shape, entries);
    }
    return entries;
  }
  std::span<const std::byte> bytes(const std::string& stored, FunctionRef<void()> next) {
    if (linears_ && linears_->has(stored)) return linears_->bytes(stored);
    next();
    return weights_.make(names_.at(stored));
  }
  void finish() { weights_.finish(); }

 private:
  bool is_quantized(const std::string& name) const { return linears_ && weights_.is_linear(name); }
  /// The embedding of a tied head that becomes a matrix of its own.
  bool unties(const lora::TensorInfo& info) const {
    return info.name == embedding_ && inputs_.unties_head();
  }
  void add(const std::string& name, const std::vector<int64_t>& shape,
           std::vector<io::SafetensorsEntry>& entries) {
    const std::string stored = checkpoint_.stored_name(name);
    names_[stored] = name;
    entries.push_back(
        {.name = stored, .dtype = io::safetensors_name(report_.dtype), .shape = shape});
  }

  const MergeInputs& inputs_;
  const lora::Checkpoint& checkpoint_;
  const MergeReport& report_;
  MergedWeights weights_;
  std::optional<QuantizedLinears> linears_;
  const std::string embedding_;
  std::map<std::string, std::string> names_;  // of the model's tensors, by those in the folder
};

/// "99.8 %, noise 31 %"
std::string describe_kept(const KeptChange& kept) {
  return fmt::format("{:.1f} %, noise {:.3g} %", 100 * kept.share(), 100 * kept.noise());
}

}  // namespace

MergeReport merge(const MergeOptions& options, Console& console) {
  const MergeInputs inputs = open_merge(options, console);
  const lora::Checkpoint& checkpoint = inputs.checkpoint;
  MergeReport report;
  report.into = inputs.into;
  report.dtype = options.dtype.value_or(checkpoint.spec().dtype);
  if (options.into_nf4) report.quantized = nf4_of(inputs);

  const StopSignals signals;
  Context ctx(Device::cpu(), thread_count(options.threads), 0);
  MergedTensors tensors(ctx, inputs, report);
  const auto bytes_of = [&](const lora::TensorInfo& info) { return tensors.bytes_of(info); };
  ModelFolder folder(options.output, checkpoint,
                     {.bytes_of = bytes_of,
                      .shard_bytes = options.shard_bytes,
                      .spools = report.quantized.has_value()});
  tensors.keep_in(folder.temporary());
  int64_t done = 0;
  const auto next = [&] {
    if (StopSignals::received()) fail("stopped by a signal; {} was not written", options.output);
    console.live(fmt::format("merging: tensor {}/{}", ++done, checkpoint.tensors().size()));
  };
  folder.write_tensors(
      {[&](std::span<const lora::TensorInfo> of_file) { return tensors.begin(of_file, next); },
       [&](const std::string& entry) { return tensors.bytes(entry, next); }});
  console.live("");
  tensors.finish();
  report.bytes = folder.tensor_bytes();
  nlohmann::json config = config_of(checkpoint, report.dtype, inputs.unties_head());
  if (report.quantized) {
    config["quantization_config"] =
        quantization_config(checkpoint, *report.quantized, report.dtype);
  }
  for (const std::string& note : folder.commit(config)) console.line(note);
  constexpr double kMost = 0.5;
  if (report.quantized && report.all_kept().share() < kMost) {
    console.line(
        "warning: 4 bits have lost most of the adapter's change; give the original checkpoint as "
        "--base_model, or use --merge_into dequantized");
  }
  return report;
}

std::string describe(const MergeReport& report, const std::string& output) {
  std::string text = fmt::format(
      "merged      into the {} weights, {}, {}\n"
      "difference  to the base: largest {:.3g} (in {}), mean {:.3g}\n"
      "            to what was trained: {}\n"
      "change      of the adapter in what is written: {}\n",
      name_of(report.into),
      report.quantized ? describe(report.quantized) : std::string(name_of(report.dtype)),
      format_bytes(int64_t(report.bytes)), report.largest, report.largest_in, report.mean,
      report.largest_from_trained == 0
          ? "none"
          : fmt::format("{:.3g} % of its size, largest {:.3g} (in {})", 100 * report.from_trained,
                        report.largest_from_trained, report.largest_from_trained_in),
      describe_kept(report.all_kept()));
  if (report.quantized) {
    for (const auto& [module, kept] : report.kept) {
      text += fmt::format("            {:<12} {}\n", module, describe_kept(kept));
    }
  }
  return text + fmt::format("model       {}\n", output);
}

void declare_merge(CLI::App* command, int&) {
  auto options = std::make_shared<MergeOptions>();
  add_model_options(command, *options);
  add_path(command, "--adapter", options->adapter, "Adapter folder, as training writes it")
      ->required()
      ->type_name("PATH");
  add_path(command, "--output", options->output, "Folder to make; must not exist")
      ->required()
      ->type_name("DIR");
  struct Target {
    std::optional<MergeInto> into;
    bool nf4 = false;
  };
  auto target = std::make_shared<std::optional<Target>>();
  add_choice<Target>(command, "--merge_into", *target,
                     {{name_of(MergeInto::kDequantized), {MergeInto::kDequantized}},
                      {name_of(MergeInto::kOriginal), {MergeInto::kOriginal}},
                      {"nf4", {std::nullopt, true}}},
                     "dequantized (the weights trained on; the default of a 4-bit run), original, "
                     "or nf4 (the sum is stored in 4 bits again)");
  add_choice<DType>(
      command, "--dtype", options->dtype,
      {{"float32", DType::kF32}, {"bfloat16", DType::kBF16}, {"float16", DType::kF16}},
      "float32, bfloat16 or float16; default: the checkpoint's");
  command->add_flag("--partial", options->partial, "Merge the adapter of an unfinished run");
  command->footer(
      "\nWrites a Hugging Face folder that transformers and Tessera load. Prints how far the "
      "written\nweights are from the base's and from what was trained, and how much of the "
      "adapter's "
      "change they\nhold.\n\n"
      "Example: tessera merge --base_model models/smollm2 --adapter runs/first --output merged");
  command->callback([options, target] {
    require_cpu();
    require_alone("merge");
    if (const std::optional<Target>& chosen = *target) {
      options->into = chosen->into;
      options->into_nf4 = chosen->nf4;
    }
    Console console;
    options->base_model = find_model(options->base_model, console);
    const MergeReport report = merge(*options, console);
    write_stdout(describe(report, options->output));
  });
}

}  // namespace tessera::launch
