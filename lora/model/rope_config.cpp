#include "lora/model/rope_config.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/core/det_math.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using Kind = RopeScaling::Kind;

constexpr const char* kOriginal = "original_max_position_embeddings";
constexpr const char* kLayerTypes[] = {"full_attention", "sliding_attention"};

/// What a rule is made from besides its own object.
struct Surroundings {
  std::string_view source;
  double theta;
  double partial;
  int64_t head_dim;
  int64_t max_position;
  int64_t original_max_position;
  bool truncate;
};

/// The factor, which is the ratio of the two numbers of positions where it is null.
double ratio_of_positions(const Surroundings& around) {
  return double(around.max_position) / double(around.original_max_position);
}

void read_default(const ConfigKeys&, const Surroundings&, Rope&) {}

void read_linear(const ConfigKeys& keys, const Surroundings&, Rope& rope) {
  rope.scaling.kind = Kind::kLinear;
  rope.scaling.factor = keys.positive("factor");
}

void read_dynamic(const ConfigKeys& keys, const Surroundings& around, Rope& rope) {
  rope.scaling.kind = Kind::kDynamic;
  rope.scaling.factor = keys.positive("factor");
  rope.scaling.original_max_position = around.max_position;
}

void read_llama3(const ConfigKeys& keys, const Surroundings& around, Rope& rope) {
  RopeScaling& scaling = rope.scaling;
  scaling.kind = Kind::kLlama3;
  scaling.factor = keys.positive("factor");
  scaling.low_freq_factor = keys.positive("low_freq_factor");
  scaling.high_freq_factor = keys.positive("high_freq_factor");
  scaling.original_max_position = around.original_max_position;
}

void read_yarn(const ConfigKeys& keys, const Surroundings& around, Rope& rope) {
  RopeScaling& scaling = rope.scaling;
  scaling.kind = Kind::kYarn;
  scaling.factor = keys.is_null("factor") ? ratio_of_positions(around) : keys.positive("factor");
  scaling.original_max_position = around.original_max_position;
  scaling.beta_fast = keys.positive_or_zero("beta_fast", 32.0);
  scaling.beta_slow = keys.positive_or_zero("beta_slow", 1.0);
  scaling.truncate = around.truncate;
  const auto stretch = [&](double mscale) {
    return scaling.factor <= 1 ? 1.0 : 0.1 * mscale * det_log(scaling.factor) + 1.0;
  };
  const double mscale = keys.positive_or_zero("mscale", 0.0);
  const double all_dim = keys.positive_or_zero("mscale_all_dim", 0.0);
  const bool both = mscale > 0 && all_dim > 0;
  rope.attention_factor =
      keys.positive("attention_factor", both ? stretch(mscale) / stretch(all_dim) : stretch(1.0));
}

void read_longrope(const ConfigKeys& keys, const Surroundings& around, Rope& rope) {
  RopeScaling& scaling = rope.scaling;
  scaling.kind = Kind::kLongrope;
  scaling.short_factors = keys.positives("short_factor");
  scaling.long_factors = keys.positives("long_factor");
  scaling.original_max_position = around.original_max_position;
  const double factor = keys.positive("factor", ratio_of_positions(around));
  const double original = double(around.original_max_position);
  rope.attention_factor = keys.positive(
      "attention_factor", factor <= 1 ? 1.0 : std::sqrt(1 + det_log(factor) / det_log(original)));
}

/// The values of rope_type.
constexpr struct {
  std::string_view type;
  void (*read)(const ConfigKeys& keys, const Surroundings& around, Rope& rope);
} kScalings[] = {{"default", read_default}, {"linear", read_linear}, {"dynamic", read_dynamic},
                 {"llama3", read_llama3},   {"yarn", read_yarn},     {"longrope", read_longrope}};

std::string type_of(const ConfigKeys& rule) {
  std::optional<std::string> type = rule.string("rope_type");
  if (!type) type = rule.string("type");  // the older spelling
  return type.value_or("default");
}

Rope read_rule(const ConfigKeys& keys, const std::string& type, const Surroundings& around) {
  Rope rope;
  rope.theta = around.theta;
  rope.dims = int64_t(double(around.head_dim) * around.partial);
  for (const auto& scaling : kScalings) {
    if (type != scaling.type) continue;
    scaling.read(keys, around, rope);
    return rope;
  }
  std::string types;
  for (const auto& scaling : kScalings) {
    types.append(types.empty() ? "" : ", ").append(scaling.type);
  }
  fail("{}: rope_type '{}' is not supported; supported: {}", around.source, io::printable(type),
       types);
}

int64_t original_of(const ConfigKeys& keys, int64_t otherwise) {
  return keys.integer(kOriginal, 1, SpecLimits::kPosition, otherwise);
}

