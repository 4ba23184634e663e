// Any bytes in place of a tokenizer.json give an Error, or a tokenizer that encodes and decodes any
// text. (That the tokens before a border are those of the text before it is no law of every
// normalizer: some strip or join what stands beside it.)
#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "tests/fuzz/memory_file.h"

namespace {

using tessera::Error;
using tessera::launch::Encoding;
using tessera::launch::TextPiece;
using tessera::launch::Tokenizer;

void use(const Tokenizer& tokenizer, const std::string& text) {
  const size_t half = text.size() / 2;
  size_t cut = half;
  while (cut > 0 && (uint8_t(text[cut]) & 0xc0) == 0x80) --cut;
  TextPiece pieces[] = {{text.substr(0, cut)}, {text.substr(cut), /*literal=*/true}};
  pieces[1].begins_span = true;
  const Encoding both = tokenizer.encode(pieces);
  TESSERA_CHECK(both.ids.size() == both.begins.size());
  for (size_t i = 1; i < both.begins.size(); ++i) {
    TESSERA_CHECK(both.begins[i - 1] <= both.begins[i] && size_t(both.begins[i]) <= text.size());
  }
  const std::string decoded = tokenizer.decode(both.ids, /*skip_special=*/false);
  TESSERA_CHECK(!tessera::launch::find_invalid_utf8(decoded));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const tessera::testing::MemoryFile file(data, size);
    const Tokenizer tokenizer = Tokenizer::load(file.path());
    for (const char* text :
         {"", "Hello, world! 123\n\n  x<s>é中文\U0001f600 ", "\u0301a\u200d\t'll"}) {
      use(tokenizer, text);
    }
  } catch (const Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
