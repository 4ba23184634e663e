#include "lora/model/gguf_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lora/model/checkpoint_source.h"
#include "lora/model/families.h"
#include "lora/model/rope_config.h"
#include "runtime/core/error.h"

namespace tessera::lora {
namespace {

using Kind = RopeScaling::Kind;

/// What llama.cpp does with the windows of an architecture.
enum class Windows : uint8_t {
  kLost,  // it has no key for them
  kSaid,  // it has, and does not use it
  kUsed,
};

enum class Head : uint8_t { kMayBeTied, kTied, kOwn };

/// What llama.cpp can compute in an architecture, where architectures differ.
struct Abilities {
  std::string_view architecture;
  Windows windows = Windows::kLost;
  Head head = Head::kMayBeTied;
  bool divisors = false;     // Llama 3's rule, as a tensor of its outcome
  bool longrope = false;     // scaling with two tensors
  bool betas = false;        // YaRN's bounds, if not the usual ones
  bool biases = false;       // of the output of attention, and of MLPs
  bool any_heads = true;     // heads together may be wider or narrower than the model
  int64_t large_layers = 0;  // of the one size whose scores are scaled by the hidden size
};
constexpr Abilities kAbilities[] = {
    {.architecture = "llama", .divisors = true, .longrope = true, .biases = true},
    {.architecture = "mistral3",
     .windows = Windows::kSaid,
     .divisors = true,
     .longrope = true,
     .betas = true,
     .biases = true},
    {.architecture = "qwen2", .any_heads = false},
    {.architecture = "qwen3"},
    {.architecture = "gemma", .head = Head::kTied},
    {.architecture = "gemma2", .windows = Windows::kUsed, .head = Head::kTied, .large_layers = 46},
    {.architecture = "gemma3", .windows = Windows::kUsed, .large_layers = 62},
    {.architecture = "phi3", .windows = Windows::kSaid, .longrope = true, .any_heads = false},
    {.architecture = "smollm3"},
    {.architecture = "granite", .divisors = true, .longrope = true, .biases = true},
    {.architecture = "olmo2", .windows = Windows::kUsed, .head = Head::kOwn, .any_heads = false},
    {.architecture = "exaone4", .windows = Windows::kUsed, .divisors = true, .any_heads = false},
    {.architecture = "seed_oss"},
    {.architecture = "chatglm", .any_heads = false},
    {.architecture = "glm4"},
};

bool equal(double a, double b) { return std::abs(a - b) <= 1e-6 * std::abs(b); }

/// Puts the keys of one model.
class Settings {
 public:
  Settings(const ModelSpec& spec, const Abilities& can, std::string_view source,
           io::GgufMetadata& metadata)
      : spec_(spec), can_(can), source_(source), metadata_(metadata) {
    out_.architecture = can.architecture;
  }

  GgufSettings put() {
    check_layers_are_alike();
    check_tensors();
    put_sizes();
    put_scores();
    put_windows();
    put_rope(spec_.ropes.at(kFullRope));
    if (spec_.ropes.size() > 1) put_sliding_rope(spec_.ropes.at(kSlidingRope));
    put_scalars();
    return std::move(out_);
  }

 private:
  const AttentionSpec& attention() const { return spec_.layers.front().attention; }
  std::string key(std::string_view name) const {
    return fmt::format("{}.{}", can_.architecture, name);
  }
  void u32(std::string_view name, int64_t value) { metadata_.put_u32(key(name), uint32_t(value)); }
  void f32(std::string_view name, double value) { metadata_.put_f32(key(name), float(value)); }
  void note(const std::string& text) {
    out_.notes.push_back(fmt::format("note: {}: {}", source_, text));
  }
  [[noreturn]] void refuse(const std::string& what, const std::string& instead) const {
    fail("{}: {}, but llama.cpp {} in the architecture {}, and GGUF has no key for it", source_,
         what, instead, can_.architecture);
  }

  void check_layers_are_alike() const {
    const LayerSpec& first = spec_.layers.front();
    for (const LayerSpec& layer : spec_.layers) {
      const AttentionSpec &a = layer.attention, &b = first.attention;
      if (a.heads == b.heads && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim &&
          layer.mlp.width == first.mlp.width) {
        continue;
      }
      refuse("the layers have different sizes", "takes one size for all");
    }
  }

  /// A tensor that llama.cpp does not look for makes it refuse the file.
  void check_tensors() {
    const LayerSpec& layer = spec_.layers.front();
    if (!can_.biases && (layer.attention.o_bias || layer.mlp.bias)) {
      refuse("o_proj or the MLP has biases", "has none there");
    }
    if (!can_.any_heads && attention().q_size() != spec_.hidden) {
      refuse(fmt::format("{} heads of {} are not {} wide together", attention().heads,
                         attention().head_dim, spec_.hidden),
             "takes them to be as wide as the model");
    }
    if (can_.head == Head::kTied && !spec_.tied_head) {
      refuse("the head is not the embedding", "takes it to be");
    }
    out_.has_own_head = can_.head == Head::kOwn || !spec_.tied_head;
  }

