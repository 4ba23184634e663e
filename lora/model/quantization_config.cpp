#include "lora/model/quantization_config.h"

#include <optional>

#include "runtime/io/json.h"

namespace tessera::lora {
namespace {

using nlohmann::json;

constexpr const char* kKey = "quantization_config";

[[noreturn]] void refuse_method(std::string_view source, const std::string& method) {
  fail(
      "{}: {}: the weights are quantized by {}, which cannot be read; give the original 16- or "
      "32-bit checkpoint, which is quantized while it is loaded (a model card names it as "
      "base_model)",
      source, kKey, io::printable(method));
}

void check(const ConfigKeys& quantization) {
  const std::string_view source = quantization.source();
  const bool four = quantization.boolean("load_in_4bit", false);
  const bool eight = quantization.boolean("load_in_8bit", false);
  std::optional<std::string> method = quantization.string("quant_method");
  if (four || eight) method = "bitsandbytes";  // as transformers
  if (!method) fail("{}: {}: quant_method is missing", source, kKey);
  if (*method == "bitsandbytes") {
    if (eight) refuse_method(source, "bitsandbytes in 8 bits");
    if (!four) fail("{}: {}: neither load_in_4bit nor load_in_8bit is true", source, kKey);
  } else if (*method == "compressed-tensors") {
    const std::string format = quantization.string("format").value_or("(none)");
    if (format != "float-quantized") refuse_method(source, *method + " in the format " + format);
  } else if (*method != "fp8") {
    refuse_method(source, *method);
  }
}

}  // namespace

void check_quantization(const ConfigKeys& config) {
  if (const json* value = config.object(kKey)) check(ConfigKeys(*value, config.source()));
}

bool is_quantized(std::string_view text, std::string_view source) {
  const json root = io::parse_json(text, source);
  return ConfigKeys(root, source).find(kKey) != nullptr;
}

}  // namespace tessera::lora
