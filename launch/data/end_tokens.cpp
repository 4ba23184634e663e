#include "launch/data/end_tokens.h"

#include <algorithm>
#include <filesystem>

#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {

std::vector<int32_t> end_tokens(const Tokenizer& tokenizer, const std::string& path) {
  constexpr size_t kLargestFile = size_t{64} << 20;
  std::vector<int32_t> ends;
  if (const auto id = tokenizer.eos_id()) ends.push_back(*id);
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string file = (std::filesystem::path(path) / name).string();
    if (!io::is_folder(path) || !io::exists(file)) continue;
    for (const int32_t id : end_token_ids(io::read_json_file(file, kLargestFile), file)) {
      if (std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
    }
  }
  return ends;
}

}  // namespace tessera::launch
