// The tokens that the "post_processor" of a tokenizer.json puts around a text encoded alone.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tessera::launch {

struct TokensAround {
  std::vector<int32_t> before, after;
};

/// `find` gives the id of a token. Null puts none. Error, beginning with `where`, for a type that
/// would do something else, or a token without an id.
TokensAround read_tokens_around(
    const nlohmann::json& node, const std::string& where,
    const std::function<std::optional<int32_t>(const std::string&)>& find);

}  // namespace tessera::launch
