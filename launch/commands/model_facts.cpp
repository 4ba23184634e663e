#include "launch/commands/model_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "launch/console/progress.h"
#include "lora/model/tensors.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using lora::AttentionSpec;
using lora::LayerSpec;
using lora::ModelSpec;
using lora::NormSite;
using nlohmann::json;
using nlohmann::ordered_json;

/// A size with its key in reports and those that stand for it in configs and GGUF metadata.
struct Size {
  const char* key;
  std::optional<int64_t> ModelFacts::*value;
  std::array<const char*, 3> config;
  const char* gguf;
};
constexpr Size kSizes[] = {
    {"layers", &ModelFacts::layers, {"num_hidden_layers", "n_layer", "num_layers"}, "block_count"},
    {"hidden", &ModelFacts::hidden, {"hidden_size", "n_embd", "d_model"}, "embedding_length"},
    {"ffn", &ModelFacts::ffn, {"intermediate_size", "n_inner", "ffn_dim"}, "feed_forward_length"},
    {"heads", &ModelFacts::heads, {"num_attention_heads", "n_head"}, "attention.head_count"},
    {"kv_heads", &ModelFacts::kv_heads, {"num_key_value_heads"}, "attention.head_count_kv"},
    {"head_dim", &ModelFacts::head_dim, {"head_dim"}, "attention.key_length"},
    {"vocab", &ModelFacts::vocab, {"vocab_size"}, "vocab_size"},
    {"positions",
     &ModelFacts::positions,
     {"max_position_embeddings", "n_positions", "n_ctx"},
     "context_length"},
    {"experts",
     &ModelFacts::experts,
     {"num_local_experts", "num_experts", "n_routed_experts"},
     "expert_count"},
    {"experts_per_token",
     &ModelFacts::experts_per_token,
     {"num_experts_per_tok", "experts_per_token"},
     "expert_used_count"},
};

struct NamedSite {
  NormSite site;
  const char* key;
  const char* words;
};
constexpr NamedSite kNormSites[] = {
    {NormSite::kBeforeAttention, "before_attention", "before attention"},
    {NormSite::kAfterAttention, "after_attention", "after attention"},
    {NormSite::kBeforeMlp, "before_mlp", "before the MLP"},
    {NormSite::kAfterMlp, "after_mlp", "after the MLP"},
};

std::optional<int64_t> as_number(const json& value) {
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{INT64_MAX}
                                               : value.is_number_integer();
  return fits ? std::optional(value.get<int64_t>()) : std::nullopt;
}

/// Nothing where layers differ.
template <class Of>
std::optional<int64_t> shared(const ModelSpec& spec, Of of) {
  const int64_t first = of(spec.layers.front());
  const bool all =
      std::ranges::all_of(spec.layers, [&](const LayerSpec& l) { return of(l) == first; });
  return all ? std::optional(first) : std::nullopt;
}

/// The layers by the value of one of their fields.
template <class Of>
std::map<int64_t, std::vector<int64_t>> layers_by(const ModelSpec& spec, Of of) {
  std::map<int64_t, std::vector<int64_t>> layers;
  for (int64_t i = 0; i < spec.layer_count(); ++i) {
    layers[of(spec.layers[size_t(i)].attention)].push_back(i);
  }
  return layers;
}

std::string number_text(double number) {
  const bool whole = number == std::floor(number) && std::abs(number) < 1e15;
  return whole ? format_count(int64_t(number)) : fmt::format("{:.6g}", number);
}

double score_scale(const AttentionSpec& a) {
  return a.score_scale > 0 ? a.score_scale : 1 / std::sqrt(double(a.head_dim));
}

std::string_view scaling_name(RopeScaling::Kind kind) {
  switch (kind) {
    case RopeScaling::Kind::kNone:
      return "default";
    case RopeScaling::Kind::kLinear:
      return "linear";
    case RopeScaling::Kind::kDynamic:
      return "dynamic";
    case RopeScaling::Kind::kLlama3:
      return "llama3";
    case RopeScaling::Kind::kYarn:
      return "yarn";
    case RopeScaling::Kind::kLongrope:
      break;
  }
  return "longrope";
}

bool has_factor(RopeScaling::Kind kind) {
  return kind != RopeScaling::Kind::kNone && kind != RopeScaling::Kind::kLongrope;
}
bool has_original(RopeScaling::Kind kind) {
  return kind != RopeScaling::Kind::kNone && kind != RopeScaling::Kind::kLinear;
}

