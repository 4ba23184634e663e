// The tensors of a Hugging Face folder, under whichever of the published names it has them.
#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_set>
#include <utility>

#include "lora/model/bnb_linear.h"
#include "lora/model/checkpoint_shards.h"
#include "lora/model/checkpoint_source.h"
#include "lora/model/fp8_linear.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"
#include "runtime/io/safetensors.h"

namespace tessera::lora {
namespace {

using Found = Shards::Found;

constexpr std::string_view kTextPrefix = "model.";
// What the names of a text model's tensors begin with: as transformers has them, inside of a model
// with more than text as transformers 5 and 4 have it, and without the head (AutoModel's).
constexpr std::string_view kPrefixes[] = {kTextPrefix, "model.language_model.",
                                          "language_model.model.", "language_model.", ""};
constexpr std::string_view kHeads[] = {kHeadWeight, "language_model.lm_head.weight"};
// Buffers that old versions of transformers saved; they are computed.
constexpr std::string_view kBuffers[] = {".inv_freq", ".position_ids", ".rotary_emb.cos_cached",
                                         ".rotary_emb.sin_cached"};
// What FP8 checkpoints hold to quantize activations and the cache with.
constexpr std::string_view kActivationScales[] = {".activation_scale", ".input_scale", ".k_scale",
                                                  ".v_scale"};

StoredNames names_in(const Shards& shards, const ModelSpec& spec) {
  const std::string embedding = embedding_weight(spec).substr(spec.prefix.size());
  const std::string layer = layers_path(spec).substr(spec.prefix.size()) + "0.";
  const auto is_there = [&](std::string_view prefix) {
    if (shards.find(std::string(prefix) + embedding)) return true;
    const std::string first = std::string(prefix) + layer;
    return std::ranges::any_of(shards.files(), [&](const io::SafetensorsFile& file) {
      return std::ranges::any_of(file.entries(), [&](const io::SafetensorsEntry& entry) {
        return entry.name.starts_with(first);
      });
    });
  };
  StoredNames names{.prefix = spec.prefix, .stored = spec.prefix};
  if (!is_there(spec.prefix)) {
    const auto known = std::ranges::find_if(kPrefixes, is_there);
    if (known != std::end(kPrefixes)) names.stored = *known;
  }
  for (std::string_view head : kHeads) {
    if (!shards.find(head)) continue;
    names.head = head;
    break;
  }
  return names;
}

DType dtype_of(const io::SafetensorsEntry& entry, std::string_view file) {
  const std::optional<DType> dtype = io::safetensors_dtype(entry.dtype);
  if (dtype && is_float(*dtype)) return *dtype;
  fail("{}: tensor '{}' is {}; a weight has to be F32, BF16 or F16", file,
       io::printable(entry.name), entry.dtype);
}

bool same_bytes(const Shards& shards, const Found& a, const Found& b) {
  if (a.entry->dtype != b.entry->dtype || a.entry->shape != b.entry->shape) return false;
  std::vector<std::byte> left(1 << 20), right(1 << 20);
  for (uint64_t begin = 0; begin < a.entry->bytes; begin += left.size()) {
    const size_t n = std::min<uint64_t>(left.size(), a.entry->bytes - begin);
    shards.files()[a.file].read(*a.entry, begin, std::span(left).first(n));
    shards.files()[b.file].read(*b.entry, begin, std::span(right).first(n));
    if (!std::equal(left.begin(), left.begin() + std::ptrdiff_t(n), right.begin())) return false;
  }
  return true;
}

bool ends_with_any(std::string_view name, std::span<const std::string_view> ends) {
  return std::ranges::any_of(ends, [&](std::string_view end) { return name.ends_with(end); });
}

/// Finds the tensors of one spec in the files of one folder.
class FolderReader {
 public:
  FolderReader(const ModelSpec& spec, const std::string& folder)
      : spec_(spec), folder_(folder), shards_(folder) {
    found_.names = names_in(shards_, spec);
  }

  FoundTensors read() && {
    if (spec_.may_be_tied) spec_.tied_head = true;
    untie();
    found_.ties_head = spec_.tied_head;
    for (const TensorRow& row : tensors_of(spec_)) {
      const Found at = place_of(row);
      used_.insert(at.entry->name);
      found_.tensors.push_back(add(row, at));
    }
    look_at_others();
    found_.source.files = std::move(shards_).take_files();
    return std::move(found_);
  }

 private:
  /// A head that the config calls tied and that differs from the embedding is one of its own, as in
  /// transformers.
  void untie() {
    if (!spec_.tied_head) return;
    const std::string name = found_.names.of(embedding_weight(spec_));
    const std::optional<Found> embedding = shards_.find(name);
    const std::optional<Found> head = shards_.find(found_.names.head);
    if (!embedding && !head) {
      fail("{}: neither '{}' nor '{}' is there", folder_, name, found_.names.head);
    }
    if (head) used_.insert(head->entry->name);
    if (!embedding || !head || same_bytes(shards_, *embedding, *head)) return;
    spec_.tied_head = false;
    if (spec_.may_be_tied) return;  // the config says nothing else
    found_.unties_head = true;
    found_.notes.push_back(fmt::format(
        "warning: {}: tie_word_embeddings is true, but '{}' and '{}' differ; both are used, as "
        "transformers does",
        folder_, name, found_.names.head));
  }

