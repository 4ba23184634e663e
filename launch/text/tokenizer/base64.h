// Base64 with padding (RFC 4648, section 4): how tokenizer files hold bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera::launch {

std::string base64_of(std::string_view bytes);

/// None for any text that base64_of does not give.
std::optional<std::string> bytes_of_base64(std::string_view text);

}  // namespace tessera::launch
