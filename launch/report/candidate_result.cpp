#include "launch/report/candidate_result.h"

#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {

using nlohmann::json;
using nlohmann::ordered_json;

std::string candidate_result_json(const CandidateResult& result) {
  ordered_json all = {{"step", result.step}};
  if (!result.diverged.empty()) all["diverged"] = result.diverged;
  all["loss"] = result.loss;
  all["training_loss"] = result.training_loss;
  all["parameters"] = result.parameters;
  all["memory"] = result.memory;
  all["seconds"] = result.seconds;
  all["samples"] = ordered_json::array();
  for (const CandidateResult::Sample& sample : result.samples) {
    all["samples"].push_back({sample.losses, sample.weight});
  }
  all["identity"] = result.identity;
  return io::json_text(all) + "\n";
}

CandidateResult read_candidate_result(std::string_view text, const std::string& source) {
  try {
    const json all = json::parse(text);
    CandidateResult result;
    result.step = all.at("step").get<int64_t>();
    result.diverged = all.value("diverged", std::string());
    result.loss = all.at("loss").get<double>();
    result.training_loss = all.at("training_loss").get<double>();
    result.parameters = all.at("parameters").get<int64_t>();
    result.memory = all.at("memory").get<int64_t>();
    result.seconds = all.at("seconds").get<double>();
    for (const json& sample : all.at("samples")) {
      result.samples.push_back({sample.at(0).get<double>(), sample.at(1).get<double>()});
    }
    result.identity = all.at("identity");
    return result;
  } catch (const json::exception& error) {
    fail("{} is not the result of a candidate: {}", source, error.what());
  }
}

}  // namespace tessera::launch
