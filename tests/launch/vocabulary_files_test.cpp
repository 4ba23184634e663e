// Folders whose vocabulary is no tokenizer.json: ids as transformers gives them, what is said of
// them, and files that are refused.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/text/tokenizer/base64.h"
#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/tiktoken_file.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_class.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

const std::string kFiles = TESSERA_GOLDEN_DIR "/tokenizer/vocabularies/";

std::string stored(const std::string& name) { return io::read_file(kFiles + name, 16 << 20); }

const json& golden() {
  static const json all = json::parse(stored("golden.json"));
  return all;
}

/// A folder with a vocabulary and, where they are not null, configs beside it.
void fill(const ScratchFolder& folder, const std::string& name, const std::string& content,
          const json& config = nullptr, const json& model_config = nullptr) {
  folder.write(name, content);
  if (!config.is_null()) folder.write("tokenizer_config.json", config.dump());
  if (!model_config.is_null()) folder.write("config.json", model_config.dump());
}

Tokenizer load(const std::string& name, const std::string& content, const json& config = nullptr,
               const json& model_config = nullptr) {
  ScratchFolder folder;
  fill(folder, name, content, config, model_config);
  return Tokenizer::load(folder.path());
}

void expect_refused(const std::string& name, const std::string& content, const std::string& part,
                    const json& config = nullptr) {
  expect_error([&] { load(name, content, config); }, part);
}

void expect_ids(const Tokenizer& tokenizer, const json& wanted) {
  const json& texts = golden()["texts"];
  ASSERT_EQ(texts.size(), wanted["ids"].size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto ids = tokenizer.encode(texts[i].get<std::string>());
    EXPECT_EQ(json(ids), wanted["ids"][i]) << texts[i];
    EXPECT_EQ(tokenizer.decode(ids, /*skip_special=*/false), wanted["decoded"][i]) << texts[i];
  }
}

/// For docs/compatibility.md: of a file, and of the model in it.
json kinds_of(const std::string& file) {
  if (file.ends_with(".tiktoken")) return {{"file", "tiktoken"}, {"model", "byte-level BPE"}};
  if (file == "tekken.json") return {{"file", "Tekken"}, {"model", "byte-level BPE"}};
  const bool bpe = parse_sentencepiece_model(stored(file), file).kind == SentencePieceKind::kBpe;
  return {{"file", "SentencePiece"}, {"model", bpe ? "BPE" : "Unigram"}};
}

json id_or_null(std::optional<int32_t> id) { return id ? json(*id) : json(nullptr); }

TEST(VocabularyFiles, GiveTheIdsOfTransformers) {
  json rows;
  for (const auto& [name, wanted] : golden()["folders"].items()) {
    SCOPED_TRACE(name);
    const Tokenizer tokenizer =
        load(wanted["name"], stored(wanted["file"]), wanted["config"], wanted["model_config"]);
    expect_ids(tokenizer, wanted);
    EXPECT_EQ(tokenizer.vocab_size(), wanted["size"]);
    EXPECT_EQ(id_or_null(tokenizer.eos_id()), wanted["eos"]);
    EXPECT_EQ(id_or_null(tokenizer.bos_id()), wanted["bos"]);
    std::vector<int32_t> around = tokenizer.prefix_ids();
    around.insert(around.end(), tokenizer.suffix_ids().begin(), tokenizer.suffix_ids().end());
    EXPECT_EQ(json(around), wanted["around"]);
    rows.push_back(kinds_of(wanted["file"]));
    rows.back()["texts"] = wanted["ids"].size();
  }
  RecordProperty("tokenizers", rows.dump());
}

TEST(VocabularyFiles, GiveTheIdsOfSentencePiece) {
  for (const auto& [name, wanted] : golden()["folders"].items()) {
    if (!wanted.contains("sentencepiece")) continue;
    SCOPED_TRACE(name);
    size_t compared = 0;
    for (size_t i = 0; i < wanted["ids"].size(); ++i) {
      if (wanted["sentencepiece"][i].is_null()) continue;
      EXPECT_EQ(wanted["ids"][i], wanted["sentencepiece"][i]) << golden()["texts"][i];
      ++compared;
    }
    EXPECT_GT(compared, 25u);
  }
}

