// Prints what compare_with_peft.py compares: the logits after each row's last token, as JSON.
//   golden_last_logits BASE ADAPTER|none nf4|stored ROWS.jsonl COUNT
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/config/options.h"
#include "lora/decoder/generation_step.h"
#include "tests/launch/loaded_model.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

json logits_of_rows(int argc, char** argv) {
  if (argc != 6) fail_usage("usage: golden_last_logits BASE ADAPTER|none nf4|stored ROWS COUNT");
  std::optional<std::string> adapter(argv[2]);
  if (adapter == "none") adapter.reset();
  std::optional<quant::Storage> quantization;
  if (std::string(argv[3]) == "nf4") quantization.emplace();
  testing::TestModel model(argv[1], quantization, adapter);
  std::ifstream rows(argv[4]);
  json out = json::array();
  std::string line;
  for (int64_t count = std::stoll(argv[5]); count > 0 && std::getline(rows, line); --count) {
    const auto ids = json::parse(line).at("input_ids").get<std::vector<int32_t>>();
    lora::GenerationStep step(model.decoder());
    lora::KvCache cache = step.make_cache({1, int64_t(ids.size()), int64_t(ids.size())});
    step.plan(int64_t(ids.size()), cache);
    model.decoder().allocate();
    const lora::Feed feed{0, ids};
    const std::vector<float> logits = step.run(cache, {&feed, 1});
    out.push_back({{"input_ids", ids}, {"logits_last", logits}});
  }
  return {{"rows", out}};
}

}  // namespace
}  // namespace tessera::launch

int main(int argc, char** argv) {
  try {
    fmt::print("{}\n", tessera::launch::logits_of_rows(argc, argv).dump());
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