  void put_sizes() {
    const AttentionSpec& a = attention();
    u32("block_count", spec_.layer_count());
    u32("context_length", spec_.max_position);
    u32("embedding_length", spec_.hidden);
    u32("feed_forward_length", spec_.layers.front().mlp.width);
    u32("attention.head_count", a.heads);
    u32("attention.head_count_kv", a.kv_heads);
    u32("attention.key_length", a.head_dim);
    u32("attention.value_length", a.head_dim);
    f32("attention.layer_norm_rms_epsilon", double(spec_.rms_eps));
    u32("vocab_size", spec_.vocab);
  }

  void put_scores() {
    const AttentionSpec& a = attention();
    const double scale = a.score_scale == 0 ? 1 / std::sqrt(double(a.head_dim)) : a.score_scale;
    if (can_.architecture == "granite") {
      f32("attention.scale", scale);
      return;
    }
    const bool by_hidden = can_.large_layers != 0 && spec_.layer_count() == can_.large_layers;
    const double assumed = 1 / std::sqrt(double(by_hidden ? spec_.hidden / a.heads : a.head_dim));
    if (!equal(scale, assumed)) {
      refuse(fmt::format("scores are multiplied by {:.6g}", scale),
             fmt::format("multiplies them by {:.6g}", assumed));
    }
    if (can_.architecture != "gemma2") {
      if (a.softcap > 0) refuse("scores have a softcap", "has none");
      return;
    }
    if (a.softcap == 0 || spec_.logit_softcap == 0) {
      refuse("scores or logits have no softcap", "always has both");
    }
    f32("attn_logit_softcapping", a.softcap);
  }

  void put_windows() {
    std::vector<bool> slides;
    int64_t window = 0;
    for (const LayerSpec& layer : spec_.layers) {
      slides.push_back(layer.attention.window > 0);
      window = std::max(window, layer.attention.window);
    }
    check_unlike_layers(slides, window > 0);
    if (can_.architecture == "phi3" && window == 0) u32("attention.sliding_window", 0);
    if (window == 0) return;
    if (can_.windows != Windows::kUsed && window < spec_.max_position) {
      note(
          fmt::format("llama.cpp has no windows in the architecture {}: in texts of more than {} "
                      "tokens, each token sees more than the window that this model has",
                      can_.architecture, window));
    }
    if (can_.windows == Windows::kLost) return;
    u32("attention.sliding_window", window);
    if (can_.windows == Windows::kSaid) return;
    metadata_.put_bools(key("attention.sliding_window_pattern"), slides);
  }

  /// Whose heads turn, and whose do not, and windows that llama.cpp knows by the number of layers.
  void check_unlike_layers(const std::vector<bool>& slides, bool has_window) const {
    if (can_.architecture == "exaone4" && has_window != (spec_.layer_count() == 64)) {
      refuse(fmt::format("a model of {} layers has {}", spec_.layer_count(),
                         has_window ? "windows" : "no windows"),
             "has them in models of 64 layers alone");
    }
    for (size_t i = 0; i < spec_.layers.size(); ++i) {
      bool turns = true;
      if (can_.architecture == "smollm3") turns = (i + 1) % 4 != 0;
      if (can_.architecture == "exaone4") turns = slides[i] || !has_window;
      if (turns == (spec_.layers[i].attention.rope != AttentionSpec::kNoRope)) continue;
      refuse(fmt::format("rotary positions are {} in layer {}", turns ? "not used" : "used", i),
             turns ? "uses them there" : "does not");
    }
  }

  // Rotary positions.

  void put_rope(const Rope& rope) {
    f32("rope.freq_base", rope.theta);
    u32("rope.dimension_count", rope.dims);
    switch (rope.scaling.kind) {
      case Kind::kNone:
        break;
      case Kind::kLinear:
        scaling("linear", rope);
        break;
      case Kind::kDynamic:
        note(
            fmt::format("GGUF has no dynamic scaling of rotary positions: texts of more than {} "
                        "tokens are not scaled in llama.cpp",
                        rope.scaling.original_max_position));
        break;
      case Kind::kLlama3:
        put_divisors(rope);
        break;
      case Kind::kYarn:
        put_yarn(rope);
        break;
      case Kind::kLongrope:
        put_longrope(rope);
        break;
    }
    if (rope.query_growth == 0) return;
    f32("attention.temperature_scale", rope.query_growth);
    const std::string original = key("rope.scaling.original_context_length");
    if (!metadata_.has(original)) metadata_.put_u32(original, uint32_t(rope.query_period));
  }