  Found place_of(const TensorRow& row) const {
    const std::string name = found_.names.of(row.name());
    std::optional<Found> at = shards_.find(name);
    // With a tied head either name may be the stored one.
    if (!at && spec_.tied_head && row.role == Role::kEmbedding) {
      at = shards_.find(found_.names.head);
    }
    if (at) return *at;
    fail("{}: tensor '{}' is missing{}", folder_, name,
         row.role == Role::kHead ? "; where the head is tied, config.json says tie_word_embeddings"
                                 : "");
  }

  TensorInfo add(const TensorRow& row, const Found& at) {
    TensorInfo info = info_of(row);
    const std::string& file = shards_.path(at);
    if (BnbLinear::is_bnb(shards_, at)) {
      if (row.role != Role::kLinear) {
        fail("{}: tensor '{}' is stored in 4 bits; only linears of the layers may be", file,
             io::printable(at.entry->name));
      }
      BnbLinear linear(shards_, at, row.out(), row.in());
      info.quantized = linear.spec();
      used_.insert(linear.parts().begin(), linear.parts().end());
      found_.source.add(info.name, std::move(linear));
      return info;
    }
    check_shape(info, at.entry->shape, file);
    if (at.entry->dtype == kFp8 && info.shape.size() == 2) {
      info.dtype = spec_.dtype;
      Fp8Linear linear(shards_, at, info.shape[0], info.shape[1]);
      used_.insert(linear.scales_name());
      found_.source.add(info.name, std::move(linear));
      fp8_ = true;
      return info;
    }
    info.dtype = dtype_of(*at.entry, file);
    found_.source.add(info.name, StoredTensor{.file = at.file,
                                              .offset = at.entry->offset,
                                              .encoding = io::stored_as(info.dtype),
                                              .interleaved_heads = 0});
    return info;
  }

  /// Whether it belongs to what predicts more tokens at once: a head, or layers behind the last of
  /// which the config tells.
  bool is_of_more_layers(std::string_view name) const {
    const std::string& prefix = found_.names.stored;
    if (name.starts_with("mtp.") || name.starts_with(prefix + "mtp.")) return true;
    const std::string layers = prefix + layers_path(spec_).substr(spec_.prefix.size());
    if (!name.starts_with(layers)) return false;
    int64_t layer = -1;
    std::from_chars(name.data() + layers.size(), name.data() + name.size(), layer);
    return layer >= spec_.layer_count() && layer - spec_.layer_count() < spec_.extra_layers;
  }

  /// In a model of text alone, a tensor that the config's model does not have means that it is
  /// another model.
  void look_at_others() {
    const bool more_than_text = spec_.prefix != kTextPrefix;
    int64_t of_more_layers = 0, of_activations = 0;
    for (size_t file = 0; file < shards_.files().size(); ++file) {
      for (const io::SafetensorsEntry& entry : shards_.files()[file].entries()) {
        const std::string& name = entry.name;
        if (used_.contains(name) || ends_with_any(name, kBuffers)) continue;
        if (is_of_more_layers(name)) {
          ++of_more_layers;
        } else if (more_than_text && !name.starts_with(found_.names.stored)) {
          found_.others.push_back(
              {name, entry.dtype, entry.shape, file, entry.offset, entry.bytes});
        } else if (fp8_ && ends_with_any(name, kActivationScales)) {
          ++of_activations;
        } else {
          fail("{}: tensor '{}' does not belong to a {}", shards_.files()[file].path(),
               io::printable(name), spec_.architecture);
        }
      }
    }
    if (of_more_layers > 0) {
      note("{}: {} tensors of layers beyond the model's {} are left out", folder_, of_more_layers,
           spec_.layer_count());
    }
    if (of_activations > 0) {
      note("{}: {} scales of 8-bit activations are left out: activations are not quantized",
           folder_, of_activations);
    }
    if (!found_.others.empty()) note("left alone: {}", describe_others());
  }

  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    found_.notes.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  /// "vision_tower (437 tensors), multi_modal_projector (2)"
  std::string describe_others() const {
    std::vector<std::pair<std::string, int64_t>> groups;
    for (const OtherTensor& other : found_.others) {
      std::string_view name = other.name;
      if (name.starts_with(kTextPrefix)) name.remove_prefix(kTextPrefix.size());
      const std::string first(name.substr(0, name.find('.')));
      const auto at =
          std::ranges::find(groups, first, [](const auto& group) { return group.first; });
      if (at == groups.end()) {
        groups.emplace_back(first, 1);
      } else {
        ++at->second;
      }
    }
    std::string text;
    for (const auto& [name, count] : groups) {
      text += fmt::format("{}{} ({}{})", text.empty() ? "" : ", ", io::printable(name), count,
                          !text.empty() ? ""
                          : count == 1  ? " tensor"
                                        : " tensors");
    }
    return text;
  }

  ModelSpec spec_;
  const std::string& folder_;
  Shards shards_;
  FoundTensors found_;
  std::unordered_set<std::string> used_;
  bool fp8_ = false;
};

}  // namespace

FoundTensors find_tensors(const ModelSpec& spec, const std::string& folder) {
  return FolderReader(spec, folder).read();
}

}  // namespace tessera::lora
