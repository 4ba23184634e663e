// Ids, offsets and texts against the `tokenizers` package (goldens and their maker are in
// tests/golden), damaged files, and the amount of work on long texts.
#include "launch/text/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "launch/text/tokenizer/bpe.h"
#include "launch/text/tokenizer/byte_stand_ins.h"
#include "launch/text/tokenizer/pretokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "tests/launch/tokenizer_strings.h"
#include "tests/sanitized.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kShared = TESSERA_SHARED_DIR;

/// A folder of one test, removed with it.
class Folder {
 public:
  Folder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(::testing::TempDir()) /
            fmt::format("tessera_{}_{}_{}", test->test_suite_name(), test->name(), counter_++);
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  static inline int counter_ = 0;
  fs::path path_;
};

Tokenizer load_json(const json& spec) {
  Folder folder;
  return Tokenizer::load(folder.write("tokenizer.json", spec.dump()));
}

Tokenizer small_tokenizer() { return Tokenizer::load((kGolden / "byte_level.json").string()); }

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no Error";
}

template <class T>
void append_int32(std::string& bytes, T value) {
  const auto narrow = int32_t(value);
  bytes.append(reinterpret_cast<const char*>(&narrow), 4);
}

/// The code points before each byte of `text`, those in its middle not counted.
std::vector<int32_t> point_indices(const std::string& text) {
  std::vector<int32_t> indices;
  int32_t index = -1;
  for (char c : text) {
    if ((uint8_t(c) & 0xc0) != 0x80) ++index;
    indices.push_back(index);
  }
  return indices;
}

void expect_golden(const Tokenizer& tokenizer, const json& golden,
                   const std::vector<std::string>& strings) {
  for (size_t ten = 0; ten * 10 < strings.size(); ++ten) {
    std::string ids, begins, texts, texts_without_special;
    for (size_t i = ten * 10; i < std::min(ten * 10 + 10, strings.size()); ++i) {
      const TextPiece piece{strings[i]};
      const Encoding encoding = tokenizer.encode(std::span(&piece, 1));
      const auto indices = point_indices(strings[i]);
      for (int32_t id : encoding.ids) append_int32(ids, id);
      for (int64_t begin : encoding.begins) append_int32(begins, indices[size_t(begin)]);
      texts += tokenizer.decode(encoding.ids, false);
      const std::string text = tokenizer.decode(encoding.ids, true);
      texts_without_special += text;

      StreamDecoder stream(tokenizer);
      std::string streamed;
      for (int32_t id : encoding.ids) {
        const std::string part = stream.push(id);
        EXPECT_FALSE(find_invalid_utf8(part));
        streamed += part;
      }
      EXPECT_EQ(streamed + stream.finish(), text);
    }
    const auto expect = [&](const char* what, const std::string& bytes) {
      EXPECT_EQ(hash_of(bytes), golden[what].get<std::string>().substr(ten * 8, 8))
          << what << " of strings " << ten * 10 << " and on";
    };
    expect("ids", ids);
    if (golden.contains("begins")) expect("begins", begins);
    expect("texts", texts);
    expect("texts_without_special", texts_without_special);
    if (::testing::Test::HasFailure()) return;
  }
}

/// Where the pre-tokenizer of `spec` starts words.
void expect_words(const json& spec, const json& golden, const std::vector<std::string>& strings) {
  const Pretokenizer pretokenizer(spec["pre_tokenizer"], "test");
  std::string starts;
  for (size_t i = 0; i < strings.size(); ++i) {
    AlignedText text;
    for (char c : strings[i]) text.append({&c, 1}, int64_t(text.text.size()));
    const auto indices = point_indices(strings[i]);
    Words words;
    if (!text.text.empty()) pretokenizer.split(text.view(), words);
    for (const AlignedView& word : words.views)
      append_int32(starts, indices[size_t(word.origin[0])]);
    if (i % 10 < 9) continue;
    EXPECT_EQ(hash_of(starts), golden["words"].get<std::string>().substr(i / 10 * 8, 8)) << i;
    starts.clear();
  }
}

class Variant : public ::testing::TestWithParam<std::string> {};

std::string name_of_variant(const json& variant) {
  return variant["base"].get<std::string>() + "_" + variant["name"].get<std::string>();
}

std::vector<std::string> variant_names() {
  std::vector<std::string> names;
  const json golden = read_golden("variants.json");
  for (const json& variant : golden["variants"]) {
    names.push_back(name_of_variant(variant));
  }
  return names;
}

