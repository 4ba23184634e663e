// What is learned of conversations, against transformers' own masks under templates with
// {% generation %} marks (golden and maker in tests/golden). tests/golden/masks/explained.json
// lists the cases in which another answer is right, with the reason, and what Tessera learns there.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "launch/data/learned_spans.h"
#include "launch/data/messages.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using Json = Conversation::Json;
using nlohmann::json;

const fs::path kTemplates = fs::path(TESSERA_SHARED_DIR) / "templates";

Json read_golden(const char* name) {
  const std::string file = (fs::path(TESSERA_GOLDEN_DIR) / "masks" / name).string();
  return io::parse_ordered_json(io::read_file(file, 16 << 20), file);
}

/// A token for each byte, and the special tokens of a template.
Tokenizer byte_tokenizer(const Json& entry) {
  const testing::ScratchFolder folder;
  json vocab = json::object(), added = json::array();
  for (int b = 0; b < 256; ++b) vocab[testing::byte_symbol(b)] = b;
  for (const Json& token : entry["special"]) {
    added.push_back({{"id", 256 + added.size()},
                     {"content", token.get<std::string>()},
                     {"normalized", false},
                     {"special", true}});
  }
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const json tokenizer = {
      {"added_tokens", added},
      {"pre_tokenizer", byte_level},
      {"decoder", byte_level},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
  json config = {{"eos_token", entry["ends"][0].get<std::string>()}};
  if (!entry["bos"].is_null()) config["bos_token"] = entry["bos"].get<std::string>();
  folder.write("tokenizer.json", tokenizer.dump());
  folder.write("tokenizer_config.json", config.dump());
  return Tokenizer::load(folder.path());
}

std::string hash_of(std::string_view bytes) {
  uint32_t value = 0x811c9dc5;
  for (char c : bytes) value = (value ^ uint8_t(c)) * 0x01000193;
  return fmt::format("{:08x}", value);
}

size_t code_points(std::string_view text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

/// What is learned of one conversation.
struct Learned {
  std::string refusal;  // of Tessera; empty: none
  std::string text;
  std::vector<std::pair<size_t, size_t>> spans;  // in code points; neighbours are one
  std::vector<std::string> hashes;               // of what they hold
};

Learned learned_by_tessera(const ChatTemplate& chat, const Tokenizer& tokenizer, const Json& ends,
                           Conversation conversation) {
  Learned out;
  try {
    RowRemarks remarks;
    fit_to_template(conversation, chat, "row", remarks);
    std::vector<int32_t> ids;
    for (const Json& end : ends) ids.push_back(tokenizer.token_id(end.get<std::string>()).value());
    const LearnedText made = learned_text(chat, conversation, LearnedTurns{}, tokenizer, ids);
    out.text = made.text.text;
    size_t at = 0;
    std::string stretch;
    const auto end_stretch = [&] {
      if (!stretch.empty()) out.hashes.push_back(hash_of(stretch));
      stretch.clear();
    };
    for (const TextPiece& piece : pieces_of(made)) {
      const size_t end = at + code_points(piece.text);
      if (!piece.learned) end_stretch();
      if (piece.learned && stretch.empty()) out.spans.emplace_back(at, end);
      if (piece.learned) {
        out.spans.back().second = end;
        stretch += piece.text;
      }
      at = end;
    }
    end_stretch();
  } catch (const Error& error) {
    out.refusal = error.what();
  }
  return out;
}

/// The bytes of `text` from one code point to another.
std::string_view slice(std::string_view text, size_t begin, size_t end) {
  size_t from = 0;
  for (size_t seen = 0; from < text.size(); ++from) {
    if ((text[from] & 0xC0) != 0x80 && seen++ == begin) break;
  }
  size_t to = from;
  for (size_t seen = begin; to < text.size(); ++to) {
    if ((text[to] & 0xC0) != 0x80 && seen++ == end) break;
  }
  return text.substr(from, to - from);
}

/// Whether transformers learns what Tessera does, and a line end behind each turn.
bool has_more_line_ends(const Learned& ours, const Json& theirs) {
  if (ours.spans.size() != theirs.size()) return false;
  for (size_t i = 0; i < theirs.size(); ++i) {
    const auto [begin, end] = theirs[i].get<std::pair<size_t, size_t>>();
    if (begin != ours.spans[i].first || end != ours.spans[i].second + 1) return false;
    if (slice(ours.text, end - 1, end) != "\n") return false;
  }
  return true;
}

/// How the two differ, in the words of explained.json; empty where they do not.
std::string difference(const Learned& ours, const Json& golden) {
  if (golden.is_null()) return ours.refusal.empty() ? "taken" : "";
  if (!ours.refusal.empty()) return "refused";
  EXPECT_EQ(hash_of(ours.text), golden["published"].get<std::string>()) << ours.text;
  const Json& theirs = golden["learned"];
  if (golden["text"] != golden["published"]) {
    return ours.hashes == golden["texts"].get<std::vector<std::string>>() ? "" : "other";
  }
  if (ours.spans == theirs.get<std::vector<std::pair<size_t, size_t>>>()) return "";
  return has_more_line_ends(ours, theirs) ? "line ends" : "other";
}

/// A row of explained.json.
struct Explained {
  std::string why, how;
  std::vector<std::string> learned;  // hashes of what Tessera learns there
};

/// By template and conversation.
std::map<std::pair<std::string, std::string>, Explained> read_explained() {
  std::map<std::pair<std::string, std::string>, Explained> out;
  const Json file = read_golden("explained.json");
  for (const auto& [why, reason] : file.items()) {
    for (const auto& [name, cases] : reason["cases"].items()) {
      for (const auto& [conversation, learned] : cases.items()) {
        const Explained row{why, reason["how"], learned.get<std::vector<std::string>>()};
        EXPECT_TRUE(out.emplace(std::pair(name, conversation), row).second)
            << name << ", " << conversation << " is explained twice";
      }
    }
  }
  return out;
}

TEST(Masks, AreThoseOfTransformersOrExplained) {
  if (!fs::exists(kTemplates)) GTEST_SKIP() << kTemplates << " is absent";
  const Json golden = read_golden("masks.json");
  ::setenv("SOURCE_DATE_EPOCH", golden["now"].dump().c_str(), /*overwrite=*/1);
  auto explained = read_explained();
  std::map<std::string, std::map<std::string, int>> counts;  // by template and outcome
  for (const auto& [name, entry] : golden["templates"].items()) {
    const Tokenizer tokenizer = byte_tokenizer(entry);
    const auto chat = ChatTemplate::resolve((kTemplates / (name + ".jinja")).string(), tokenizer);
    for (const auto& [title, expected] : entry["cases"].items()) {
      Conversation conversation{.messages = golden["conversations"][title]};
      if (entry["tools"] && title.starts_with("tool"))
        conversation.variables["tools"] = golden["tools"];
      const Learned ours =
          learned_by_tessera(chat, tokenizer, entry["ends"], std::move(conversation));
      const auto row = explained.find({name, title});
      const std::string how = row == explained.end() ? "" : row->second.how;
      EXPECT_EQ(difference(ours, expected), how) << name << ", " << title << ": " << ours.refusal;
      if (how == "other" || how == "taken") {
        EXPECT_EQ(ours.hashes, row->second.learned) << name << ", " << title;
      }
      const char* agreed = expected.is_null() ? "both refuse" : "equal";
      ++counts[name][row == explained.end() ? agreed : row->second.why];
      if (row != explained.end()) explained.erase(row);
    }
  }
  RecordProperty("masks", json(counts).dump());  // for docs/compatibility.md
  ::unsetenv("SOURCE_DATE_EPOCH");
  for (const auto& [place, row] : explained) {
    ADD_FAILURE() << row.why << " explains what is not there: " << place.first << ", "
                  << place.second;
  }
}

}  // namespace
}  // namespace tessera::launch
