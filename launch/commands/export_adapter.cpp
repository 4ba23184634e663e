// An adapter as llama.cpp's LoRA file: the matrices A and B of each linear under its name in the
// base's file, and one alpha for all. llama.cpp multiplies their product by alpha / rank.
#include <cmath>

#include "launch/commands/export.h"
#include "launch/commands/gguf_rows.h"
#include "launch/machine/processors.h"
#include "lora/model/gguf_settings.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

/// Error naming what llama.cpp's file has no place for.
void check_parts(const lora::TrainedParts& parts, const std::string& adapter) {
  const char* part = !parts.whole.empty()        ? "modules that are trained in full"
                     : !parts.tokens.ids.empty() ? "rows of the embedding"
                                                 : nullptr;
  if (!part) return;
  fail_usage(
      "{} has {}, which llama.cpp's adapter files cannot hold; export the merged model, without "
      "--adapter_only",
      adapter, part);
}

/// The alpha that gives a linear its scale, which rslora takes by the root of the rank.
double alpha_of(lora::TrainedParts::Size size, bool rslora) {
  return rslora ? size.alpha * std::sqrt(double(size.r)) : size.alpha;
}

}  // namespace

ExportReport export_adapter(const ExportOptions& options, const MergeInputs& inputs) {
  const lora::AdapterSet& adapters = inputs.adapters;
  const lora::TrainedParts& parts = adapters.parts();
  const std::string& output = options.merge.output;
  check_parts(parts, options.merge.adapter);
  const lora::GgufMix& mix = options.type ? *options.type : *lora::find_gguf_mix("f32");
  if (io::block_of(mix.usual).elements > 1) {
    fail_usage("--adapter_only takes --type f32, f16 or bf16, but {} is given", mix.name);
  }

  ExportReport report;
  const lora::Checkpoint& base = inputs.checkpoint;
  report.architecture = lora::gguf_architecture(base.config(), base.path());
  report.type = mix.name;
  const bool rslora = adapters.options().rslora;
  const double alpha = alpha_of(parts.sizes.at(0), rslora);
  io::GgufMetadata metadata;
  metadata.put_text("general.architecture", report.architecture);
  metadata.put_text("general.type", "adapter");
  metadata.put_text("general.name", io::absolute(options.merge.adapter).filename().string());
  metadata.put_text("adapter.type", "lora");
  metadata.put_f32("adapter.lora.alpha", float(alpha));
  metadata.put_u32("general.file_type", mix.number);
  std::vector<io::GgufEntry> entries;
  for (const lora::TensorRow& row : parts.linears) {
    const lora::Adapter& adapter = *adapters.find(row.layer, row.site);
    const int64_t r = adapter.a.rows();
    entries.push_back({.name = row.gguf + ".lora_a", .type = mix.usual, .shape = {r, row.in()}});
    entries.push_back({.name = row.gguf + ".lora_b", .type = mix.usual, .shape = {row.out(), r}});
    report.weights += r * (row.in() + row.out());
  }
  const io::GgufLayout layout = io::lay_out(metadata, std::move(entries));
  check_export_room(output, layout.file_bytes);

  io::GgufWriter file(output, layout);
  GgufRowWriter out(file, thread_count(options.merge.threads));
  std::vector<float> scaled;
  for (size_t i = 0; i < parts.linears.size(); ++i) {
    const lora::TensorRow& row = parts.linears[i];
    const lora::Adapter& adapter = *adapters.find(row.layer, row.site);
    out.write(layout.entries[2 * i], adapter.a.span<const float>(), 0);
    std::span<const float> b = adapter.b.span<const float>();
    // One alpha is the first linear's; B makes up for the others.
    const double factor = alpha_of(parts.sizes[i], rslora) / alpha;
    if (factor != 1) {
      scaled.clear();
      for (const float value : b) scaled.push_back(float(double(value) * factor));
      b = scaled;
    }
    out.write(layout.entries[2 * i + 1], b, row.interleaved_heads);
  }
  file.commit();
  report.tensors[std::string(io::name_of(mix.usual))] = int64_t(layout.entries.size());
  report.bytes = layout.file_bytes;
  return report;
}

}  // namespace tessera::launch