std::string rope_text(const Rope& rope, int64_t head_dim) {
  const RopeScaling& scaling = rope.scaling;
  std::string text = "theta " + number_text(rope.theta);
  if (scaling.kind != RopeScaling::Kind::kNone) {
    text += fmt::format(", {}", scaling_name(scaling.kind));
    if (has_factor(scaling.kind)) text += " by " + number_text(scaling.factor);
    if (has_original(scaling.kind)) {
      text += fmt::format(" past {} positions", format_count(scaling.original_max_position));
    }
  }
  if (rope.attention_factor != 1) {
    text += fmt::format(", cosines and sines times {}", number_text(rope.attention_factor));
  }
  if (rope.dims != head_dim) text += fmt::format(", {} of {} elements", rope.dims, head_dim);
  if (rope.interleaved) text += ", interleaved pairs";
  if (rope.query_growth != 0) {
    text += fmt::format(", queries grow past {} positions", format_count(rope.query_period));
  }
  return text;
}

/// "layer 5", "layers 0-4, 6"
std::string named_layers(const std::vector<int64_t>& layers) {
  return fmt::format("layer{} {}", layers.size() == 1 ? "" : "s", layers_text(layers));
}

/// The layers' rules of rotary positions, the rule of most layers last.
std::string ropes_text(const ModelSpec& spec) {
  const auto by_rope = layers_by(spec, [](const AttentionSpec& a) { return int64_t(a.rope); });
  std::vector<std::pair<int64_t, std::vector<int64_t>>> groups(by_rope.begin(), by_rope.end());
  std::ranges::stable_sort(groups, {}, [](const auto& group) { return group.second.size(); });
  std::string text;
  for (const auto& [rope, layers] : groups) {
    const int64_t head_dim = spec.layers[size_t(layers.front())].attention.head_dim;
    if (!text.empty()) text += "; ";
    text += rope == AttentionSpec::kNoRope ? "none" : rope_text(spec.ropes[size_t(rope)], head_dim);
    if (groups.size() == 1) break;
    text += &layers == &groups.back().second ? " in the others" : " in " + named_layers(layers);
  }
  return text;
}

std::string windows_text(const ModelSpec& spec) {
  std::string text;
  const auto by_window = layers_by(spec, [](const AttentionSpec& a) { return a.window; });
  for (const auto& [window, layers] : by_window) {
    if (window == 0) continue;
    text += fmt::format("{}{} tokens in {} of {} layers", text.empty() ? "" : ", ",
                        format_count(window), layers.size(), spec.layer_count());
  }
  if (!text.empty() && by_window.begin()->first == 0) {
    const std::vector<int64_t>& full = by_window.begin()->second;
    text += fmt::format("; {} see{} all", named_layers(full), full.size() == 1 ? "s" : "");
  }
  return text;
}