TEST(VocabularyFiles, WriteFilesThatLoadAsTheSame) {
  for (const auto& [name, wanted] : golden()["folders"].items()) {
    SCOPED_TRACE(name);
    const Tokenizer tokenizer =
        load(wanted["name"], stored(wanted["file"]), wanted["config"], wanted["model_config"]);
    ScratchFolder beside;
    for (const auto& [file, content] : tokenizer.files()) beside.write(file, content);
    const Tokenizer again = Tokenizer::load(beside.path());
    expect_ids(again, wanted);
    EXPECT_EQ(id_or_null(again.eos_id()), wanted["eos"]);
  }
}

/// What is said of reading this model by this class.
std::vector<std::string> notes(const std::string& file, const json& config) {
  return load("tokenizer.model", stored(file), config).notes();
}

TEST(VocabularyFiles, SayWhereSentencePieceGivesOtherIds) {
  EXPECT_TRUE(notes("bpe_bytes.model", nullptr).empty());
  const auto rules = notes("bpe_rules.model", nullptr);
  ASSERT_EQ(rules.size(), 1u);
  EXPECT_NE(rules[0].find("other ids for some texts with combining marks"), std::string::npos);
  const auto llama = notes("bpe_bytes.model", {{"tokenizer_class", "LlamaTokenizer"}});
  ASSERT_EQ(llama.size(), 1u);
  EXPECT_NE(llama[0].find("read as LlamaTokenizer, as transformers 5 does; SentencePiece itself "
                          "gives other ids for some texts that begin with a space"),
            std::string::npos)
      << llama[0];
}

TEST(VocabularyFiles, RefuseModelsByName) {
  const std::string name = "tokenizer.model";
  expect_refused(name, stored("char.model"), "of the type CHAR is not supported");
  expect_refused(name, stored("word.model"), "of the type WORD is not supported");
  expect_refused(name, stored("bpe_suffix.model"), "'treat_whitespace_as_suffix' is not supported");
  expect_refused(name, stored("unigram.model"),
                 "a Unigram model is not supported as LlamaTokenizer",
                 {{"tokenizer_class", "LlamaTokenizer"}});
  expect_refused(name, stored("unigram.model"), "class XLNetTokenizer is not supported",
                 {{"tokenizer_class", "XLNetTokenizer"}});
  expect_refused(name, stored("ranks.tiktoken"),
                 "a tiktoken file of 300 tokens whose pattern and special tokens are not known");
  expect_refused("special.tiktoken", stored("ranks.tiktoken"), "special.tiktoken: a tiktoken file");
  expect_refused("config.json", "{}", "there is no tokenizer.json, and no tokenizer.model");
  ScratchFolder both;
  both.write("a.tiktoken", "");
  both.write("b.tiktoken", "");
  expect_error([&] { Tokenizer::load(both.path()); },
               "a.tiktoken and b.tiktoken are both vocabularies");
}

TEST(VocabularyFiles, ChooseTheClassAsTransformersDoes) {
  const auto chosen = [](const char* named, const char* model) {
    json config = json::object();
    json model_config = json::object();
    if (*named) config["tokenizer_class"] = named;
    if (*model) model_config["model_type"] = model;
    return tokenizer_class_of(config, model_config);
  };
  EXPECT_EQ(chosen("", ""), "TokenizersBackend");
  EXPECT_EQ(chosen("LlamaTokenizerFast", ""), "LlamaTokenizer");
  EXPECT_EQ(chosen("LlamaTokenizer", "llama"), "LlamaTokenizer");
  EXPECT_EQ(chosen("", "llama"), "TokenizersBackend");
  EXPECT_EQ(chosen("LlamaTokenizer", "mistral"), "TokenizersBackend");
  EXPECT_EQ(chosen("", "gemma3_text"), "GemmaTokenizer");
  EXPECT_EQ(chosen("LlamaTokenizer", "gemma2"), "LlamaTokenizer");
  const json of_model = {{"tokenizer_class", "T5Tokenizer"}};
  EXPECT_EQ(tokenizer_class_of(json::object(), of_model), "T5Tokenizer");
}

SentencePieceModel parse(const std::string& bytes) { return parse_sentencepiece_model(bytes, "x"); }

