// Tokenizers out of GGUF metadata that describe a SentencePiece model, as llama.cpp reads it.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::expect_error;
using tessera::testing::gguf_text;
using tessera::testing::GgufBuilder;
using tessera::testing::raw;

std::string stored(const std::string& name) {
  return io::read_file(TESSERA_GOLDEN_DIR "/tokenizer/vocabularies/" + name, 16 << 20);
}

/// Metadata by key: the type's number and the bytes of each value.
class Metadata {
 public:
  void text(const std::string& key, const std::string& value) { put(key, 8, gguf_text(value)); }
  void id(const std::string& key, uint32_t value) { put(key, 4, raw(value)); }
  void flag(const std::string& key, bool value) { put(key, 7, raw(uint8_t(value))); }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw(8u) + raw(uint64_t(values.size()));
    for (const std::string& value : values) bytes += gguf_text(value);
    put(key, 9, bytes);
  }
  template <class T>
  void numbers(const std::string& key, uint32_t type, const std::vector<T>& values) {
    std::string bytes = raw(type) + raw(uint64_t(values.size()));
    for (const T value : values) bytes += raw(value);
    put(key, 9, bytes);
  }

  Tokenizer load() const {
    GgufBuilder builder;
    for (const auto& [key, value] : values_) {
      builder.pair("tokenizer.ggml." + key, value.first, value.second);
    }
    const tessera::testing::ScratchFolder folder;
    return Tokenizer::load(folder.write("model.gguf", builder.build()));
  }

 private:
  void put(const std::string& key, uint32_t type, const std::string& bytes) {
    values_[key] = {type, bytes};
  }
  std::map<std::string, std::pair<uint32_t, std::string>> values_;
};

/// What llama.cpp's converter writes for a model.
Metadata describe(const std::string& name, const char* kind) {
  const SentencePieceModel model = parse_sentencepiece_model(stored(name), name);
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (const SentencePiece& piece : model.pieces) {
    tokens.push_back(piece.text);
    scores.push_back(piece.score);
    types.push_back(int32_t(piece.type));
  }
  Metadata metadata;
  metadata.text("model", kind);
  metadata.text("pre", "default");
  metadata.texts("tokens", tokens);
  metadata.numbers("scores", 6, scores);
  metadata.numbers("token_type", 5, types);
  metadata.id("eos_token_id", uint32_t(model.eos_id));
  metadata.id("unknown_token_id", uint32_t(model.unk_id));
  metadata.flag("add_space_prefix", model.add_dummy_prefix);
  metadata.flag("remove_extra_whitespaces", model.remove_extra_whitespaces);
  if (!model.charsmap.empty()) {
    metadata.numbers("precompiled_charsmap", 0,
                     std::vector<uint8_t>(model.charsmap.begin(), model.charsmap.end()));
  }
  return metadata;
}

void expect_ids(const Metadata& metadata, const std::string& folder) {
  const json golden = json::parse(stored("golden.json"));
  const Tokenizer tokenizer = metadata.load();
  for (size_t i = 0; i < golden["texts"].size(); ++i) {
    const std::string text = golden["texts"][i];
    EXPECT_EQ(json(tokenizer.encode(text)), golden["folders"][folder]["ids"][i]) << text;
  }
}

std::vector<std::string> tokens_of(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> texts;
  for (const int32_t id : tokenizer.encode(text)) texts.push_back(tokenizer.token(id));
  return texts;
}

using Ids = std::vector<int32_t>;
using Texts = std::vector<std::string>;

