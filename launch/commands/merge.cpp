#include "launch/commands/merge.h"

#include <map>

#include "launch/commands/arguments.h"
#include "launch/commands/merged_weights.h"
#include "launch/commands/model_folder.h"
#include "launch/config/options.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "launch/run/adapter_run.h"
#include "launch/run/loaded_model.h"
#include "lora/adapter/peft.h"
#include "lora/model/loader.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

std::string name_of(MergeInto into) {
  switch (into) {
    case MergeInto::kDequantized:
      return "dequantized";
    case MergeInto::kOriginal:
      return "original";
  }
  return "";
}

/// How the base was quantized that the adapter is added to, by what is asked for and what the run
/// was; nothing: it is added to the original.
std::optional<quant::Storage> base_of(const MergeOptions& options, const AdapterRun& run) {
  std::optional<quant::Storage> base;
  if (run.base && options.into != MergeInto::kOriginal) base = quantization(*run.base);
  if (options.into == MergeInto::kDequantized && !base) {
    fail_usage(
        "--merge_into dequantized needs the config.resolved.yml of a 4-bit run beside the adapter "
        "{}; use --merge_into original",
        options.adapter);
  }
  return base;
}

/// Error where the options, or the adapter's run, ask for another base than a quantized checkpoint,
/// whose weights are added to as they decode.
void check_quantized_base(const MergeOptions& options, const AdapterRun& run,
                          const lora::BaseFormat& stored) {
  if (options.into == MergeInto::kOriginal) {
    fail_usage(
        "--merge_into original needs the original weights, but {} is stored as {}; give the "
        "original checkpoint as --base_model",
        options.base_model, quant::describe(stored.linear));
  }
  if (!run.base || run.base->adapter == AdapterKind::kLora) return;
  Config config = *run.base;
  config.base_model = options.base_model;
  with_stored_format(config, stored);
}

/// A tied head becomes a matrix of its own where the embedding or the head is trained alone.
bool unties_head(const lora::Checkpoint& base, const lora::AdapterSet& adapters) {
  return base.spec().tied_head && !adapters.parts().whole.empty() && !adapters.ties_head();
}

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

}  // namespace

MergeReport merge(const MergeOptions& options, Console& console) {
  const AdapterRun run = AdapterRun::of(options.adapter, {});
  if (!run.finished && !options.partial) {
    fail_usage(
        "the run of the adapter {} is not finished; go on with resume_from_checkpoint=auto, or "
        "merge what there is with --partial",
        options.adapter);
  }
  std::optional<quant::Storage> base = base_of(options, run);
  const lora::PeftFolder adapter = open_adapter(options.adapter, console);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(options.base_model);
  const lora::AdapterSet adapters = lora::load_peft(adapter, checkpoint.spec());
  MergeReport report;
  report.into = base ? MergeInto::kDequantized : MergeInto::kOriginal;
  if (const lora::BaseFormat stored = lora::checkpoint_format(checkpoint);
      !stored.linear.format->dtype) {
    check_quantized_base(options, run, stored);
    const std::string warning = other_base_warning(run, options.base_model, stored);
    if (!warning.empty()) console.line(warning);
    report.into = MergeInto::kDequantized;
    base.reset();
  }
  for (const std::string& note : checkpoint.notes()) console.line(note);
  report.dtype = options.dtype.value_or(checkpoint.spec().dtype);

  const StopSignals signals;
  Context ctx(Device::cpu(), thread_count(options.threads), 0);
  MergedWeights weights(ctx, checkpoint, adapters, base, report);
  const size_t element = size_of(report.dtype);
  const bool unties = unties_head(checkpoint, adapters);
  const std::string embedding = lora::embedding_weight(checkpoint.spec());
  const std::string head(lora::kHeadWeight);
  const auto bytes_of = [&](const lora::TensorInfo& info) {
    const uint64_t copies = unties && info.name == embedding ? 2 : 1;
    return copies * uint64_t(info.numel()) * element;
  };
  ModelFolder folder(options.output, checkpoint,
                     {.bytes_of = bytes_of, .shard_bytes = options.shard_bytes});
  std::map<std::string, std::string> names;  // of the model's tensors, by those in the folder
  int64_t done = 0;
  const auto entries = [&](std::span<const lora::TensorInfo> tensors) {
    std::vector<io::SafetensorsEntry> list;
    const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
      const std::string stored = checkpoint.stored_name(name);
      names[stored] = name;
      list.push_back({.name = stored, .dtype = io::safetensors_name(report.dtype), .shape = shape});
    };
    for (const lora::TensorInfo& info : tensors) {
      add(info.name, info.shape);
      if (unties && info.name == embedding) add(head, info.shape);
    }
    return list;
  };
  const auto bytes = [&](const std::string& stored) {
    if (StopSignals::received()) fail("stopped by a signal; {} was not written", options.output);
    console.live(fmt::format("merging: tensor {}/{}", ++done, checkpoint.tensors().size()));
    return weights.make(names.at(stored));
  };
  folder.write_tensors({entries, bytes});
  console.live("");
  weights.finish();
  report.bytes = folder.tensor_bytes();
  const nlohmann::json config = config_of(checkpoint, report.dtype, unties);
  for (const std::string& note : folder.commit(config)) console.line(note);
  return report;
}

std::string describe(const MergeReport& report, const std::string& output) {
  return fmt::format(
      "merged      into the {} weights, {}, {}\n"
      "difference  to the base: largest {:.3g} (in {}), mean {:.3g}\n"
      "model       {}\n",
      name_of(report.into), name_of(report.dtype), format_bytes(int64_t(report.bytes)),
      report.largest, report.largest_in, report.mean, output);
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
  add_choice<MergeInto>(
      command, "--merge_into", options->into,
      {{name_of(MergeInto::kDequantized), MergeInto::kDequantized},
       {name_of(MergeInto::kOriginal), MergeInto::kOriginal}},
      "dequantized (the weights trained on; the default of a 4-bit run) or original");
  add_choice<DType>(
      command, "--dtype", options->dtype,
      {{"float32", DType::kF32}, {"bfloat16", DType::kBF16}, {"float16", DType::kF16}},
      "float32, bfloat16 or float16; default: the checkpoint's");
  command->add_flag("--partial", options->partial, "Merge the adapter of an unfinished run");
  command->footer(
      "\nWrites a Hugging Face folder that transformers and Tessera load. Prints how far the "
      "merged\nweights are from the base's.\n\n"
      "Example: tessera merge --base_model models/smollm2 --adapter runs/first --output merged");
  command->callback([options] {
    require_cpu();
    require_alone("merge");
    Console console;
    options->base_model = find_model(options->base_model, console);
    const MergeReport report = merge(*options, console);
    write_stdout(describe(report, options->output));
  });
}

}  // namespace tessera::launch
