#include "launch/text/tokenizer/tokenizer_post_processor.h"

#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

class Reader {
 public:
  Reader(std::string where, std::function<std::optional<int32_t>(const std::string&)> find)
      : where_(std::move(where)), find_(std::move(find)) {}

  /// Each processor of a sequence stands around what the ones before it made.
  void add(const json& node) {
    const std::string type = string_field(node, "type", where_);
    if (type == "Sequence") {
      for (const json& part : array_field(node, "processors", where_)) add(part);
    } else if (type == "TemplateProcessing") {
      add_template(node);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      put_around({pair_id(node, "cls")}, {pair_id(node, "sep")});
    } else if (type != "ByteLevel") {  // which moves offsets only
      fail(
          "{}: type '{}' is not supported; supported are TemplateProcessing, ByteLevel, "
          "RobertaProcessing, BertProcessing and Sequence",
          where_, io::printable(type));
    }
  }

  TokensAround take() { return std::move(around_); }

 private:
  void put_around(std::vector<int32_t> before, const std::vector<int32_t>& after) {
    before.insert(before.end(), around_.before.begin(), around_.before.end());
    around_.before = std::move(before);
    around_.after.insert(around_.after.end(), after.begin(), after.end());
  }

  void add_template(const json& node) {
    std::vector<int32_t> before, after;
    int texts = 0;
    for (const json& piece : array_field(node, "single", where_)) {
      if (piece.is_object() && piece.contains("SpecialToken")) {
        const std::string name = string_field(piece["SpecialToken"], "id", where_);
        for (const int32_t id : template_ids(node, name)) (texts ? after : before).push_back(id);
      } else {
        ++texts;
      }
    }
    if (texts != 1) fail("{}: 'single' must have the text once, not {} times", where_, texts);
    put_around(std::move(before), after);
  }

  /// The template's own table says what its tokens are; a file without one names tokens.
  std::vector<int32_t> template_ids(const json& node, const std::string& name) const {
    const json table = node.value("special_tokens", json());
    if (!table.is_object() || !table.contains(name)) return {id_of(name)};
    std::vector<int32_t> ids;
    for (const json& id : array_field(table[name], "ids", where_)) {
      ids.push_back(token_id_of(id, where_));
    }
    return ids;
  }

  int32_t id_of(const std::string& token) const {
    const auto id = find_(token);
    if (!id) fail("{} names the unknown token '{}'", where_, io::printable(token));
    return *id;
  }

  /// A member [token, id].
  int32_t pair_id(const json& node, const char* key) const {
    const json& pair = array_field(node, key, where_);
    if (pair.size() != 2) fail("{}: '{}' must be a token and its id", where_, key);
    return token_id_of(pair[1], where_);
  }

  std::string where_;
  std::function<std::optional<int32_t>(const std::string&)> find_;
  TokensAround around_;
};

}  // namespace

TokensAround read_tokens_around(
    const json& node, const std::string& where,
    const std::function<std::optional<int32_t>(const std::string&)>& find) {
  Reader reader(where, find);
  if (!node.is_null()) reader.add(node);
  return reader.take();
}

}  // namespace tessera::launch