TEST_P(Variant, EqualsTheReference) {
  const json golden = read_golden("variants.json");
  for (const json& variant : golden["variants"]) {
    if (name_of_variant(variant) != GetParam()) continue;
    json spec = read_golden((variant["base"].get<std::string>() + ".json").c_str());
    spec.merge_patch(variant["patch"]);
    const auto strings = random_strings(golden["strings"].get<size_t>());
    if (variant.contains("words")) expect_words(spec, variant, strings);
    expect_golden(load_json(spec), variant, strings);
    const json row = {{"name", variant["base"]}, {"strings", strings.size()}};
    RecordProperty("tokenizers", row.dump());  // for docs/compatibility.md
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Variant, ::testing::ValuesIn(variant_names()),
                         [](const auto& info) { return info.param; });

class Model : public ::testing::TestWithParam<std::string> {};

TEST_P(Model, EqualsTheReference) {
  fs::path path = kShared / GetParam();
  if (GetParam() == "smollm2.gguf") {
    const char* folder = std::getenv("TESSERA_SMOLLM2_DIR");
    if (!folder) GTEST_SKIP() << "TESSERA_SMOLLM2_DIR does not name a folder with model.gguf";
    path = fs::path(folder) / "model.gguf";
  }
  if (!fs::exists(path)) GTEST_SKIP() << path << " is absent";
  const json golden = read_golden("models.json");
  for (const json& model : golden["models"]) {
    if (model["path"] != GetParam()) continue;
    const auto strings = random_strings(golden["strings"].get<size_t>());
    expect_golden(Tokenizer::load(path.string()), model, strings);
    const json row = {{"name", path.filename().string()}, {"strings", strings.size()}};
    RecordProperty("tokenizers", row.dump());  // for docs/compatibility.md
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Model,
                         ::testing::Values("tokenizers/gpt2", "tokenizers/llama3",
                                           "tokenizers/qwen3", "tokenizers/torchtitan_small",
                                           "models/TinyStories-656K", "smollm2.gguf"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = std::isalnum(uint8_t(c)) ? c : '_';
                           return name;
                         });

std::vector<std::string> split_text(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t at; (at = text.find(separator, begin)) != std::string::npos;) {
    parts.push_back(text.substr(begin, at - begin));
    begin = at + separator.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

/// The tokenizer of a file of the shared data; a tokenizer.model as the only one of its folder.
Tokenizer load_shared(const std::string& file) {
  if (!file.ends_with(".model")) return Tokenizer::load((kShared / file).string());
  const Folder folder;
  folder.write("tokenizer.model", io::read_file((kShared / file).string(), 16 << 20));
  return Tokenizer::load(folder.path());
}

/// Adds a row to `rows`.
void expect_ggml_vectors(const std::string& file, const std::string& name, json& rows) {
  const Tokenizer tokenizer = load_shared(file);
  const fs::path vectors = kShared / "vectors/ggml-vocab" / ("ggml-vocab-" + name + ".gguf");
  const auto read = [&](const char* end) { return io::read_file(vectors.string() + end, 1 << 20); };
  const auto texts = split_text(read(".inp"), "\n__ggml_vocab_test__\n");
  const auto lines = split_text(read(".out"), "\n");
  ASSERT_LE(texts.size(), lines.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> expected;
    std::istringstream numbers(lines[i]);
    for (int32_t id; numbers >> id;) expected.push_back(id);
    EXPECT_EQ(tokenizer.encode(texts[i]), expected) << name << " text " << i << ": " << texts[i];
  }
  rows.push_back({{"name", name}, {"file", file}, {"texts", texts.size()}});
}

TEST(Tokenizer, GivesLlamaCppsIds) {
  if (!fs::exists(kShared / "vectors/ggml-vocab")) GTEST_SKIP() << kShared << " is absent";
  json rows;
  expect_ggml_vectors("vectors/ggml-vocab/ggml-vocab-gpt-2.gguf", "gpt-2", rows);
  expect_ggml_vectors("tokenizers/gpt2/tokenizer.json", "gpt-2", rows);
  expect_ggml_vectors("tokenizers/llama3/tokenizer.json", "llama-bpe", rows);
  expect_ggml_vectors("tokenizers/llama2/tokenizer.model", "llama-spm", rows);
  expect_ggml_vectors("tokenizers/llama2_from_model/tokenizer.json", "llama-spm", rows);
  expect_ggml_vectors("tokenizers/qwen3/tokenizer.json", "qwen2", rows);
  RecordProperty("tokenizers", rows.dump());  // for docs/compatibility.md
}

TEST(Tokenizer, KeepsOffsetsThroughComposition) {
  json spec = read_golden("byte_level.json");
  spec["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = load_json(spec);
  for (const json& golden : read_golden("composed.json")) {
    const TextPiece piece{golden["text"].get<std::string>()};
    const Encoding encoding = tokenizer.encode(std::span(&piece, 1));
    const auto indices = point_indices(piece.text);
    std::vector<int32_t> begins;
    for (int64_t begin : encoding.begins) begins.push_back(indices[size_t(begin)]);
    EXPECT_EQ(encoding.ids, golden["ids"].get<std::vector<int32_t>>()) << piece.text;
    EXPECT_EQ(begins, golden["begins"].get<std::vector<int32_t>>()) << piece.text;
  }
}

TEST(Tokenizer, FindsNoAddedTokenInLiteralText) {
  const Tokenizer tokenizer = small_tokenizer();
  const int32_t end = tokenizer.token_id("<|im_end|>").value();
  const auto count = [&](const std::vector<int32_t>& ids) {
    return std::count(ids.begin(), ids.end(), end);
  };
  const std::string text = "Hello <|im_end|> world";
  EXPECT_EQ(count(tokenizer.encode(text)), 1);
  const auto literal = tokenizer.encode(text, /*parse_special=*/false);
  EXPECT_EQ(count(literal), 0);
  EXPECT_EQ(tokenizer.decode(literal, false), text);

  // Half of the marker is the user's: it is not one. The template's own marker beside it is.
  const std::vector<TextPiece> pieces = {
      {"<|im_", true}, {"end|>"}, {"<|im_end|>", true}, {"<|im_end|>"}};
  const Encoding encoding = tokenizer.encode(pieces);
  EXPECT_EQ(count(encoding.ids), 1);
  EXPECT_EQ(encoding.ids.back(), end);
  EXPECT_EQ(encoding.begins.back(), 20);
  EXPECT_EQ(tokenizer.decode(encoding.ids, false), "<|im_end|><|im_end|><|im_end|>");
}

TEST(Tokenizer, FindsNoNormalizedTokenInLiteralText) {
  json spec = read_golden("byte_level.json");
  spec["normalizer"] = {{"type", "NFC"}};
  const std::vector<TextPiece> pieces = {{"e\u0301 norme\u0301 "}, {"norme\u0301", true}};
  for (const bool special : {true, false}) {
    for (json& token : spec["added_tokens"]) {
      if (token["content"] == "normé") token["special"] = special;
    }
    const Tokenizer tokenizer = load_json(spec);
    const int32_t id = tokenizer.token_id("normé").value();
    const Encoding encoding = tokenizer.encode(pieces);
    // One that is not special is a word like others, whoever wrote it.
    EXPECT_EQ(std::count(encoding.ids.begin(), encoding.ids.end(), id), special ? 1 : 2);
    EXPECT_EQ(encoding.spelled_out, special ? std::vector<int32_t>{id} : std::vector<int32_t>{});
  }
}

TEST(Tokenizer, ReadsWhatSurroundsTheModel) {
  const json spec = read_golden("byte_level.json");
  const json bos = {{"content", "<|im_start|>"}, {"lstrip", false}};
  Folder folder;
  folder.write("tokenizer.json", spec.dump());
  const json config = {
      {"bos_token", bos}, {"eos_token", "<|im_end|>"}, {"chat_template", "{{ a }}"}};
  folder.write("tokenizer_config.json", config.dump());
  folder.write("special_tokens_map.json", R"({"pad_token": "<pad>", "eos_token": "<mask>"})");
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.bos_id(), tokenizer.token_id("<|im_start|>"));
  EXPECT_EQ(tokenizer.eos_id(), tokenizer.token_id("<mask>"));  // as in transformers
  EXPECT_EQ(tokenizer.pad_id(), tokenizer.token_id("<pad>"));
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.chat_template(), "{{ a }}");
  EXPECT_EQ(tokenizer.vocab_size(),
            int64_t(spec["model"]["vocab"].size() + spec["added_tokens"].size()));
  const std::vector<std::pair<std::string, std::string>> files = tokenizer.files();
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0], std::pair(std::string("tokenizer.json"), spec.dump()));
  EXPECT_EQ(files[1].second, config.dump());

  folder.write("chat_template.jinja", "{{ b }}");
  EXPECT_EQ(Tokenizer::load(folder.path()).chat_template(), "{{ b }}");
}

