#include "lora/model/sites.h"

#include <fmt/format.h>

#include "runtime/core/error.h"

namespace tessera::lora {
namespace {

constexpr std::array<std::string_view, kAllSites.size()> kModulePaths = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

}  // namespace

std::string_view module_path(Site site) { return kModulePaths[size_t(site)]; }

std::string_view module_name(Site site) {
  const std::string_view path = module_path(site);
  return path.substr(path.find('.') + 1);
}

std::string module_path(LinearId linear) {
  return fmt::format("model.layers.{}.{}", linear.layer, module_path(linear.site));
}

SiteShape shape_of(const DecoderConfig& config, Site site) {
  switch (site) {
    case Site::kQ:
      return {config.hidden, config.q_size()};
    case Site::kK:
    case Site::kV:
      return {config.hidden, config.kv_size()};
    case Site::kO:
      return {config.q_size(), config.hidden};
    case Site::kGate:
    case Site::kUp:
      return {config.hidden, config.ffn};
    case Site::kDown:
      return {config.ffn, config.hidden};
  }
  TESSERA_CHECK(false);
}

}  // namespace tessera::lora
