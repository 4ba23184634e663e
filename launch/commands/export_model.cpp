// A whole model as a GGUF file: its settings, its tokenizer and its tensors, one at a time.
#include <algorithm>
#include <filesystem>

#include "launch/commands/export.h"
#include "launch/commands/gguf_rows.h"
#include "launch/commands/merged_weights.h"
#include "launch/machine/processors.h"
#include "launch/machine/signals.h"
#include "launch/text/tokenizer/gguf_vocabulary_writer.h"
#include "lora/model/gguf_settings.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// Of ggml's block formats.
constexpr uint32_t kQuantizationVersion = 2;

const lora::GgufMix& type_of(const ExportOptions& options, DType stored) {
  if (options.type) return *options.type;
  const lora::GgufMix* mix = lora::find_gguf_mix(stored == DType::kBF16  ? "bf16"
                                                 : stored == DType::kF16 ? "f16"
                                                                         : "f32");
  TESSERA_CHECK(mix);
  return *mix;
}

/// What a reader of the notes should know of a base that is not in floats.
void note_quantized(const lora::Checkpoint& base, std::vector<std::string>& notes) {
  bool quantized = false;
  if (io::is_folder(base.path())) {
    quantized = std::ranges::any_of(base.tensors(),
                                    [](const auto& info) { return info.quantized.has_value(); });
  } else if (fs::path(base.path()).extension() == ".gguf") {
    const io::GgufFile file(base.path());
    quantized = std::ranges::any_of(file.tensors(), [](const io::GgufTensor& tensor) {
      return io::block_of(tensor.type).elements > 1;
    });
  }
  if (!quantized) return;
  notes.push_back(fmt::format(
      "note: {} is quantized already: what its weights lost stays lost, and a quantized --type "
      "loses more than it would of the original",
      base.path()));
}

/// A model's file, before the first byte of it is written.
class ModelFile {
 public:
  ModelFile(const ExportOptions& options, const MergeInputs& inputs)
      : inputs_(inputs), spec_(inputs.checkpoint.spec()), mix_(type_of(options, spec_.dtype)) {
    const lora::Checkpoint& base = inputs.checkpoint;
    const std::string architecture = lora::gguf_architecture(base.config(), base.path());
    spec_.tied_head = spec_.tied_head && !inputs.unties_head();
    put_general(architecture, options);
    settings_ = lora::put_gguf_settings(spec_, architecture, base.path(), metadata_);
    put_tokenizer(options);
    // Some architectures need a head even where it is the embedding.
    spec_.tied_head = !settings_.has_own_head;
    rows_ = lora::tensors_of(spec_);
    lay_out(architecture);
  }

  const std::vector<lora::TensorRow>& rows() const { return rows_; }
  const io::GgufLayout& layout() const { return layout_; }
  const std::vector<lora::GgufFactors>& factors() const { return settings_.factors; }

  ExportReport report() const {
    ExportReport report;
    report.architecture = settings_.architecture;
    report.type = mix_.name;
    report.bytes = layout_.file_bytes;
    for (const io::GgufEntry& entry : layout_.entries) {
      ++report.tensors[std::string(io::name_of(entry.type))];
      int64_t count = 1;
      for (const int64_t extent : entry.shape) count *= extent;
      report.weights += count;
    }
    report.notes = settings_.notes;
    report.notes.insert(report.notes.end(), notes_.begin(), notes_.end());
    note_quantized(inputs_.checkpoint, report.notes);
    return report;
  }

  /// Adds a note for each text of which the file's vocabulary makes other tokens.
  void compare_tokens(const ExportOptions& options) {
    if (!has_tokenizer_) return;
    const std::string path = options.merge.output + ".vocabulary.gguf";
    io::GgufWriter(path, io::lay_out(metadata_, {})).commit();
    std::vector<std::string> lines;
    try {
      lines = differences_in_gguf(inputs_.checkpoint.path(), path);
    } catch (const Error& error) {
      lines = {
          options.tokenizer_pre
              ? fmt::format("warning: --tokenizer_pre {}: not known here, so that the tokens "
                            "are not checked; llama.cpp must know it",
                            io::printable(*options.tokenizer_pre))
              : fmt::format("warning: the vocabulary could not be read back: {}", error.what())};
    }
    io::remove_all(path);
    notes_.insert(notes_.end(), lines.begin(), lines.end());
  }

