#include "launch/report/data_json.h"

#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Spread& spread) {
  return {{"least", spread.least}, {"mean", spread.mean}, {"most", spread.most}};
}

Json to_json(const SetSummary& set) {
  return {{"path", set.path},
          {"type", io::text_or_null(set.type)},
          {"evaluated", set.evaluated},
          {"weight", set.weight},
          {"rows", set.rows},
          {"samples", set.samples},
          {"held_out", set.held_out},
          {"tokens", set.tokens},
          {"learned", set.learned},
          {"dropped_long", set.dropped_long},
          {"truncated", set.truncated},
          {"dropped_empty", set.dropped_empty},
          {"cached_in", io::text_or_null(set.cached_in)},
          {"notes", set.notes}};
}

Json to_json(const LengthHistogram& lengths) {
  Json bins = Json::array();
  for (const LengthHistogram::Bin& bin : lengths.bins) {
    bins.push_back({{"begin", bin.begin}, {"end", bin.end}, {"samples", bin.samples}});
  }
  return {{"samples", lengths.samples}, {"tokens", lengths.tokens},   {"least", lengths.least},
          {"median", lengths.median},   {"mean", lengths.mean},       {"p95", lengths.p95},
          {"longest", lengths.longest}, {"bin_width", lengths.width}, {"bins", bins}};
}

Json to_json(const StepsSummary& steps) {
  return {{"steps", steps.steps},
          {"epochs", steps.epochs},
          {"ranks", steps.ranks},
          {"micro_batches", steps.micro_batches},
          {"micro_batch_size", steps.micro_batch_size},
          {"sequence_len", steps.sequence_len},
          {"packing", steps.packing},
          {"rows", steps.rows},
          {"filled", steps.filled},
          {"samples_of_row", to_json(steps.row_samples)},
          {"tokens_of_micro_batch", to_json(steps.batch_tokens)},
          {"largest_micro_batch", steps.largest_batch}};
}

Json to_json(const SampleSummary& sample) {
  Json ids = Json::array(), labels = ids, texts = ids, special = ids;
  for (size_t i = 0; i < sample.tokens.size(); ++i) {
    const SampleToken& token = sample.tokens[i];
    ids.push_back(token.id);
    labels.push_back(token.label);
    texts.push_back(token.text);
    if (token.special) special.push_back(i);
  }
  return {{"number", sample.number},      {"path", sample.path},
          {"learned", sample.learned()},  {"ids", std::move(ids)},
          {"labels", std::move(labels)},  {"texts", std::move(texts)},
          {"special", std::move(special)}};
}

}  // namespace

std::string data_json(const DataSummary& data) {
  Json sets = Json::array(), named = sets, samples = sets;
  for (const SetSummary& set : data.sets) sets.push_back(to_json(set));
  for (const LostRow& row : data.lost) named.push_back({{"where", row.where}, {"why", row.why}});
  for (const SampleSummary& sample : data.samples) samples.push_back(to_json(sample));
  const Json root = {{"datasets", std::move(sets)},
                     {"lengths", to_json(data.lengths)},
                     {"run", to_json(data.steps)},
                     {"lost", {{"count", data.lost_rows()}, {"rows", std::move(named)}}},
                     {"samples", std::move(samples)}};
  // Paths may be of any bytes.
  return io::json_text(root) + "\n";
}

}  // namespace tessera::launch
