// For tests that give the types of rows as a config does.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include "launch/config/config.h"

namespace tessera::testing {

/// By its name in a config; "" is none, so that it is inferred. Throws where no type is called so.
inline std::optional<launch::RowType> row_type(const std::string& name) {
  using launch::RowType;
  for (const RowType type :
       {RowType::kAlpaca, RowType::kChatTemplate, RowType::kCompletion, RowType::kPromptCompletion,
        RowType::kTokenized, RowType::kInputOutput}) {
    if (launch::name_of(type) == name) return type;
  }
  if (!name.empty()) throw std::invalid_argument("no type of rows is called " + name);
  return std::nullopt;
}

}  // namespace tessera::testing
