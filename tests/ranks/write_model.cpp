// Writes what a training run needs into a folder that exists: a Llama with random weights, rows of
// random tokens (rows.jsonl), config.yml and, where asked for, an adapter to begin with (initial/).
// Usage: write_model FOLDER [layers=6] [hidden=64] [ffn=160] [heads=4] [kv_heads=2] [vocab=256]
// [tied=0] [adapter=0] [rows=19] [shortest=8] [longest=40]
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>

#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "runtime/core/error.h"
#include "tests/initial_adapter.h"
#include "tests/random_model.h"

namespace tessera {
namespace {

void write(int argc, char** argv) {
  if (argc < 2) fail_usage("usage: write_model FOLDER [name=number ...]");
  const testing::Folder folder(std::filesystem::absolute(argv[1]).lexically_normal().string());
  testing::RandomModel model;
  int64_t rows = 19, shortest = 8, longest = 40, tied = 0, adapter = 0;
  const std::map<std::string_view, int64_t*> numbers = {
      {"layers", &model.layers}, {"hidden", &model.hidden},     {"ffn", &model.ffn},
      {"heads", &model.heads},   {"kv_heads", &model.kv_heads}, {"vocab", &model.vocab},
      {"tied", &tied},           {"adapter", &adapter},         {"rows", &rows},
      {"shortest", &shortest},   {"longest", &longest}};
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = std::min(argument.find('='), argument.size());
    const auto number = numbers.find(argument.substr(0, equals));
    const char* end = argument.data() + argument.size();
    if (number == numbers.end() || equals == argument.size() ||
        std::from_chars(argument.data() + equals + 1, end, *number->second).ptr != end) {
      fail_usage("{}: expected name=number, with a name of the usage line", argument);
    }
  }
  model.tied = tied != 0;
  testing::write_random_model(folder, model);
  const std::string data =
      testing::write_random_rows(folder, int(rows), int(shortest), int(longest), model.vocab);
  folder.write("config.yml", testing::random_run(folder, data));
  if (adapter != 0) {
    const lora::ModelSpec spec = lora::Checkpoint::open(folder.path()).spec();
    lora::save_peft(folder.file("initial"), testing::initial_adapter(spec), "random");
  }
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  try {
    tessera::write(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "write_model: {}\n", error.what());
    return 1;
  }
}
