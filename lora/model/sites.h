// The linear layers of a block that can carry an adapter, and their names.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "lora/model/config.h"

namespace tessera::lora {

/// The linear layers of a block that can carry an adapter.
enum class Site : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr std::array kAllSites = {Site::kQ,    Site::kK,  Site::kV,   Site::kO,
                                         Site::kGate, Site::kUp, Site::kDown};

/// The module inside a Hugging Face layer: "self_attn.q_proj", ..., "mlp.down_proj".
std::string_view module_path(Site site);
/// The module's own name: "q_proj", ..., "down_proj".
std::string_view module_name(Site site);

/// Shape of a site's weight W[out, in].
struct SiteShape {
  int64_t in;
  int64_t out;
};
SiteShape shape_of(const DecoderConfig& config, Site site);

/// One linear of a model. Sorted, they are in the order of the adapters.
struct LinearId {
  int64_t layer;
  Site site;
  auto operator<=>(const LinearId&) const = default;
};

/// Its module in the whole model: "model.layers.0.self_attn.q_proj".
std::string module_path(LinearId linear);

}  // namespace tessera::lora
