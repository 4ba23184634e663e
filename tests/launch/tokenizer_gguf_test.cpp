// Tokenizers out of GGUF metadata: the same as the tokenizer.json that says the same, the files
// that go beside an adapter, and metadata that is refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string text(const std::string& value) { return raw(uint64_t{value.size()}) + value; }

/// The metadata of a small model, by key: each value with its type before it.
class Metadata {
 public:
  void set(const std::string& key, const std::string& value) {
    values_[key] = raw(8u) + text(value);
  }
  void set(const std::string& key, uint32_t value) { values_[key] = raw(4u) + raw(value); }
  void set(const std::string& key, bool value) { values_[key] = raw(7u) + raw(uint8_t{value}); }
  void set(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw(9u) + raw(8u) + raw(uint64_t{values.size()});
    for (const std::string& value : values) bytes += text(value);
    values_[key] = bytes;
  }
  void set(const std::string& key, const std::vector<int32_t>& values) {
    std::string bytes = raw(9u) + raw(5u) + raw(uint64_t{values.size()});
    for (int32_t value : values) bytes += raw(value);
    values_[key] = bytes;
  }
  void remove(const std::string& key) { values_.erase(key); }

  std::string file() const {
    std::string bytes = "GGUF" + raw(3u) + raw(uint64_t{0}) + raw(uint64_t{values_.size()});
    for (const auto& [key, value] : values_) bytes += text(key) + value;
    bytes.resize((bytes.size() + 31) / 32 * 32);
    return bytes;
  }

 private:
  std::map<std::string, std::string> values_;
};

class GgufTokenizer : public ::testing::Test {
 protected:
  GgufTokenizer() {
    folder_ = fs::path(::testing::TempDir()) /
              fmt::format("tessera_gguf_tokenizer_{}",
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    spec_ =
        io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/tokenizer/byte_level.json", 1 << 20);
    // GGUF keeps of an added token whether it is special, and nothing else.
    for (json& token : spec_["added_tokens"]) {
      for (const char* option : {"lstrip", "rstrip", "single_word", "normalized"}) {
        token[option] = false;
      }
    }
    tokens_.resize(spec_["model"]["vocab"].size() + spec_["added_tokens"].size());
    types_.assign(tokens_.size(), 1);
    for (const auto& [token, id] : spec_["model"]["vocab"].items()) tokens_[id] = token;
    for (const json& token : spec_["added_tokens"]) {
      tokens_[token["id"]] = token["content"];
      types_[token["id"]] = token["special"] ? 3 : 4;
    }
    // Without its later merges, the longer tokens are only found where merges are ignored.
    json& all = spec_["model"]["merges"];
    all.erase(all.begin() + 40, all.end());
    std::vector<std::string> merges;
    for (const json& merge : spec_["model"]["merges"]) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
    metadata_.set("general.architecture", std::string("llama"));
    metadata_.set("tokenizer.ggml.model", std::string("gpt2"));
    metadata_.set("tokenizer.ggml.pre", std::string("gpt-2"));
    metadata_.set("tokenizer.ggml.tokens", tokens_);
    metadata_.set("tokenizer.ggml.token_type", types_);
    metadata_.set("tokenizer.ggml.merges", merges);
    metadata_.set("tokenizer.ggml.bos_token_id", id_of("<|endoftext|>"));
    metadata_.set("tokenizer.ggml.eos_token_id", id_of("<|im_end|>"));
    metadata_.set("tokenizer.ggml.padding_token_id", id_of("<pad>"));
    metadata_.set("tokenizer.chat_template", std::string("{{ a }}"));
  }
  ~GgufTokenizer() override { fs::remove_all(folder_); }

  uint32_t id_of(const std::string& token) const {
    return uint32_t(std::find(tokens_.begin(), tokens_.end(), token) - tokens_.begin());
  }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return (folder_ / name).string();
  }
  Tokenizer load() const { return Tokenizer::load(write("model.gguf", metadata_.file())); }