TEST(Tokenizer, NeedsNoUnknownTokenWhereEveryByteIsOne) {
  json spec = read_golden("byte_level.json");
  spec["model"]["unk_token"] = "zzz";
  EXPECT_EQ(load_json(spec).encode("any text"), small_tokenizer().encode("any text"));
  json fallback = read_golden("byte_fallback.json");
  fallback["model"]["unk_token"] = "zzz";
  fallback["model"]["byte_fallback"] = false;
  EXPECT_NE(message_of([&] { load_json(fallback).encode("\u4e16"); }).find("unknown token 'zzz'"),
            std::string::npos);
}

TEST(Tokenizer, TokensBeginInTheirOrder) {
  // One of the two bytes of an é is missing: the unknown token comes behind the byte of the space
  // that follows it, as the tokenizers package has it. Its ids are {1, 2, 2, 0} and {2, 0, 1}.
  json spec = read_golden("byte_fallback.json");
  spec["added_tokens"] = json::array();
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    spec[part] = nullptr;
  }
  spec["model"]["fuse_unk"] = true;
  spec["model"]["merges"] = json::array();
  spec["model"]["vocab"] = {{"<unk>", 0}, {"a", 1}, {"<0x20>", 2}, {"<0xC3>", 3}};
  const Tokenizer tokenizer = load_json(spec);
  for (const auto& [text, ids, begins] :
       std::vector<std::tuple<std::string, std::vector<int32_t>, std::vector<int64_t>>>{
           {"a\u00e9  \u00e9", {1, 2, 2, 0}, {0, 3, 4, 4}}, {"\u00e9 a", {2, 0, 1}, {2, 2, 3}}}) {
    const TextPiece piece[] = {{text}};
    const Encoding encoding = tokenizer.encode(piece);
    EXPECT_EQ(encoding.ids, ids) << text;
    EXPECT_TRUE(std::ranges::equal(encoding.begins, begins)) << text;
  }
}

