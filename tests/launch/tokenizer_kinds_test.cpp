// Every part of a tokenizer.json against the `tokenizers` package: goldens of small parts and small
// tokenizers, the published tokenizers, and where spans begin.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/text/tokenizer/pretokenizer.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_normalizer.h"
#include "runtime/io/file.h"
#include "tests/launch/tokenizer_strings.h"
#include "tests/sanitized.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kShared = TESSERA_SHARED_DIR;

AlignedText aligned(const std::string& text) {
  AlignedText out;
  for (char c : text) out.append({&c, 1}, int64_t(out.text.size()));
  return out;
}

Tokenizer load_json(const json& spec) {
  const tessera::testing::ScratchFolder folder;
  return Tokenizer::load(folder.write("tokenizer.json", spec.dump()));
}

/// Compares what results_of(spec, string) gives with the golden's hashes of ten strings.
template <class ResultsOf>
void expect_parts(const char* key, ResultsOf results_of) {
  const json golden = read_golden("kinds/parts.json");
  const auto strings = random_strings(golden["strings"].get<size_t>());
  for (const json& part : golden[key]) {
    std::string results;
    for (size_t i = 0; i < strings.size(); ++i) {
      results += results_of(part["spec"], strings[i]);
      if (i % 10 < 9) continue;
      EXPECT_EQ(hash_of(results), part["hash"].get<std::string>().substr(i / 10 * 8, 8))
          << part["spec"].dump() << " of strings " << i - 9 << " and on";
      results.clear();
    }
  }
}

TEST(TokenizerParts, NormalizeAsTheReference) {
  expect_parts("normalizers", [](const json& spec, const std::string& text) {
    const AlignedText normalized = Normalizer(spec, "test").normalize(aligned(text).view());
    EXPECT_EQ(normalized.text.size(), normalized.origin.size());
    EXPECT_TRUE(std::is_sorted(normalized.origin.begin(), normalized.origin.end()));
    return normalized.text + '\0';
  });
}

TEST(TokenizerParts, CutWordsAsTheReference) {
  expect_parts("pre_tokenizers", [](const json& spec, const std::string& text) {
    std::string words_on_end;
    if (text.empty()) return words_on_end;
    const AlignedText whole = aligned(text);
    Words words;
    Pretokenizer(spec, "test").split(whole.view(), words);
    for (const AlignedView& word : words.views) words_on_end.append(word.text).append(1, '\0');
    return words_on_end;
  });
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder stream(tokenizer);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = stream.push(id);
    EXPECT_FALSE(find_invalid_utf8(part));
    text += part;
  }
  return text + stream.finish();
}

/// The ids before a span are those of the text before it. Where normalization joins the two texts,
/// or looks at what stands at the end of one, nothing can be said.
void expect_spans(const Tokenizer& tokenizer, const json& spec, const std::string& text) {
  const Normalizer normalizer(spec.value("normalizer", json()), "test");
  for (size_t cut = 1; cut < text.size(); cut += 1 + text.size() / 8) {
    if ((uint8_t(text[cut]) & 0xc0) == 0x80) continue;
    std::vector<TextPiece> pieces = {{text.substr(0, cut)}, {text.substr(cut)}};
    pieces[1].begins_span = true;
    const AlignedText whole = normalizer.normalize(aligned(text).view());
    const auto place = std::lower_bound(whole.origin.begin(), whole.origin.end(), int64_t(cut)) -
                       whole.origin.begin();
    const AlignedText before = normalizer.normalize(aligned(pieces[0].text).view());
    if (before.text != whole.text.substr(0, size_t(place))) continue;
    const Encoding encoding = tokenizer.encode(pieces);
    const std::vector<int32_t> alone = tokenizer.encode(pieces[0].text);
    size_t count = 0;
    while (count < encoding.ids.size() && encoding.begins[count] < int64_t(cut)) ++count;
    EXPECT_EQ(std::vector(encoding.ids.begin(), encoding.ids.begin() + int64_t(count)), alone)
        << text << " cut at byte " << cut;
  }
}

