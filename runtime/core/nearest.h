// The name that a misspelt one was meant to be, for messages that offer it.
#pragma once

#include <string_view>
#include <vector>

namespace tessera {

/// The one of `known` nearest to `name`, or empty when none is near. Case and the choice between
/// '-' and '_' do not count.
std::string_view nearest_of(std::string_view name, const std::vector<std::string_view>& known);

}  // namespace tessera