std::string norms_text(const ModelSpec& spec) {
  const LayerSpec& layer = spec.layers.front();
  std::vector<std::string> parts;
  std::vector<const char*> sites;
  for (const NamedSite& named : kNormSites) {
    if (std::ranges::count(layer.norms, named.site, &lora::NormName::site)) {
      sites.push_back(named.words);
    }
  }
  const bool plain = layer.norms.size() == 2 && sites.size() == 2 &&
                     sites[0] == kNormSites[0].words && sites[1] == kNormSites[2].words;
  if (!plain) parts.push_back(fmt::format("{}", fmt::join(sites, ", ")));
  if (layer.attention.qk_norm == lora::QkNorm::kPerHead) parts.push_back("of q and k, per head");
  if (layer.attention.qk_norm == lora::QkNorm::kWholeWidth) {
    parts.push_back("of q and k, over their whole width");
  }
  if (spec.norm_plus != 0) {
    parts.push_back(fmt::format("weights plus {}", number_text(double(spec.norm_plus))));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string others_text(const ModelSpec& spec) {
  const LayerSpec& layer = spec.layers.front();
  const AttentionSpec& a = layer.attention;
  std::vector<std::string> parts;
  const auto say = [&](bool holds, std::string text) {
    if (holds) parts.push_back(std::move(text));
  };
  say(layer.mlp.activation == Activation::kGeluTanh, "GELU (tanh)");
  say(a.qkv_bias, "biases on q, k, v");
  say(a.o_bias, "bias on o");
  say(layer.mlp.bias, "biases in the MLP");
  say(a.fused, "q, k, v are one linear");
  say(layer.mlp.fused, "gate and up are one linear");
  const double usual = 1 / std::sqrt(double(a.head_dim));
  say(std::abs(score_scale(a) / usual - 1) > 1e-6, "scores times " + number_text(score_scale(a)));
  say(a.softcap > 0, "scores capped at " + number_text(a.softcap));
  say(spec.embedding_scale != 1, "embeddings times " + number_text(spec.embedding_scale));
  say(layer.residual_scale != 1, "residuals times " + number_text(layer.residual_scale));
  say(spec.logit_scale != 1, "logits times " + number_text(spec.logit_scale));
  say(spec.logit_softcap > 0, "logits capped at " + number_text(spec.logit_softcap));
  say(spec.attention_dropout > 0,
      fmt::format("attention_dropout {} (not applied)", number_text(spec.attention_dropout)));
  return fmt::format("{}", fmt::join(parts, ", "));
}

ordered_json rope_json(const Rope& rope) {
  const RopeScaling::Kind kind = rope.scaling.kind;
  return {{"type", scaling_name(kind)},
          {"theta", rope.theta},
          {"factor", has_factor(kind) ? ordered_json(rope.scaling.factor) : nullptr},
          {"original_max_position",
           has_original(kind) ? ordered_json(rope.scaling.original_max_position) : nullptr},
          {"attention_factor", rope.attention_factor},
          {"dims", rope.dims},
          {"interleaved", rope.interleaved},
          {"query_growth", rope.query_growth},
          {"query_period", rope.query_period}};
}

const char* key_of(lora::QkNorm norm) {
  switch (norm) {
    case lora::QkNorm::kNone:
      return "none";
    case lora::QkNorm::kPerHead:
      return "per_head";
    case lora::QkNorm::kWholeWidth:
      break;
  }
  return "whole_width";
}

}  // namespace

ModelFacts facts_of(const ModelSpec& spec) {
  ModelFacts facts{.layers = spec.layer_count(),
                   .hidden = spec.hidden,
                   .vocab = spec.vocab,
                   .positions = spec.max_position,
                   .tied_head = spec.tied_head,
                   .spec = spec};
  facts.ffn = shared(spec, [](const LayerSpec& l) { return l.mlp.width; });
  facts.heads = shared(spec, [](const LayerSpec& l) { return l.attention.heads; });
  facts.kv_heads = shared(spec, [](const LayerSpec& l) { return l.attention.kv_heads; });
  facts.head_dim = shared(spec, [](const LayerSpec& l) { return l.attention.head_dim; });
  return facts;
}

std::optional<int64_t> number_in(const json& config, const char* key) {
  const auto text = config.find("text_config");
  if (text != config.end() && text->is_object() && text->contains(key)) {
    if (const auto number = as_number((*text)[key])) return number;
  }
  const auto value = config.find(key);
  return value == config.end() ? std::nullopt : as_number(*value);
}

std::optional<int64_t> number_in(const io::GgufFile& file, const std::string& key) {
  if (!file.has(key)) return std::nullopt;
  try {
    return file.integer(key);
  } catch (const Error&) {
    return std::nullopt;  // a list with a number for each layer, for example
  }
}

std::string text_in(const io::GgufFile& file, const std::string& key) {
  if (!file.has(key)) return "";
  try {
    return file.string(key);
  } catch (const Error&) {
    return "";
  }
}

ModelFacts facts_of_config(const json& config) {
  ModelFacts facts;
  for (const Size& size : kSizes) {
    for (const char* key : size.config) {
      if (key && !(facts.*size.value)) facts.*size.value = number_in(config, key);
    }
  }
  const auto tied = config.find("tie_word_embeddings");
  if (tied != config.end() && tied->is_boolean()) facts.tied_head = tied->get<bool>();
  return facts;
}

ModelFacts facts_of_metadata(const io::GgufFile& file) {
  ModelFacts facts;
  const std::string architecture = text_in(file, "general.architecture");
  for (const Size& size : kSizes) {
    facts.*size.value = number_in(file, fmt::format("{}.{}", architecture, size.gguf));
  }
  if (facts.experts == 0) facts.experts.reset();
  if (!facts.vocab && file.has("tokenizer.ggml.tokens")) {
    facts.vocab = int64_t(file.count("tokenizer.ggml.tokens"));
  }
  facts.tied_head = file.find(lora::kHeadGguf) == nullptr;
  return facts;
}

std::vector<ReportRow> report_rows(const ModelFacts& facts) {
  std::vector<std::string> sizes, ends;
  const auto say = [](std::vector<std::string>& parts, const std::optional<int64_t>& size,
                      fmt::format_string<std::string> words) {
    if (size) parts.push_back(fmt::format(words, format_count(*size)));
  };
  say(sizes, facts.layers, "{} layers");
  say(sizes, facts.hidden, "hidden {}");
  say(sizes, facts.ffn, "MLP {}");
  say(sizes, facts.heads, "{} heads");
  if (facts.heads && facts.head_dim) sizes.back() += fmt::format(" of {}", *facts.head_dim);
  if (facts.kv_heads != facts.heads) say(sizes, facts.kv_heads, "{} for keys and values");
  say(sizes, facts.experts, "{} experts");
  say(sizes, facts.experts_per_token, "{} of them for a token");
  say(ends, facts.vocab, "vocabulary {}");
  say(ends, facts.positions, "positions {}");
  if (facts.tied_head) ends.push_back(*facts.tied_head ? "tied head" : "head of its own");
  std::vector<ReportRow> rows = {{"shape", fmt::format("{}", fmt::join(sizes, ", "))},
                                 {"", fmt::format("{}", fmt::join(ends, ", "))}};
  if (facts.spec) {
    rows.push_back({"rotary", ropes_text(*facts.spec)});
    rows.push_back({"window", windows_text(*facts.spec)});
    rows.push_back({"norms", norms_text(*facts.spec)});
    rows.push_back({"besides", others_text(*facts.spec)});
  }
  std::erase_if(rows, [](const ReportRow& row) { return row.text.empty(); });
  return rows;
}

ordered_json sizes_json(const ModelFacts& facts) {
  ordered_json sizes = ordered_json::object();
  for (const Size& size : kSizes) {
    const std::optional<int64_t>& value = facts.*size.value;
    sizes[size.key] = value ? ordered_json(*value) : nullptr;
  }
  sizes["tied_head"] = facts.tied_head ? ordered_json(*facts.tied_head) : nullptr;
  return sizes;
}

ordered_json details_json(const ModelFacts& facts) {
  if (!facts.spec) return nullptr;
  const ModelSpec& spec = *facts.spec;
  const LayerSpec& layer = spec.layers.front();
  const AttentionSpec& a = layer.attention;
  ordered_json windows = ordered_json::array(), ropes = windows, rules = windows, norms = windows;
  for (const LayerSpec& l : spec.layers) {
    windows.push_back(l.attention.window > 0 ? ordered_json(l.attention.window) : nullptr);
    const int rope = l.attention.rope;
    ropes.push_back(rope == AttentionSpec::kNoRope ? ordered_json() : ordered_json(rope));
  }
  for (const Rope& rope : spec.ropes) rules.push_back(rope_json(rope));
  for (const NamedSite& named : kNormSites) {
    if (std::ranges::count(layer.norms, named.site, &lora::NormName::site)) {
      norms.push_back(named.key);
    }
  }
  return {{"window_of_layers", windows},
          {"rope_of_layers", ropes},
          {"ropes", rules},
          {"norms", norms},
          {"qk_norm", key_of(a.qk_norm)},
          {"norm_plus", spec.norm_plus},
          {"rms_norm_eps", spec.rms_eps},
          {"activation", layer.mlp.activation == Activation::kSilu ? "silu" : "gelu_tanh"},
          {"qkv_bias", a.qkv_bias},
          {"o_bias", a.o_bias},
          {"mlp_bias", layer.mlp.bias},
          {"fused_qkv", a.fused},
          {"fused_gate_up", layer.mlp.fused},
          {"score_scale", score_scale(a)},
          {"score_softcap", a.softcap},
          {"embedding_scale", spec.embedding_scale},
          {"residual_scale", layer.residual_scale},
          {"logit_scale", spec.logit_scale},
          {"logit_softcap", spec.logit_softcap},
          {"attention_dropout", spec.attention_dropout}};
}

std::string layers_text(const std::vector<int64_t>& layers) {
  constexpr size_t kShown = 8;
  if (layers.size() > 3) {
    const int64_t step = layers[1] - layers[0];
    const auto breaks = [&](int64_t a, int64_t b) { return b - a != step; };
    if (step > 1 && std::ranges::adjacent_find(layers, breaks) == layers.end()) {
      return fmt::format("{}, {}, ... {}", layers[0], layers[1], layers.back());
    }
  }
  std::vector<std::string> runs;
  for (size_t i = 0; i < layers.size();) {
    size_t end = i + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    runs.push_back(end == i + 1 ? fmt::format("{}", layers[i])
                                : fmt::format("{}-{}", layers[i], layers[end - 1]));
    i = end;
  }
  const size_t more = runs.size() > kShown ? runs.size() - kShown : 0;
  runs.resize(runs.size() - more);
  std::string text = fmt::format("{}", fmt::join(runs, ", "));
  return more ? text + fmt::format(" and {} more", more) : text;
}

}  // namespace tessera::launch