/// For docs/compatibility.md. Older files do not name the type of their model.
std::string kind_of(const json& spec) {
  const json& model = spec["model"];
  const std::string type = model.value("type", model.contains("merges") ? "BPE" : "Unigram");
  const json decoder = spec.value("decoder", json());
  if (decoder.is_object() && decoder["type"] == "ByteLevel") return "byte-level " + type;
  return type + (model.value("byte_fallback", json()) == true ? ", byte fallback" : "");
}

std::vector<std::string> kinds() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGolden / "kinds")) {
    if (entry.path().stem() != "parts") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Kind : public ::testing::TestWithParam<std::string> {};

TEST_P(Kind, EqualsTheReference) {
  const json golden = read_golden("kinds/" + GetParam() + ".json");
  const Tokenizer tokenizer = load_json(golden["tokenizer"]);
  std::vector<int32_t> around = tokenizer.prefix_ids();
  around.insert(around.end(), tokenizer.suffix_ids().begin(), tokenizer.suffix_ids().end());
  EXPECT_EQ(json(around), golden["around"]);
  for (const json& wanted : golden["cases"]) {
    const auto text = wanted["text"].get<std::string>();
    const std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(json(ids), wanted["ids"]) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), wanted["decoded"].get<std::string>()) << text;
    expect_spans(tokenizer, golden["tokenizer"], text);
  }
  for (const json& wanted : golden["decoded"]) {
    const auto ids = wanted["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.decode(ids, false), wanted["text"].get<std::string>()) << wanted["ids"];
    const auto text = wanted["without_special"].get<std::string>();
    EXPECT_EQ(tokenizer.decode(ids, true), text) << wanted["ids"];
    EXPECT_EQ(streamed(tokenizer, ids), text) << wanted["ids"];
  }
  const json row = {{"model", kind_of(golden["tokenizer"])}, {"texts", golden["cases"].size()}};
  RecordProperty("tokenizers", row.dump());
}

TEST_P(Kind, TakesLongTexts) {
  const Tokenizer tokenizer = load_json(read_golden("kinds/" + GetParam() + ".json")["tokenizer"]);
  const size_t length = tessera::testing::kSanitized ? 1 << 15 : 1 << 18;
  for (const char* unit : {"a", " ", "the ", "\u0301\u0323", "\u65e5", "<s>", "A\u030a\t"}) {
    std::string text;
    while (text.size() < length) text += unit;
    const std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(streamed(tokenizer, ids), tokenizer.decode(ids, true)) << unit;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Kind, ::testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param; });

std::string unpacked(const fs::path& path) {
  if (!path.string().ends_with(".xz")) return io::read_file(path.string(), size_t{64} << 20);
  std::FILE* pipe = ::popen(("xz -dc '" + path.string() + "'").c_str(), "r");
  std::string text;
  char part[1 << 16];
  for (size_t n; pipe && (n = std::fread(part, 1, sizeof part, pipe)) > 0;) text.append(part, n);
  EXPECT_EQ(pipe ? ::pclose(pipe) : -1, 0) << path;
  return text;
}

class Published : public ::testing::TestWithParam<std::string> {};