TEST(VocabularyFiles, ReadModelsStrictly) {
  const std::string whole = stored("bpe_user.model");
  ASSERT_TRUE(is_sentencepiece_model(whole));
  EXPECT_EQ(parse(whole).pieces.size(), 400u);
  EXPECT_EQ(parse(whole).kind, SentencePieceKind::kBpe);
  // A file that was cut off, or whose bytes changed, is refused or still a sound model.
  for (size_t size = 0; size < whole.size(); size += 7) {
    try {
      parse(whole.substr(0, size));
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("x: ")) << error.what();
    }
  }
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::string changed = whole;
    changed[at] = char(changed[at] ^ 0x15);
    try {
      parse(changed);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  const auto piece = [](const std::string& fields) {
    return "\x0a" + std::string(1, char(fields.size())) + fields;
  };
  const std::string unknown = piece(std::string("\x0a\x05<unk>\x18\x02", 9));
  EXPECT_EQ(parse(unknown).pieces.size(), 1u);
  expect_error([&] { parse(""); }, "x: exactly one piece has to be unknown, not 0");
  expect_error([&] { parse(unknown + unknown); }, "the pieces 0 and 1 are both '<unk>'");
  expect_error([&] { parse(unknown + piece("\x0a\x01\xff")); }, "piece 1 is not valid UTF-8");
  expect_error([&] { parse(unknown + piece("\x18\x01")); }, "piece 1 has 0 bytes");
  expect_error([&] { parse(unknown + piece("\x0a\x01z\x18\x09")); }, "has the unknown type 9");
  expect_error([&] { parse(unknown + piece(std::string("\x0a\x01z\x15\x00\x00\xc0\x7f", 8))); },
               "the score of piece 1 is not finite");
  expect_error([&] { parse(unknown + "\x08\x01"); }, "damaged: field 1 cannot be read");
  expect_error([&] { parse(unknown + "\x0b"); }, "damaged: field 1 cannot be read");
  expect_error([&] { parse(unknown + "\x12\x7f"); }, "damaged: field 2 cannot be read");
}

TEST(VocabularyFiles, ReadTiktokenStrictly) {
  const auto tokens = [](const std::string& text) { return parse_tiktoken(text, "x"); };
  EXPECT_EQ(tokens("YQ== 0\r\n\nYmM= 2\n"), (std::vector<std::string>{"a", "", "bc"}));
  expect_error([&] { tokens(""); }, "x: there are no tokens");
  expect_error([&] { tokens("YQ== 0\nYQ 1\n"); }, "x: line 2: 'YQ 1' is no token in base64");
  expect_error([&] { tokens("YQ=="); }, "line 1: 'YQ==' is no token");
  expect_error([&] { tokens("YQ== -1"); }, "is no token");
  expect_error([&] { tokens("YQ== 1x"); }, "is no token");
  expect_error([&] { tokens("YQ== 0\nYg== 0"); }, "the rank 0 is given twice");
  expect_error([&] { tokens("YQ== 0\nYQ== 1"); }, "the token is given twice");
  expect_error([&] { tokens("YQ== 99999"); }, "the rank 99999 leaves too many out");
  expect_error([&] { tokens("\x0a\xff\xfe 1"); }, "is no token in base64");
}

TEST(VocabularyFiles, ReadTekkenStrictly) {
  const json good = json::parse(stored("tekken.json"));
  const auto refused = [&](const json& patch, const std::string& part) {
    json changed = good;
    changed.merge_patch(patch);
    expect_refused("tekken.json", changed.dump(), part);
  };
  refused({{"config", {{"pattern", nullptr}}}}, "'pattern'");
  refused({{"config", {{"default_vocab_size", 5}}}}, "'default_vocab_size' is 5, but there are 8");
  refused({{"config", {{"default_vocab_size", 309}}}}, "'default_vocab_size' is 309");
  refused({{"config", {{"default_num_special_tokens", 4}}}}, "is 4, but there are 6");
  refused({{"config", {{"default_num_special_tokens", -1}}}}, "must be a number from 0");
  refused({{"vocab", {{{"rank", 1}, {"token_bytes", "YQ=="}}}},
           {"config", {{"default_vocab_size", nullptr}}}},
          "vocab[0]: 'rank' must be 0, not 1");
  refused({{"vocab", {{{"rank", 0}, {"token_bytes", "YQ"}}}},
           {"config", {{"default_vocab_size", nullptr}}}},
          "vocab[0]: 'token_bytes' must be 1 to 1024 bytes in base64");
  refused({{"special_tokens", {{{"rank", 1}, {"token_str", "<s>"}}}}}, "'<s>' has 1");
  json older = good;
  older.erase("special_tokens");
  older["config"]["default_num_special_tokens"] = 25;
  older["config"]["default_vocab_size"] = nullptr;
  const Tokenizer tokenizer = load("tekken.json", older.dump());
  EXPECT_EQ(tokenizer.token(19), "[TOOL_CONTENT]");
  EXPECT_EQ(tokenizer.token(24), "<SPECIAL_24>");
  EXPECT_EQ(tokenizer.vocab_size(), 325);
  EXPECT_EQ(tokenizer.pad_id(), 11);
}