double partial_of(const ConfigKeys& rule, const ConfigKeys& keys, const RopeClass& of_class) {
  const double of_config = keys.is_null("partial_rotary_factor")
                               ? 1.0
                               : keys.positive("partial_rotary_factor", of_class.partial);
  const double partial = rule.positive("partial_rotary_factor", of_config);
  if (partial > 1.0) {
    fail("{}: partial_rotary_factor is {}, expected at most 1", keys.source(), partial);
  }
  if (partial != 1.0 && !of_class.turns_parts) {
    fail("{}: partial_rotary_factor other than 1 is not supported", keys.source());
  }
  return partial;
}

/// Null is false in transformers' code.
bool truncates(const ConfigKeys& keys) {
  return !keys.is_null("truncate") && keys.boolean("truncate", true);
}

int64_t head_dim_of(const ModelSpec& spec) { return spec.layers.front().attention.head_dim; }

/// rope_scaling where it is there and says anything, else rope_parameters, else nothing.
json parameters_of(const ConfigKeys& keys, const char* otherwise) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (const json* found = keys.object(key); found && !found->empty()) return *found;
  }
  return otherwise ? json::parse(otherwise) : json::object();
}

}  // namespace

Rope read_rope(const ConfigKeys& keys, const ModelSpec& spec, const RopeClass& of_class) {
  const json parameters = parameters_of(keys, of_class.parameters);
  const ConfigKeys rule(parameters, keys.source());
  for (const char* type : kLayerTypes) {
    if (!rule.find(type)) continue;
    fail("{}: rotary settings of {} alone are not supported: all layers of this family share one",
         keys.source(), type);
  }
  int64_t original = of_class.original_max_position;
  if (original == 0) original = original_of(rule, spec.max_position);
  original = original_of(keys, original);
  std::string type = type_of(rule);
  if (of_class.longrope_only) {
    if (type == "su" || type == "yarn") type = "longrope";
    if (type != "default" && type != "longrope") {
      fail("{}: rope_type '{}' is not supported for this family; supported: default, longrope",
           keys.source(), io::printable(type));
    }
  }
  Rope rope =
      read_rule(rule, type,
                {.source = keys.source(),
                 .theta = rule.positive("rope_theta", keys.positive("rope_theta", of_class.theta)),
                 .partial = partial_of(rule, keys, of_class),
                 .head_dim = head_dim_of(spec),
                 .max_position = spec.max_position,
                 .original_max_position = original,
                 .truncate = truncates(rule)});
  rope.interleaved = of_class.interleaved;
  if (of_class.grows_queries) {
    const bool zero = rule.find("llama_4_scaling_beta") && *rule.find("llama_4_scaling_beta") == 0;
    rope.query_growth = zero ? 0.0 : rule.positive("llama_4_scaling_beta");
    rope.query_period = original;
  }
  return rope;
}

std::vector<Rope> read_ropes_by_layer_type(const ConfigKeys& keys, const ModelSpec& spec,
                                           const RopeThetas& of_class) {
  const json* given = keys.object("rope_parameters");
  json parameters = given ? *given : json::object();
  const ConfigKeys by_type(parameters, keys.source());
  if (!parameters.empty() && !by_type.find(kLayerTypes[0]) && !by_type.find(kLayerTypes[1])) {
    fail("{}: rope_parameters has neither {} nor {}", keys.source(), kLayerTypes[0],
         kLayerTypes[1]);
  }
  if (const json* scaling = keys.object("rope_scaling")) {
    const json* own = by_type.object(kLayerTypes[kFullRope]);
    json full = own ? *own : json::object();
    full.update(*scaling);
    parameters[kLayerTypes[kFullRope]] = full;
  }
  const bool truncate = truncates(by_type);
  std::vector<Rope> ropes;
  for (const int which : {kFullRope, kSlidingRope}) {
    const json* own = by_type.object(kLayerTypes[which]);
    const json nothing = json::object();
    const ConfigKeys rule(own ? *own : nothing, keys.source());
    const char* theta_key = which == kFullRope ? "rope_theta" : of_class.sliding_key;
    double theta = which == kFullRope ? of_class.full : of_class.sliding;
    if (theta_key) theta = keys.positive(theta_key, theta);
    ropes.push_back(read_rule(rule, type_of(rule),
                              {.source = keys.source(),
                               .theta = rule.positive("rope_theta", theta),
                               .partial = partial_of(rule, keys, {}),
                               .head_dim = head_dim_of(spec),
                               .max_position = spec.max_position,
                               .original_max_position = original_of(rule, spec.max_position),
                               .truncate = truncate}));
  }
  return ropes;
}

}  // namespace tessera::lora