TEST_P(Published, EqualsTheReference) {
  const fs::path vectors = kShared / "vectors" / (GetParam() + ".json");
  if (!fs::exists(vectors)) GTEST_SKIP() << vectors << " is absent";
  fs::path path = kShared / "tokenizers" / GetParam() / "tokenizer.json";
  if (!fs::exists(path)) path += ".xz";
  const std::string content = unpacked(path);
  const tessera::testing::ScratchFolder folder;
  const Tokenizer tokenizer = Tokenizer::load(folder.write("tokenizer.json", content));
  const json spec = json::parse(content);
  const json golden = io::read_json_file(vectors.string(), 16 << 20);
  ASSERT_EQ(golden["rows"].size(), 200u);
  size_t with_special = 0;
  for (const json& row : golden["rows"]) {
    const auto text = row["text"].get<std::string>();
    std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(json(ids), row["ids"]) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), row.value("decoded", text)) << text;
    EXPECT_EQ(streamed(tokenizer, ids), tokenizer.decode(ids, true)) << text;
    if (!tessera::testing::kSanitized) expect_spans(tokenizer, spec, text);
    ids.insert(ids.begin(), tokenizer.prefix_ids().begin(), tokenizer.prefix_ids().end());
    ids.insert(ids.end(), tokenizer.suffix_ids().begin(), tokenizer.suffix_ids().end());
    EXPECT_EQ(json(ids), row.value("ids_special", row["ids"])) << text;
    with_special += row.contains("ids_special");
  }
  const json row = {{"name", GetParam()},
                    {"model", kind_of(spec)},
                    {"texts", golden["rows"].size()},
                    {"with special", with_special}};
  RecordProperty("tokenizers", row.dump());
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Published,
                         ::testing::Values("deepseek_v4", "falcon", "gpt2", "llama2_from_model",
                                           "llama3", "mistral_tekken", "mistral_v1", "mistral_v3",
                                           "phi3", "qwen3", "t5_small", "torchtitan_small"),
                         [](const auto& info) { return info.param; });

/// Ids of pieces of which all but the first begin spans.
std::vector<int32_t> encode_spans(const Tokenizer& tokenizer,
                                  const std::vector<std::string>& texts) {
  std::vector<TextPiece> pieces;
  for (const std::string& text : texts) {
    pieces.push_back({.text = text, .begins_span = !pieces.empty()});
  }
  return tokenizer.encode(pieces).ids;
}

TEST(TokenizerSpans, NoTokenReachesIntoOne) {
  const Tokenizer tokenizer = Tokenizer::load((kGolden / "byte_level.json").string());
  const auto joined = [&](const std::vector<std::string>& texts) {
    std::vector<int32_t> ids;
    for (const std::string& text : texts) {
      const auto more = tokenizer.encode(text);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  };
  for (const std::vector<std::string>& texts : std::vector<std::vector<std::string>>{
           {"the light", "house"},
           {"two  ", "  spaces"},
           {"<|im_", "end|>"},  // no added token
           {"a ", "<mask> b"},  // which takes the white space before it, but not this
           {"<pad>", "  b"},    // which takes the white space after it
           {"one", "s"},        // a token that must be a word is one here
           {"", "a", "", "b", ""}}) {
    EXPECT_EQ(encode_spans(tokenizer, texts), joined(texts)) << texts[0];
  }
  EXPECT_NE(tokenizer.encode("the lighthouse"), joined({"the light", "house"}));
}

TEST(TokenizerSpans, GetNoPrefix) {
  json spec = read_golden("byte_level.json");
  const Tokenizer plain = load_json(spec);
  spec["pre_tokenizer"]["add_prefix_space"] = true;
  const Tokenizer prefixed = load_json(spec);
  EXPECT_EQ(prefixed.encode("the"), plain.encode(" the"));
  EXPECT_EQ(encode_spans(prefixed, {"the", "the"}), encode_spans(plain, {" the", "the"}));
  // Behind an added token a text begins anew in any case.
  EXPECT_EQ(encode_spans(prefixed, {"<think>", "the"}), prefixed.encode("<think>the"));
  EXPECT_EQ(encode_spans(prefixed, {"the<think>", "the"}), prefixed.encode("the<think>the"));

  json fallback = read_golden("byte_fallback.json");
  const Tokenizer prepended = load_json(fallback);
  fallback["normalizer"] = nullptr;
  fallback["pre_tokenizer"] = {{"type", "Metaspace"},
                               {"replacement", "\u2581"},
                               {"prepend_scheme", "always"},
                               {"split", false}};
  const Tokenizer metaspace = load_json(fallback);
  fallback["pre_tokenizer"]["prepend_scheme"] = "never";
  const auto wanted = encode_spans(load_json(fallback), {" the", "the end"});
  EXPECT_EQ(encode_spans(prepended, {"the", "the end"}), wanted);
  EXPECT_EQ(encode_spans(metaspace, {"the", "the end"}), wanted);
}

}  // namespace
}  // namespace tessera::launch