  void expect_refused(const std::string& part) const {
    try {
      load();
      ADD_FAILURE() << "not refused: " << part;
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_NE(message.find(part), std::string::npos) << message;
      EXPECT_NE(message.find("model.gguf"), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }

  fs::path folder_;
  json spec_;
  std::vector<std::string> tokens_;
  std::vector<int32_t> types_;
  Metadata metadata_;
};

const std::vector<std::string> kTexts = {"Hello world! Don't you'LL think 12345 things?\n\n  \tyes",
                                         "cafe\u0301 <|im_end|> one<mask> <|endoftext|>",
                                         " the  end of 2024\u0661\u0662\r\n...//",
                                         "\U0001f600\u3000日本語 한국어", ""};

void expect_same(const Tokenizer& a, const Tokenizer& b, const std::string& what) {
  for (const std::string& text : kTexts) {
    EXPECT_EQ(a.encode(text), b.encode(text)) << what << ": " << text;
    EXPECT_EQ(a.decode(a.encode(text), true), b.decode(b.encode(text), true)) << what;
  }
}

TEST_F(GgufTokenizer, EqualsTheTokenizerJson) {
  // What these models were published with.
  const std::string contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
  const std::string rest = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const auto cut = [&](const std::string& regex) -> json {
    json split = {{"type", "Split"}, {"behavior", "Isolated"}};
    split["pattern"]["Regex"] = regex;
    return {{"type", "Sequence"}, {"pretokenizers", json::array({split, bytes})}};
  };
  struct Case {
    const char* pre;
    json patch;
    bool adds_bos;
  };
  const Case cases[] = {
      {"gpt-2", json::object(), false},
      {"smollm",
       {{"pre_tokenizer",
         {{"type", "Sequence"},
          {"pretokenizers",
           json::array({json{{"type", "Digits"}, {"individual_digits", true}},
                        json{{"type", "ByteLevel"}, {"add_prefix_space", false}}})}}}},
       false},
      {"llama-bpe",
       {{"pre_tokenizer", cut(contractions + "\\p{N}{1,3}" + rest)},
        {"model", {{"ignore_merges", true}}}},
       true},
      {"qwen2",
       {{"pre_tokenizer", cut(contractions + "\\p{N}" + rest)}, {"normalizer", {{"type", "NFC"}}}},
       false}};
  for (const Case& one : cases) {
    json spec = spec_;
    spec.merge_patch(one.patch);
    metadata_.set("tokenizer.ggml.pre", std::string(one.pre));
    const Tokenizer tokenizer = load();
    expect_same(tokenizer, Tokenizer::load(write("tokenizer.json", spec.dump())), one.pre);
    EXPECT_EQ(tokenizer.adds_bos(), one.adds_bos) << one.pre;
    EXPECT_EQ(tokenizer.bos_id(), int32_t(id_of("<|endoftext|>")));
    EXPECT_EQ(tokenizer.eos_id(), int32_t(id_of("<|im_end|>")));
    EXPECT_EQ(tokenizer.pad_id(), int32_t(id_of("<pad>")));
    EXPECT_EQ(tokenizer.chat_template(), "{{ a }}");
  }
}

TEST_F(GgufTokenizer, WritesFilesThatLoadAsTheSame) {
  for (const bool adds_bos : {false, true}) {
    metadata_.set("tokenizer.ggml.add_bos_token", adds_bos);
    const Tokenizer tokenizer = load();
    EXPECT_EQ(tokenizer.adds_bos(), adds_bos);
    const fs::path beside = folder_ / "adapter";
    fs::create_directories(beside);
    for (const auto& [name, content] : tokenizer.files()) std::ofstream(beside / name) << content;
    const Tokenizer again = Tokenizer::load(beside.string());
    expect_same(tokenizer, again, "files");
    EXPECT_EQ(again.adds_bos(), adds_bos);
    EXPECT_EQ(again.bos_id(), tokenizer.bos_id());
    EXPECT_EQ(again.eos_id(), tokenizer.eos_id());
    EXPECT_EQ(again.pad_id(), tokenizer.pad_id());
    EXPECT_EQ(again.vocab_size(), tokenizer.vocab_size());
    EXPECT_EQ(again.chat_template(), tokenizer.chat_template());
  }
}

TEST_F(GgufTokenizer, LeavesOutTokensThatNoTextCanHave) {
  std::vector<std::string> tokens = tokens_;
  tokens.push_back("\xff");
  tokens.push_back(tokens_[0]);
  metadata_.set("tokenizer.ggml.tokens", tokens);
  metadata_.remove("tokenizer.ggml.token_type");
  const Tokenizer tokenizer = load();
  ASSERT_EQ(tokenizer.notes().size(), 2u);
  EXPECT_NE(tokenizer.notes()[0].find("is not valid UTF-8; it is left out"), std::string::npos);
  EXPECT_NE(tokenizer.notes()[1].find("token 0 "), std::string::npos);
  EXPECT_EQ(tokenizer.token_id(tokens_[0]), int32_t(tokens_.size()) + 1);
  EXPECT_EQ(tokenizer.vocab_size(), int64_t(tokens_.size()) + 2);
}

/// Those of llama.cpp that are supported: all but the ones in the next test.
TEST_F(GgufTokenizer, KnowsThePreTokenizersOfLlamaCpp) {
  const char* names[] = {"default",
                         "llama-bpe",
                         "llama3",
                         "llama-v3",
                         "falcon3",
                         "pixtral",
                         "lfm2",
                         "deepseek-coder",
                         "deepseek-v3",
                         "falcon",
                         "mpt",
                         "starcoder",
                         "gpt-2",
                         "phi-2",
                         "jina-v2-es",
                         "jina-v2-code",
                         "roberta-bpe",
                         "refact",
                         "command-r",
                         "qwen2",
                         "deepseek-r1-qwen",
                         "qwen35",
                         "stablelm2",
                         "olmo",
                         "dbrx",
                         "smaug-bpe",
                         "poro-chat",
                         "glm4",
                         "chatglm-bpe",
                         "viking",
                         "jais",
                         "jais-2",
                         "tekken",
                         "smollm",
                         "codeshell",
                         "bloom",
                         "exaone",
                         "exaone4",
                         "gpt3-finnish",
                         "chameleon",
                         "minerva-7b",
                         "megrez",
                         "gpt-4o",
                         "llama4",
                         "trillion",
                         "bailingmoe",
                         "seed-coder",
                         "hunyuan",
                         "minimax-m2",
                         "granite-docling",
                         "hunyuan-dense",
                         "grok-2",
                         "tiny_aya",
                         "minicpm5"};
  for (const char* name : names) {
    metadata_.set("tokenizer.ggml.pre", std::string(name));
    const Tokenizer tokenizer = load();
    for (const std::string& text : kTexts) {
      const std::string composed = tokenizer.decode(tokenizer.encode(text), false);
      if (std::string_view(name).starts_with("qwen")) continue;
      EXPECT_EQ(composed, text) << name;
    }
  }
}

TEST_F(GgufTokenizer, RefusesPreTokenizersThatItDoesNotKnow) {
  for (const char* name : {"deepseek-llm", "kimi-k2", "superbpe", "exaone-moe", "youtu", "afmoe"}) {
    metadata_.set("tokenizer.ggml.pre", std::string(name));
    expect_refused(fmt::format("tokenizer.ggml.pre '{}' is not supported", name));
  }
}

/// How many words a text is cut into: nothing is merged where there are no merges, so a vocabulary
/// of whole words shows it.
TEST_F(GgufTokenizer, CutsWordsAsItsPreTokenizerSays) {
  const auto cut = [&](const char* pre, const std::string& text) {
    metadata_.set("tokenizer.ggml.pre", std::string(pre));
    const Tokenizer tokenizer = load();
    std::vector<std::string> pieces;
    for (const int32_t id : tokenizer.encode(text)) pieces.push_back(tokenizer.token(id));
    return pieces;
  };
  using Pieces = std::vector<std::string>;
  // Only these words are tokens of more than one byte; a digit is never joined with another.
  tokens_.insert(tokens_.end(), {"20", "202", "24", ".,"});
  types_.insert(types_.end(), 4, 1);
  metadata_.set("tokenizer.ggml.tokens", tokens_);
  metadata_.set("tokenizer.ggml.token_type", types_);
  metadata_.set("tokenizer.ggml.merges", std::vector<std::string>{"2 0", "20 2", "2 4", ". ,"});
  EXPECT_EQ(cut("gpt-2", "2024.,"), (Pieces{"202", "4", ".,"}));
  EXPECT_EQ(cut("smollm", "2024.,"), (Pieces{"2", "0", "2", "4", ".,"}));
  EXPECT_EQ(cut("llama-bpe", "2024.,"), (Pieces{"202", "4", ".,"}));
  EXPECT_EQ(cut("deepseek-v3", "20242"), (Pieces{"202", "4", "2"}));
  EXPECT_EQ(cut("falcon", "2024"), (Pieces{"202", "4"}));
  EXPECT_EQ(cut("qwen2", "24"), (Pieces{"2", "4"}));
  EXPECT_EQ(cut("gpt-4o", "24"), (Pieces{"24"}));
  EXPECT_EQ(cut("chameleon", ".,"), (Pieces{".", ","}));
  EXPECT_EQ(cut("viking", "24"), (Pieces{"2", "4"}));
  EXPECT_EQ(cut("bloom", ".,24"), (Pieces{".,", "24"}));
}

TEST_F(GgufTokenizer, HasChatTemplatesByName) {
  metadata_.set("tokenizer.chat_templates", std::vector<std::string>{"tool_use"});
  expect_refused("'tokenizer.chat_template.tool_use' is missing");
  metadata_.set("tokenizer.chat_template.tool_use", std::string("{{ b }}"));
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.chat_template(), "{{ a }}");
  const json config = json::parse(tokenizer.files().back().second);
  EXPECT_EQ(config["chat_template"],
            json::array({{{"name", "default"}, {"template", "{{ a }}"}},
                         {{"name", "tool_use"}, {"template", "{{ b }}"}}}));
}

TEST_F(GgufTokenizer, RefusesDamagedMetadata) {
  const Metadata good = metadata_;
  const auto expect = [&](const std::string& key, const auto& value, const std::string& part) {
    metadata_ = good;
    metadata_.set("tokenizer." + key, value);
    expect_refused(part);
  };
  using Strings = std::vector<std::string>;
  expect("ggml.model", std::string("bert"), "model 'bert' is not supported");
  expect("ggml.model", std::string("rwkv"), "model 'rwkv' is not supported");
  expect("ggml.model", std::string("llama"), "'tokenizer.ggml.scores' is missing");
  expect("ggml.pre", std::string("mystery"), "'mystery' is not supported");
  expect("ggml.pre", uint32_t{7}, "tokenizer.ggml.pre");
  expect("ggml.token_type", std::vector<int32_t>{1, 2}, "2 values in tokenizer.ggml.token_type");
  expect("ggml.tokens", Strings{"a"}, "there are 1 tokens, but");
  expect("ggml.merges", Strings{"a\nb c"}, "'a?b'");
  expect("ggml.merges", Strings{"zzz zzz"}, "needs the token 'zzz'");
  expect("ggml.merges", Strings{"zzz"}, "must be two tokens");
  expect("ggml.merges", Strings{"\xff b"}, "not in the vocabulary");
  expect("ggml.eos_token_id", uint32_t{100000}, "eos_token_id is 100000, but there are");
  expect("ggml.padding_token_id", uint32_t(tokens_.size()),
         fmt::format("with the ids 0 to {}", tokens_.size() - 1));
  expect("chat_template", std::string("\xff"), "tokenizer.chat_template is not valid UTF-8");
  for (const char* key : {"model", "pre", "tokens", "merges"}) {
    metadata_ = good;
    metadata_.remove(std::string("tokenizer.ggml.") + key);
    expect_refused(std::string("tokenizer.ggml.") + key);
  }
  metadata_ = good;
  metadata_.set("tokenizer.ggml.add_bos_token", true);
  metadata_.remove("tokenizer.ggml.bos_token_id");
  expect_refused("bos_token_id is missing");
}

}  // namespace
}  // namespace tessera::launch
