// Any bytes in place of a SentencePiece model give an Error, or a tokenizer that encodes and
// decodes.
#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/sentencepiece_tokenizer.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const launch::SentencePieceModel model = launch::parse_sentencepiece_model(bytes, "fuzz");
    const std::string json = launch::plain_sentencepiece_tokenizer(model, {}).dump();
    const testing::MemoryFile file(reinterpret_cast<const uint8_t*>(json.data()), json.size());
    const auto tokenizer = launch::Tokenizer::load(file.path());
    for (const char* text : {"", " Hello,  world! 123\n", "e\u0301\u4e2d\U0001f600<s>"}) {
      tokenizer.decode(tokenizer.encode(text), /*skip_special=*/false);
    }
  } catch (const Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