  void scaling(std::string_view type, const Rope& rope) {
    metadata_.put_text(key("rope.scaling.type"), type);
    f32("rope.scaling.factor", rope.scaling.factor);
  }

  void put_divisors(const Rope& rope) {
    if (!can_.divisors)
      refuse("rotary positions are scaled as Llama 3's", "does not scale them so");
    const RopeScaling& s = rope.scaling;
    GgufFactors& factors = out_.factors.emplace_back(GgufFactors{kRopeFactors, {}});
    for (int64_t i = 0; i < rope.half(); ++i) {
      const double frequency = std::pow(rope.theta, -2.0 * double(i) / double(rope.dims));
      const double turns = double(s.original_max_position) * frequency / (2.0 * std::numbers::pi);
      const double smooth = std::clamp(
          (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
      factors.values.push_back(float(1.0 / ((1.0 - smooth) / s.factor + smooth)));
    }
  }

  void put_yarn(const Rope& rope) {
    const RopeScaling& s = rope.scaling;
    if (!s.truncate) refuse("YaRN's bounds are not rounded (truncate)", "rounds them");
    if (!can_.betas && (s.beta_fast != 32 || s.beta_slow != 1)) {
      refuse(fmt::format("YaRN's bounds are {:g} and {:g}", s.beta_fast, s.beta_slow),
             "takes 32 and 1");
    }
    scaling("yarn", rope);
    u32("rope.scaling.original_context_length", s.original_max_position);
    f32("rope.scaling.yarn_beta_fast", s.beta_fast);
    f32("rope.scaling.yarn_beta_slow", s.beta_slow);
    // llama.cpp computes the attention factor by the factor alone. mistral3 has a key that divides
    // it; elsewhere it is multiplied.
    const double log_factor = s.factor <= 1 ? 0 : 0.1 * std::log(s.factor);
    const double usual = 1 + log_factor;
    const double divisor = usual / rope.attention_factor;
    if (can_.architecture == "mistral3" && log_factor > 0 && divisor >= 1) {
      f32("rope.scaling.yarn_log_multiplier", (divisor - 1) / log_factor);
    } else if (!equal(rope.attention_factor, usual)) {
      f32("rope.scaling.attn_factor", rope.attention_factor / usual);
    }
  }

  void put_longrope(const Rope& rope) {
    if (!can_.longrope) refuse("rotary positions are scaled by longrope", "does not scale them so");
    metadata_.put_text(key("rope.scaling.type"), "longrope");
    u32("rope.scaling.original_context_length", rope.scaling.original_max_position);
    f32("rope.scaling.attn_factor", rope.attention_factor);
    const auto add = [&](std::string_view name, const std::vector<double>& values) {
      out_.factors.push_back({name, std::vector<float>(values.begin(), values.end())});
    };
    add(kRopeLongFactors, rope.scaling.long_factors);
    add(kRopeShortFactors, rope.scaling.short_factors);
  }

  void put_sliding_rope(const Rope& rope) {
    if (rope.scaling.kind != Kind::kNone || rope.dims != spec_.ropes.at(kFullRope).dims) {
      refuse("layers with windows have scaled rotary positions", "scales those of others alone");
    }
    f32("rope.freq_base_swa", rope.theta);
  }

  void put_scalars() {
    if (can_.architecture == "granite") {
      f32("embedding_scale", spec_.embedding_scale);
      f32("residual_scale", spec_.layers.front().residual_scale);
      f32("logit_scale", 1 / spec_.logit_scale);
    }
    if (spec_.logit_softcap == 0) return;
    if (can_.architecture != "gemma2" && can_.architecture != "gemma3") {
      refuse("logits have a softcap", "has none");
    }
    f32("final_logit_softcapping", spec_.logit_softcap);
  }

  const ModelSpec& spec_;
  const Abilities& can_;
  std::string_view source_;
  io::GgufMetadata& metadata_;
  GgufSettings out_;
};

}  // namespace

std::string gguf_architecture(std::string_view config, std::string_view source) {
  const Family& family = family_of_config(config, source);
  // llama.cpp's converter makes Llamas of Mistrals, which every version of llama.cpp loads.
  if (family.model_type == "mistral") return "llama";
  if (!family.gguf.empty()) return std::string(family.gguf);
  fail("{}: llama.cpp has no architecture for {}; `tessera merge` writes a folder for transformers",
       source, family.architecture);
}

GgufSettings put_gguf_settings(const ModelSpec& spec, std::string_view architecture,
                               std::string_view source, io::GgufMetadata& metadata) {
  const auto can = std::ranges::find(kAbilities, architecture, &Abilities::architecture);
  TESSERA_CHECK(can != std::end(kAbilities));
  return Settings(spec, *can, source, metadata).put();
}

}  // namespace tessera::lora
