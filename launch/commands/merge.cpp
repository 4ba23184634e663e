#include "launch/commands/merge.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "launch/commands/arguments.h"
#include "launch/commands/merged_folder.h"
#include "launch/config/options.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "launch/run/adapter_run.h"
#include "launch/run/loaded_model.h"
#include "lora/adapter/peft.h"
#include "lora/model/loader.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/error.h"
#include "runtime/ops/matmul.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// The linears that may change, by the names of their weights.
std::unordered_map<std::string, lora::LinearId> linear_ids(const lora::ModelSpec& model) {
  std::unordered_map<std::string, lora::LinearId> linears;
  for (const lora::TensorRow& row : lora::linears_of(model)) linears[row.name()] = row.id();
  return linears;
}

/// Computes the merged tensors one by one; holds a few of the largest in float32.
class Merger {
 public:
  Merger(Context& ctx, const lora::Checkpoint& checkpoint, const lora::AdapterSet& adapters,
         const std::optional<quant::Storage>& base, MergeReport& report)
      : ctx_(ctx),
        checkpoint_(checkpoint),
        adapters_(adapters),
        base_(base),
        report_(report),
        linears_(linear_ids(checkpoint.spec())) {
    size_t largest = 0;
    for (const auto& info : checkpoint.tensors()) {
      largest = std::max(largest, size_t(info.numel()));
    }
    values_ = Buffer::host(largest * sizeof(float));
    original_ = Buffer::host(largest * sizeof(float));
    delta_ = Buffer::host(largest * sizeof(float));
    ctx.set_scratch(Arena(size_t{1} << 20));
  }

  /// The values of the merged tensor in report.dtype; valid until the next call.
  std::span<const std::byte> make(const std::string& name) {
    const lora::TensorInfo& info = checkpoint_.info(name);
    const std::span<float> w(values_.as<float>(), size_t(info.numel()));
    checkpoint_.read_f32(name, w);
    const auto linear = linears_.find(name);
    if (linear == linears_.end()) return rounded(w, name);
    const std::span<float> before(original_.as<float>(), w.size());
    std::copy(w.begin(), w.end(), before.begin());
    if (report_.into == MergeInto::kDequantized) requantize(w, info);
    if (const lora::Adapter* adapter = adapters_.find(linear->second.layer, linear->second.site)) {
      add(*adapter, w, info);
    }
    const std::span<const std::byte> bytes = rounded(w, name);
    measure(before, w, name);
    return bytes;
  }

  void finish() { report_.mean = sum_ / double(std::max<int64_t>(count_, 1)); }

 private:
  /// w becomes what the run computed with.
  void requantize(std::span<float> w, const lora::TensorInfo& info) {
    const quant::FrozenSpec spec{*base_, info.shape[0], info.shape[1]};
    blob_.resize(spec.bytes());
    quant::FrozenMatrix::quantize(ctx_, spec, w, blob_.data(), info.name);
    quant::FrozenMatrix(spec, blob_.data())
        .dequantize(ctx_, Tensor::of(w, {info.shape[0], info.shape[1]}));
  }

  void add(const lora::Adapter& adapter, std::span<float> w, const lora::TensorInfo& info) {
    const std::span<float> delta(delta_.as<float>(), w.size());
    matmul(ctx_, Tensor::of(delta, {info.shape[0], info.shape[1]}), adapter.b, adapter.a, {});
    for (size_t i = 0; i < w.size(); ++i) w[i] += adapter.scale * delta[i];
  }

  /// The bytes to write; w becomes what they stand for.
  std::span<const std::byte> rounded(std::span<float> w, const std::string& name) {
    if (report_.dtype == DType::kBF16) return narrow<bf16>(w, name, to_bf16);
    if (report_.dtype == DType::kF16) return narrow<f16>(w, name, to_f16);
    for (float x : w) require_finite(x, x, name);
    return std::as_bytes(w);
  }

  template <class T>
  std::span<const std::byte> narrow(std::span<float> w, const std::string& name,
                                    T (*round)(float)) {
    // delta_ is free again by now, and wide enough.
    const std::span<T> out(delta_.as<T>(), w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      out[i] = round(w[i]);
      require_finite(to_float(out[i]), w[i], name);
      w[i] = to_float(out[i]);
    }
    return std::as_bytes(out);
  }

  void require_finite(float written, float computed, const std::string& name) const {
    if (std::isfinite(written)) return;
    fail("tensor {}: {} does not fit into {}; try --dtype float32 or bfloat16", name, computed,
         name_of(report_.dtype));
  }

  void measure(std::span<const float> before, std::span<const float> after,
               const std::string& name) {
    double largest = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      const double d = std::abs(double(after[i]) - double(before[i]));
      largest = std::max(largest, d);
      sum_ += d;
    }
    count_ += int64_t(after.size());
    if (largest > report_.largest || report_.largest_in.empty()) {
      report_.largest = largest;
      report_.largest_in = name;
    }
  }

  Context& ctx_;
  const lora::Checkpoint& checkpoint_;
  const lora::AdapterSet& adapters_;
  const std::optional<quant::Storage>& base_;
  MergeReport& report_;
  std::unordered_map<std::string, lora::LinearId> linears_;
  Buffer values_, original_, delta_;
  std::vector<std::byte> blob_;
  double sum_ = 0;
  int64_t count_ = 0;
};

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
  Merger merger(ctx, checkpoint, adapters, base, report);
  MergedFolder folder(options.output, checkpoint, report.dtype, options.shard_bytes);
  int64_t done = 0;
  const int64_t total = int64_t(checkpoint.tensors().size());
  folder.write_tensors([&](const std::string& name) {
    if (StopSignals::received()) fail("stopped by a signal; {} was not written", options.output);
    console.live(fmt::format("merging: tensor {}/{}", ++done, total));
    return merger.make(name);
  });
  console.live("");
  merger.finish();
  report.bytes = folder.tensor_bytes();
  for (const std::string& note : folder.commit()) console.line(note);
  return report;
}

std::string describe(const MergeReport& report, const std::string& output) {
  return fmt::format(
      "merged      into the {} weights, {}, {}\n"
      "difference  to the base: largest {:.3g} (in {}), mean {:.3g}\n"
      "model       {}\n",
      report.into == MergeInto::kDequantized ? "dequantized" : "original", name_of(report.dtype),
      format_bytes(int64_t(report.bytes)), report.largest, report.largest_in, report.mean, output);
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
      {{"dequantized", MergeInto::kDequantized}, {"original", MergeInto::kOriginal}},
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
