#include "launch/data/special_tokens.h"

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

void require_special_tokens(const Config& config, const Tokenizer& tokenizer) {
  const auto& held = tokenizer.named_tokens();
  std::string faults;
  for (const auto& [name, token] : config.special_tokens) {
    const auto found = held.find(name);
    if (found != held.end() && found->second == token) continue;
    const std::string there = found == held.end() ? "has none" : "has " + found->second;
    faults += fmt::format(
        "{}{}: special_tokens.{}: {} is asked for, but the tokenizer of {} {}; leave it out to use "
        "that, or change it in the checkpoint's tokenizer_config.json",
        faults.empty() ? "" : "\n", config.source, name, io::printable(token, 40),
        config.base_model, io::printable(there, 60));
  }
  if (!faults.empty()) throw Error(faults, Fault::kUsage);
}

}  // namespace tessera::launch