TEST(Tokenizer, AddsBosAsThePostProcessorDoes) {
  json spec = read_golden("byte_level.json");
  spec["post_processor"] = json::parse(R"({"type": "Sequence", "processors": [
      {"type": "ByteLevel"},
      {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>"}},
                                                {"Sequence": {"id": "A"}}]}]})");
  const Tokenizer tokenizer = load_json(spec);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.bos_id(), tokenizer.token_id("<|endoftext|>"));
  EXPECT_NE(tokenizer.encode("the").at(0), *tokenizer.bos_id());
}

TEST(Tokenizer, TakesWhatItsPostProcessorPutsAroundAText) {
  const auto with = [](const char* post_processor) {
    json spec = read_golden("byte_level.json");
    spec["post_processor"] = json::parse(post_processor);
    return load_json(spec);
  };
  const Tokenizer two = with(
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>"}},
          {"SpecialToken": {"id": "<pad>"}}, {"Sequence": {"id": "A"}},
          {"SpecialToken": {"id": "<mask>"}}]})");
  const auto id = [&](const char* token) { return two.token_id(token).value(); };
  EXPECT_EQ(two.prefix_ids(), (std::vector<int32_t>{id("<|endoftext|>"), id("<pad>")}));
  EXPECT_EQ(two.suffix_ids(), std::vector<int32_t>{id("<mask>")});
  EXPECT_FALSE(two.adds_bos());  // which token it is, no file says
  EXPECT_EQ(two.eos_id(), id("<mask>"));

  // The template's own table holds, and processors stand around one another.
  const Tokenizer nested = with(
      R"({"type": "Sequence", "processors": [
          {"type": "RobertaProcessing", "cls": ["a", 5], "sep": ["b", 6]},
          {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}},
           {"Sequence": {"id": "A"}}], "special_tokens": {"x": {"ids": [7, 8]}}}]})");
  EXPECT_EQ(nested.prefix_ids(), (std::vector<int32_t>{7, 8, 5}));
  EXPECT_EQ(nested.suffix_ids(), std::vector<int32_t>{6});

  const auto expect = [&](const char* post_processor, const std::string& part) {
    const std::string message = message_of([&] { with(post_processor); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect(R"({"type": "TemplateProcessing", "single": []})", "must have the text once, not 0 times");
  expect(R"({"type": "BertProcessing", "cls": ["a", 99999], "sep": ["b", 6]})",
         "puts the id 99999 around a text, which no token has");
  expect(R"({"type": "BertProcessing", "cls": ["a"], "sep": ["b", 6]})",
         "'cls' must be a token and its id");
  expect(R"({"type": "Other"})", "type 'Other' is not supported");
}

TEST(Tokenizer, TakesTheTokensOfItsConfig) {
  json spec = read_golden("byte_level.json");
  json config = {{"added_tokens_decoder", json::object()}};
  for (const json& token : spec["added_tokens"]) {
    config["added_tokens_decoder"][std::to_string(token["id"].get<int>())] = token;
  }
  spec["added_tokens"] = json::array();
  Folder folder;
  folder.write("tokenizer.json", spec.dump());
  folder.write("tokenizer_config.json", config.dump());
  const std::string text = "one <|im_end|> <mask> <both> <|end";
  EXPECT_EQ(Tokenizer::load(folder.path()).encode(text), small_tokenizer().encode(text));
}

TEST(Tokenizer, RefusesDamagedFiles) {
  const json good = read_golden("byte_level.json");
  const auto expect = [&](const json& patch, const std::string& part) {
    json spec = good;
    spec.merge_patch(patch);
    const std::string message = message_of([&] { load_json(spec); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  };
  const auto model = [](const json& patch) { return json{{"model", patch}}; };
  expect(model({{"type", "WordPiece"}}), "type 'WordPiece' is not supported");
  expect(model({{"type", "Unigram"}}), "'vocab' must be an array");
  expect(model({{"dropout", 0.1}}), "'dropout' makes ids random");
  expect(model({{"dropout", 0.1}}), "'dropout'");
  expect(model({{"vocab", {{"the", 1 << 24}}}}), "token id must be an integer");
  expect(model({{"vocab", {{"the", -1}}}}), "token id must be an integer");
  expect(model({{"vocab", {{"the", "7"}}}}), "token id must be an integer");
  expect(model({{"vocab", {{"the", 1 << 23}}}}), "the largest token id is 8388608");
  expect(model({{"vocab", {{"zzz", 5}}}}), "both have the id 5");
  expect(model({{"vocab", json::array()}}), "'vocab' must be an object");
  expect(model({{"merges", {"the zzz"}}}), "needs the token 'zzz'");
  expect(model({{"merges", {"$ $"}}}), "needs the token '$$'");
  expect(model({{"merges", {"the"}}}), "must be two tokens");
  expect(model({{"merges", {"t h e"}}}), "must be two tokens");
  expect(model({{"merges", {{"t", "h", "e"}}}}), "must be two tokens");
  expect(model({{"merges", json::array({json::array({"t", 7})})}}), "must be two tokens");
  expect(model({{"merges", 7}}), "'merges' must be an array");
  expect(model({{"unk_token", 7}}), "'unk_token' must be a string");
  expect(model({{"continuing_subword_prefix", "##"}}), "lacks the prefix '##' on its right");
  expect({{"model", nullptr}}, "'model' is missing");
  expect({{"added_tokens", {{{"id", 3}, {"content", "!"}}}}}, "has the id 3, but elsewhere");
  expect({{"added_tokens", {{{"id", 430}, {"content", ""}}}}}, "must have 1 to 1024 bytes");
  expect({{"added_tokens", {{{"content", "x"}}}}}, "'id' is missing");
  expect({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}, "'UnicodeScripts' is not supported");
  expect({{"pre_tokenizer",
           {{"type", "Split"}, {"pattern", {{"Regex", "(a)\\1"}}}, {"behavior", "Isolated"}}}},
         "the regular expression '(a)\\1' is not supported: '\\1' at byte 5");
  expect({{"normalizer", {{"type", "Cyrillic"}}}}, "'Cyrillic' is not supported");
  expect({{"decoder", {{"type", "WordPiece"}}}}, "'WordPiece' is not supported");
  expect({{"post_processor",
           {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "zzz"}}}}}}}}},
         "unknown token 'zzz'");
}

