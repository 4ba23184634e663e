#include "launch/text/tokenizer/tokenizer_decoder.h"

#include "launch/text/tokenizer/tokenizer_fields.h"

namespace tessera::launch {

TokenDecoder::TokenDecoder(const nlohmann::json& node, const std::string& source) {
  if (node.is_null()) {
    steps_.push_back(spaced_step());
  } else {
    add(node, source + ": decoder");
  }
}

void TokenDecoder::add(const nlohmann::json& node, const std::string& where) {
  const std::string type = string_field(node, "type", where);
  if (type == "Sequence") {
    for (const auto& part : array_field(node, "decoders", where)) add(part, where);
  } else if (type == "Fuse") {
    gives_parts_ = true;
  } else if (type == "Strip" && gives_parts_ && read_strip(node, where).stop == 0) {
    const StripCounts strip = read_strip(node, where);
    steps_.push_back(strip_front_step(strip.character, strip.start));
  } else {
    if (gives_parts_) steps_.push_back(gather_step());
    gives_parts_ = type == "ByteLevel";
    steps_.push_back(type == "ByteLevel" ? byte_level_step()
                                         : read_decoder_step(type, node, where));
  }
}

void TokenDecoder::give(size_t index, std::string_view token, State& state,
                        std::string& text) const {
  if (index == steps_.size()) {
    text += token;
    return;
  }
  steps_[index]->take(token, state.steps[index],
                      [&](std::string_view next) { give(index + 1, next, state, text); });
}

void TokenDecoder::push(std::string_view token, State& state, std::string& text) const {
  state.steps.resize(steps_.size());
  give(0, token, state, text);
}

void TokenDecoder::finish(State& state, std::string& text) const {
  for (size_t i = 0; i < state.steps.size(); ++i) {
    steps_[i]->end(state.steps[i], [&](std::string_view next) { give(i + 1, next, state, text); });
  }
  state = {};
}

}  // namespace tessera::launch