TEST(GgufSentencePiece, GivesTheIdsOfTheModel) {
  Metadata metadata = describe("bpe_bytes.model", "llama");
  expect_ids(metadata, "bpe_bytes");
  Tokenizer tokenizer = metadata.load();
  EXPECT_EQ(tokenizer.prefix_ids(), Ids{1});
  EXPECT_EQ(tokenizer.suffix_ids(), Ids());
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  metadata.flag("add_bos_token", false);
  metadata.flag("add_eos_token", true);
  tokenizer = metadata.load();
  EXPECT_EQ(tokenizer.prefix_ids(), Ids());
  EXPECT_EQ(tokenizer.suffix_ids(), Ids{2});

  metadata = describe("unigram.model", "t5");
  expect_ids(metadata, "unigram");
  EXPECT_EQ(metadata.load().suffix_ids(), Ids{2});
  const size_t texts = json::parse(stored("golden.json"))["texts"].size();
  const json rows = {{{"model", "BPE"}, {"texts", texts}},
                     {{"model", "Unigram"}, {"texts", texts}}};
  RecordProperty("tokenizers", rows.dump());  // for docs/compatibility.md
}

/// As in llama.cpp, which looks for them before it adds the prefix.
TEST(GgufSentencePiece, LooksForUserDefinedPiecesInTheTextAsItIs) {
  Metadata metadata = describe("bpe_user.model", "llama");
  EXPECT_EQ(tokens_of(metadata.load(), "the<|im_end|>a b"), (Texts{"the", "<|im_end|>", "a b"}));
  EXPECT_EQ(tokens_of(metadata.load(), "\nof"), (Texts{"\n", "▁of"}));
  metadata.flag("add_space_prefix", false);
  EXPECT_EQ(tokens_of(metadata.load(), "\nof").front(), "\n");
  EXPECT_NE(tokens_of(metadata.load(), "\nof").back(), "▁of");
}

TEST(GgufSentencePiece, RefusesDamagedMetadata) {
  const auto expect = [](const std::string& part, const auto& change) {
    Metadata metadata = describe("bpe_bytes.model", "llama");
    change(metadata);
    expect_error([&] { metadata.load(); }, part);
  };
  expect("400 tokens, but 1 values in tokenizer.ggml.scores",
         [](Metadata& m) { m.numbers("scores", 6, std::vector<float>{1}); });
  expect("token 0 has no finite score",
         [](Metadata& m) { m.numbers("scores", 6, std::vector<float>(400, NAN)); });
  expect("tokenizer.ggml.scores", [](Metadata& m) { m.text("scores", "x"); });
  expect("400 tokens, but 1 values in tokenizer.ggml.token_type",
         [](Metadata& m) { m.numbers("token_type", 5, Ids{1}); });
  expect("unknown_token_id is 400, but the ids are 0 to 399",
         [](Metadata& m) { m.id("unknown_token_id", 400); });
  expect("bos_token_id is 400, but there are 400 tokens, with the ids 0 to 399",
         [](Metadata& m) { m.id("bos_token_id", 400); });
  expect("'tokenizer.ggml.add_space_prefix' is not a boolean",
         [](Metadata& m) { m.id("add_space_prefix", 1); });
  expect("token 1 is given twice", [](Metadata& m) { m.texts("tokens", Texts(400, "a")); });
  expect("2 tokens, but 400 values", [](Metadata& m) { m.texts("tokens", {"a", "\xff"}); });
}

/// Merges as of byte-level BPE, of text that is spelt as SentencePiece's.
TEST(GgufSentencePiece, ReadsGemma4) {
  Metadata metadata;
  metadata.text("model", "gemma4");
  metadata.texts("tokens", {"<bos>", "a", "b", "▁", "▁a", "<0xC3>", "<0xA9>", "\n"});
  metadata.numbers("token_type", 5, Ids{3, 1, 1, 1, 1, 6, 6, 1});
  metadata.texts("merges", {"▁ a"});
  metadata.id("bos_token_id", 0);
  const Tokenizer tokenizer = metadata.load();
  EXPECT_EQ(tokenizer.encode("a a\nb é"), (Ids{1, 4, 7, 2, 3, 5, 6}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a a\nb é"), false), "a a\nb é");
  EXPECT_EQ(tokenizer.prefix_ids(), Ids{0});
}

}  // namespace
}  // namespace tessera::launch
