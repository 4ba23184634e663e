// For tests: a small random model with a tokenizer of one token per byte, and an adapter for it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "runtime/io/json.h"
#include "tests/initial_adapter.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"

namespace tessera::testing {

/// Folders base/ and adapter/ in a scratch folder. Its answers are noise, as random weights give
/// it, but the same noise for the same tokens.
class AnsweringBase {
 public:
  explicit AnsweringBase(int64_t positions = 4096) {
    const Folder base(this->base());
    write_byte_tokenizer(base.path());
    write_random_model(base, {.layers = 2, .hidden = 32, .ffn = 48, .vocab = kByteVocab});
    nlohmann::json config = io::read_json_file(base.file("config.json"), 1 << 20);
    config["max_position_embeddings"] = positions;
    base.write("config.json", config.dump());
    lora::AdapterSet adapter = initial_adapter(lora::Checkpoint::open(base.path()).spec());
    for (float& value : adapter.params()) value *= 20;  // so that it changes every answer
    lora::save_peft(this->adapter(), adapter, base.path());
  }

  const ScratchFolder& folder() const { return folder_; }
  std::string base() const { return folder_.file("base"); }
  std::string adapter() const { return folder_.file("adapter"); }

  /// The arguments of a command that all tests share, and `more`.
  std::vector<std::string> arguments(const std::string& command,
                                     const std::vector<std::string>& more) const {
    std::vector<std::string> all = {command,  "--base_model", base(), "--chat_template",
                                    "chatml", "--threads",    "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  ScratchFolder folder_;
};

}  // namespace tessera::testing