TEST(Tokenizer, RefusesWhatIsNoTokenizer) {
  Folder folder;
  const auto expect = [&](const std::string& path, const std::string& part) {
    const std::string message = message_of([&] { Tokenizer::load(path); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect(folder.path(), "there is no tokenizer.json");
  folder.write("tokenizer.model", "x");
  expect(folder.path(), "tokenizer.model: line 1: ");
  expect(folder.path() + "/none.json", "none.json");
  expect(folder.write("deep.json", std::string(100000, '[')), "nested deeper");
  expect(folder.write("surrogate.json", R"({"model": {"vocab": {"\ud800": 1}}})"), "invalid JSON");
  expect(folder.write("array.json", "[]"), "must be a JSON object");
  expect(folder.write("cut.gguf", "GGUF"), "cut.gguf");
  folder.write("tokenizer.json", read_golden("byte_level.json").dump());
  folder.write("tokenizer_config.json", R"({"eos_token": "zzz"})");
  expect(folder.path(), "the eos_token 'zzz' is not in the vocabulary");
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {"4x": {"content": "z"}}})");
  expect(folder.path(), "a token id must be an integer");
  folder.write("tokenizer_config.json", "[]");
  expect(folder.path(), "must be a JSON object");
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = small_tokenizer();
  for (const char* bad :
       {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80", "ab\xf4\x90\x80\x80"}) {
    EXPECT_EQ(message_of([&] { tokenizer.encode(bad); }), "the text is not valid UTF-8 at byte 2");
  }
  EXPECT_EQ(message_of([&] {
              const std::vector<TextPiece> pieces = {{"abc"}, {"d\x80"}};
              tokenizer.encode(pieces);
            }),
            "the text is not valid UTF-8 at byte 4");
}

TEST(Tokenizer, RefusesIdsThatAreNoTokens) {
  const Tokenizer tokenizer = small_tokenizer();
  for (int32_t id : {-1, int32_t(tokenizer.vocab_size())}) {
    EXPECT_NE(
        message_of([&] { tokenizer.decode(std::vector<int32_t>{id}, false); }).find("no token"),
        std::string::npos);
    EXPECT_NE(message_of([&] { StreamDecoder(tokenizer).push(id); }).find("no token"),
              std::string::npos);
  }
}

TEST(StreamDecoder, NeverSplitsACodePoint) {
  const Tokenizer tokenizer = small_tokenizer();
  StreamDecoder stream(tokenizer);
  std::vector<int32_t> bytes;
  for (uint8_t byte : {0xf0, 0x9f, 0x98, 0x80, 0xe2, 0x82}) {
    bytes.push_back(tokenizer.token_id(byte_stand_in(byte)).value());
  }
  for (int i = 0; i < 3; ++i) EXPECT_EQ(stream.push(bytes[size_t(i)]), "");
  EXPECT_EQ(stream.push(bytes[3]), "\U0001f600");
  EXPECT_EQ(stream.push(bytes[4]), "");
  EXPECT_EQ(stream.push(bytes[5]), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(tokenizer.decode(bytes, true), "\U0001f600\ufffd");
}

/// A vocabulary in which a run of 'a' merges into ever longer tokens.
Bpe doubling_bpe() {
  Bpe::Vocabulary vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;
  std::string token = "a";
  for (int32_t id = 0; id < 8; ++id, token += token) {
    vocabulary.set(token, id);
    if (id < 7) merges.emplace_back(token, token);
  }
  return Bpe(vocabulary, merges, {}, "test");
}

TEST(Bpe, DoesLinearWorkOnALongWord) {
  const Bpe bpe = doubling_bpe();
  for (const size_t length : {size_t{1} << 16, size_t{1} << 20}) {
    AlignedText word;
    word.text = std::string(length, 'a');
    word.origin.resize(length);
    Bpe::Scratch scratch;
    Encoding encoding;
    bpe.encode(word.view(), scratch, encoding);
    EXPECT_EQ(encoding.ids, std::vector<int32_t>(length / 128, 7));
    // One insertion for each pair at first, and two for each of fewer than `length` merges.
    EXPECT_LE(scratch.pushes, 3 * length);
  }
}

TEST(Tokenizer, TakesLongTexts) {
  const size_t length = testing::kSanitized ? 1 << 17 : 1 << 20;
  std::vector<Tokenizer> tokenizers = {small_tokenizer()};
  json spec = read_golden("byte_level.json");
  spec["normalizer"] = {{"type", "NFC"}};
  tokenizers.push_back(load_json(spec));
  tokenizers.push_back(Tokenizer::load((kGolden / "byte_fallback.json").string()));
  for (const Tokenizer& tokenizer : tokenizers) {
    // The last is NFC's worst: marks in falling order, all to be sorted.
    for (const char* unit : {"a", " ", "\n", "é", "\u0323", "<|im_", "\u0301\u0323"}) {
      std::string text;
      while (text.size() < length) text += unit;
      const auto ids = tokenizer.encode(text);
      if (std::string_view(unit) != "\u0301\u0323") {
        EXPECT_EQ(tokenizer.decode(ids, false), text) << unit;
      }
    }
  }
}

}  // namespace
}  // namespace tessera::launch
