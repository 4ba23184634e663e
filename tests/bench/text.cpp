// How long it takes to tokenize texts and to render chat templates, each on one thread, and to read
// rows of training data on several. By hand, from text_speed.py, which compares:
//   bench_text tokenize TOKENIZER TEXTS.json
//   bench_text render TOKENIZER TEMPLATE CONVERSATIONS.json PASSES
//   bench_text rows TOKENIZER TEMPLATE ROWS.jsonl THREADS
// TEXTS is a list of strings. CONVERSATIONS has "conversations", each a list of messages, and
// "variables" of the template. Prints one line of JSON: "seconds" and "results".
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config/config.h"
#include "launch/data/dataset.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"

namespace {

using namespace tessera;
using namespace tessera::launch;
using Json = Conversation::Json;

constexpr size_t kLargestInput = size_t{1} << 30;

Json read(const std::string& path) {
  return io::parse_ordered_json(io::read_file(path, kLargestInput), path);
}

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// One pass over the texts by a tokenizer that has seen none, as a run makes. The results are ids.
Json tokenize(const std::string& tokenizer_path, const std::string& texts_path) {
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  const auto texts = read(texts_path).get<std::vector<std::string>>();
  std::vector<std::vector<int32_t>> ids(texts.size());
  const double seconds = seconds_of([&] {
    for (size_t i = 0; i < texts.size(); ++i) ids[i] = tokenizer.encode(texts[i]);
  });
  return {{"seconds", seconds}, {"results", ids}};
}

/// `passes` times every conversation, after a pass that is not timed. A render begins with parsed
/// JSON: it includes the making of the template's values. The results are the texts.
Json render(const std::string& tokenizer_path, const std::string& template_path,
            const std::string& conversations_path, int passes) {
  const Json input = read(conversations_path);
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  const auto chat = ChatTemplate::resolve(template_path, tokenizer, input.at("variables"));
  std::vector<Conversation> conversations;
  for (const Json& messages : input.at("conversations")) {
    conversations.push_back({.messages = messages});
  }
  std::vector<std::string> texts(conversations.size());
  const auto pass = [&] {
    for (size_t i = 0; i < texts.size(); ++i) {
      texts[i] = chat.chat(conversations[i]).render(/*add_generation_prompt=*/false).text;
    }
  };
  pass();
  const double seconds = seconds_of([&] {
    for (int i = 0; i < passes; ++i) pass();
  });
  return {{"seconds", seconds}, {"results", texts}};
}

/// Reads a data set as a run does. The results are the ids of its samples.
Json read_rows(const std::string& tokenizer_path, const std::string& template_path,
               const std::string& rows_path, int threads) {
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  const auto chat = ChatTemplate::resolve(template_path, tokenizer);
  RowEncoder encoder{.tokenizer = &tokenizer,
                     .chat_template = &chat,
                     .vocab = tokenizer.vocab_size(),
                     .threads = threads};
  if (tokenizer.eos_id()) encoder.ends = {*tokenizer.eos_id()};
  Config config;
  config.datasets.push_back({.path = rows_path, .type = std::nullopt});
  Dataset data;
  const double seconds =
      seconds_of([&] { data = load_datasets(config, config.datasets, encoder); });
  Json ids = Json::array();
  for (size_t i = 0; i < data.samples.size(); ++i) ids.push_back(data.samples[i].ids);
  return {{"seconds", seconds}, {"results", ids}};
}

Json measured(std::span<char*> words) {
  if (words.size() == 4 && words[1] == std::string_view("tokenize")) {
    return tokenize(words[2], words[3]);
  }
  if (words.size() == 6 && words[1] == std::string_view("render")) {
    return render(words[2], words[3], words[4], std::atoi(words[5]));
  }
  if (words.size() == 6 && words[1] == std::string_view("rows")) {
    return read_rows(words[2], words[3], words[4], std::atoi(words[5]));
  }
  fail(
      "usage: bench_text tokenize TOKENIZER TEXTS.json | "
      "render TOKENIZER TEMPLATE CONVERSATIONS.json PASSES | "
      "rows TOKENIZER TEMPLATE ROWS.jsonl THREADS");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    fmt::print("{}\n", measured({argv, size_t(argc)}).dump());
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
