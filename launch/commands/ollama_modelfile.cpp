#include "launch/commands/ollama_modelfile.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "launch/text/tokenizer/gguf_vocabulary_writer.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// The texts of the tokens, each once; none that a line in quotes cannot hold.
std::vector<std::string> stop_texts(const Modelfile& modelfile) {
  std::vector<std::string> texts;
  if (!has_tokenizer(modelfile.tokenizer)) return texts;
  const Tokenizer tokenizer = Tokenizer::load(modelfile.tokenizer);
  std::vector<int32_t> ids = modelfile.stops;
  if (const auto eos = tokenizer.eos_id()) ids.insert(ids.begin(), *eos);
  for (const int32_t id : ids) {
    const std::string& text = tokenizer.token(id);
    const bool fits =
        !text.empty() && text.find('"') == std::string::npos && !io::has_control_characters(text);
    if (fits && std::ranges::find(texts, text) == texts.end()) texts.push_back(text);
  }
  return texts;
}

}  // namespace

std::string modelfile_path(const std::string& gguf) {
  return fs::path(gguf).replace_extension(".Modelfile").string();
}

void write_modelfile(const std::string& path, const Modelfile& modelfile) {
  const std::string own = "./" + fs::path(modelfile.gguf).filename().string();
  std::string text =
      modelfile.base.empty()
          ? fmt::format("FROM {}\n", own)
          : fmt::format("FROM {}\nADAPTER {}\n", io::absolute(modelfile.base).string(), own);
  for (const std::string& stop : stop_texts(modelfile)) {
    text += fmt::format("PARAMETER stop \"{}\"\n", stop);
  }
  io::write_file(path, text);
}

}  // namespace tessera::launch
