#include "launch/commands/merge.h"

#include "launch/commands/arguments.h"
#include "launch/commands/merged_folder.h"
#include "launch/commands/merged_weights.h"
#include "launch/config/options.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "launch/run/adapter_run.h"
#include "launch/run/loaded_model.h"
#include "lora/adapter/peft.h"
#include "runtime/core/error.h"

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

}  // namespace

MergeReport merge(const MergeOptions& options, Console& console) {
  const AdapterRun run = AdapterRun::of(options.adapter, {});
  if (!run.finished && !options.partial) {
    fail_usage(
        "the run of the adapter {} is not finished; go on with resume_from_checkpoint=auto, or "
        "merge what there is with --partial",
        options.adapter);
  }
  const std::optional<quant::Storage> base = base_of(options, run);
  const lora::PeftFolder adapter = open_adapter(options.adapter, console);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(options.base_model);
  const lora::AdapterSet adapters = lora::load_peft(adapter, checkpoint.spec());
  MergeReport report;
  report.into = base ? MergeInto::kDequantized : MergeInto::kOriginal;
  report.dtype = options.dtype.value_or(checkpoint.spec().dtype);

  const StopSignals signals;
  Context ctx(Device::cpu(), thread_count(options.threads), 0);
  MergedWeights weights(ctx, checkpoint, adapters, base, report);
  MergedFolder folder(options.output, checkpoint, report.dtype, options.shard_bytes);
  int64_t done = 0;
  const int64_t total = int64_t(checkpoint.tensors().size());
  folder.write_tensors([&](const std::string& name) {
    if (StopSignals::received()) fail("stopped by a signal; {} was not written", options.output);
    console.live(fmt::format("merging: tensor {}/{}", ++done, total));
    return weights.make(name);
  });
  console.live("");
  weights.finish();
  report.bytes = folder.tensor_bytes();
  for (const std::string& note : folder.commit()) console.line(note);
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
    const MergeReport report = merge(*options, console);
    write_stdout(describe(report, options->output));
  });
}

}  // namespace tessera::launch
