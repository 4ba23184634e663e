#include "launch/text/tokenizer/byte_level_vocabulary.h"

#include <vector>

#include "launch/text/tokenizer/byte_stand_ins.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "launch/text/tokenizer/vocabulary_merges.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

std::string spelling_of(std::string_view bytes) {
  std::string spelling;
  for (const char byte : bytes) spelling += byte_stand_in(uint8_t(byte));
  return spelling;
}

}  // namespace

json byte_level_tokenizer(std::span<const std::string> ranked, size_t first_id,
                          std::string_view pattern) {
  json vocabulary = json::object();
  std::vector<RankedToken> tokens;
  for (size_t rank = 0; rank < ranked.size(); ++rank) {
    if (ranked[rank].empty()) continue;
    const size_t id = first_id + rank;
    tokens.push_back({spelling_of(ranked[rank]), int64_t(id), double(rank)});
    vocabulary[tokens.back().text] = id;
  }
  json bpe = bpe_model(std::move(vocabulary), merges_of_vocabulary(tokens, MergeTies::kLowerIds));
  bpe["ignore_merges"] = true;
  return {
      {"model", std::move(bpe)},
      {"pre_tokenizer",
       pretokenizer_sequence(json::array({split_step("Regex", pattern), byte_level_step(false)}))},
      {"decoder", byte_level_step(true)}};
}

}  // namespace tessera::launch