 private:
  void put_general(const std::string& architecture, const ExportOptions& options) {
    metadata_.put_text("general.architecture", architecture);
    metadata_.put_text("general.type", "model");
    metadata_.put_text("general.name", io::absolute(options.merge.base_model).stem().string());
    metadata_.put_u32("general.file_type", mix_.number);
    metadata_.put_u32("general.quantization_version", kQuantizationVersion);
  }

  void put_tokenizer(const ExportOptions& options) {
    const std::string& path = inputs_.checkpoint.path();
    has_tokenizer_ = has_tokenizer(path);
    if (!has_tokenizer_) {
      metadata_.put_text("tokenizer.ggml.model", "none");
      notes_.push_back(fmt::format(
          "note: {} has no tokenizer, and so has the file: llama.cpp takes ids of tokens only",
          path));
      return;
    }
    std::optional<int32_t> bos;
    if (spec_.bos_id >= 0) bos = spec_.bos_id;
    std::vector<std::string> notes = put_gguf_vocabulary(path,
                                                         {.vocab = spec_.vocab,
                                                          .bos = bos,
                                                          .eos_ids = spec_.eos_ids,
                                                          .architecture = settings_.architecture,
                                                          .pre = options.tokenizer_pre},
                                                         metadata_);
    notes_.insert(notes_.end(), notes.begin(), notes.end());
  }

  void lay_out(const std::string& architecture) {
    const std::vector<io::GgufType> types = lora::gguf_types_of(spec_, rows_, mix_, architecture);
    std::vector<io::GgufEntry> entries;
    for (const lora::GgufFactors& factors : settings_.factors) {
      entries.push_back({.name = std::string(factors.name),
                         .type = io::GgufType::kF32,
                         .shape = {int64_t(factors.values.size())}});
    }
    for (size_t i = 0; i < rows_.size(); ++i) {
      entries.push_back({.name = rows_[i].gguf, .type = types[i], .shape = rows_[i].shape});
    }
    layout_ = io::lay_out(metadata_, std::move(entries));
  }

  const MergeInputs& inputs_;
  lora::ModelSpec spec_;  // of the file
  const lora::GgufMix& mix_;
  io::GgufMetadata metadata_;
  lora::GgufSettings settings_;
  std::vector<lora::TensorRow> rows_;
  io::GgufLayout layout_;
  std::vector<std::string> notes_;
  bool has_tokenizer_ = false;
};

/// The name of the tensor that a row's values come from: of a tied head, the embedding.
std::string source_of(const lora::TensorRow& row, const MergeInputs& inputs) {
  const lora::ModelSpec& spec = inputs.checkpoint.spec();
  const bool tied = spec.tied_head && !inputs.unties_head();
  return row.role == lora::Role::kHead && tied ? lora::embedding_weight(spec) : row.name();
}

}  // namespace

ExportReport export_model(const ExportOptions& options, const MergeInputs& inputs,
                          Console& console) {
  const std::string& output = options.merge.output;
  ModelFile model(options, inputs);
  check_export_room(output, model.layout().file_bytes);
  const StopSignals signals;
  model.compare_tokens(options);

  Context ctx(Device::cpu(), thread_count(options.merge.threads), 0);
  MergeReport merged;  // in float32, which no rounding precedes
  MergedWeights weights(ctx, inputs.checkpoint, inputs.adapters, inputs.base, merged);
  io::GgufWriter file(output, model.layout());
  GgufRowWriter out(file, ctx.threads());
  const io::GgufEntry* entry = model.layout().entries.data();
  for (const lora::GgufFactors& factors : model.factors()) out.write(*entry++, factors.values, 0);
  std::vector<float> shifted;
  for (const lora::TensorRow& row : model.rows()) {
    if (StopSignals::received()) fail("stopped by a signal; {} was not written", output);
    console.live(fmt::format("exporting: tensor {}/{}", &row - model.rows().data() + 1,
                             model.rows().size()));
    const std::span<const std::byte> bytes = weights.make(source_of(row, inputs));
    std::span<const float> values(reinterpret_cast<const float*>(bytes.data()),
                                  bytes.size() / sizeof(float));
    if (row.gguf_plus != 0) {
      shifted.assign(values.begin(), values.end());
      for (float& value : shifted) value += row.gguf_plus;
      values = shifted;
    }
    out.write(*entry++, values, row.interleaved_heads);
  }
  console.live("");
  file.commit();
  return model.report();
}

}  // namespace tessera::launch