TEST(VocabularyFiles, DecodeBase64AsItIsEncoded) {
  EXPECT_EQ(base64_of(""), "");
  EXPECT_EQ(base64_of("a"), "YQ==");
  EXPECT_EQ(base64_of("ab\xff"), "YWL/");
  for (const std::string bytes : {"", "f", "fo", "foo", "foob", "fooba", "foobar"}) {
    EXPECT_EQ(bytes_of_base64(base64_of(bytes)), bytes);
  }
  for (const char* wrong : {"Y", "YQ=", "Y===", "====", "YR==", "Y Q=", "YQ==YQ==", "YW\xffl"}) {
    EXPECT_FALSE(bytes_of_base64(wrong)) << wrong;
  }
}

/// The templates of a folder with this in its config and files of templates.
json templates(const json& in_config, const std::map<std::string, std::string>& files) {
  ScratchFolder folder;
  std::filesystem::create_directories(folder.file("additional_chat_templates"));
  if (!files.contains("additional_chat_templates/rag.jinja")) {
    std::filesystem::remove(folder.file("additional_chat_templates"));
  }
  fill(folder, "tokenizer.model", stored("bpe_bytes.model"), {{"chat_template", in_config}});
  for (const auto& [name, content] : files) folder.write(name, content);
  return read_tokenizer_folder(folder.path()).config.value("chat_template", json());
}

TEST(VocabularyFiles, TakeChatTemplatesFromWhereTheyHold) {
  const std::string jinja = "chat_template.jinja";
  const std::string processor = "chat_template.json";
  const std::string rag = "additional_chat_templates/rag.jinja";
  const std::string of_processor = R"({"chat_template": "p"})";
  EXPECT_EQ(templates(nullptr, {}), json());
  EXPECT_EQ(templates("c", {}), "c");
  EXPECT_EQ(templates("c", {{jinja, "j"}, {processor, of_processor}}), "j");
  EXPECT_EQ(templates("c", {{processor, of_processor}}), "c");
  EXPECT_EQ(templates(nullptr, {{processor, of_processor}}), "p");
  const json named = {{{"name", "default"}, {"template", "j"}},
                      {{"name", "rag"}, {"template", "r"}}};
  EXPECT_EQ(templates("c", {{jinja, "j"}, {rag, "r"}}), named);
  const json listed = {{{"name", "default"}, {"template", "d"}},
                       {{"name", "tool_use"}, {"template", "t"}}};
  EXPECT_EQ(templates(listed, {}), listed);
  expect_error(
      [&] {
        templates("c", {{jinja, "\xff"}});
      },
      "chat_template.jinja is not valid UTF-8");
  expect_error([&] { templates(nullptr, {{processor, "[]"}}); }, "must be a JSON object");
}

/// The files beside an adapter have all templates, without a folder of their own.
TEST(VocabularyFiles, WriteAllChatTemplates) {
  ScratchFolder folder;
  fill(folder, "tokenizer.model", stored("bpe_bytes.model"), {{"chat_template", "c"}});
  folder.write("chat_template.jinja", "j");
  std::filesystem::create_directories(folder.file("additional_chat_templates"));
  folder.write("additional_chat_templates/rag.jinja", "r");
  const TokenizerJson read = read_tokenizer_folder(folder.path());
  ScratchFolder beside;
  for (const auto& [name, content] : read.files) beside.write(name, content);
  EXPECT_EQ(read_tokenizer_folder(beside.path()).config["chat_template"],
            read.config["chat_template"]);
}

}  // namespace
}  // namespace tessera::launch
