// The added tokens that a tokenizer's files list, and those that they name: bos_token, unk_token,
// extra_special_tokens and the like. Which file holds where two differ is as in transformers 5.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/tokenizer_added_tokens.h"
#include "launch/text/tokenizer/tokenizer_model.h"
#include "launch/text/tokenizer/tokenizer_parts.h"

namespace tessera::launch {

/// The names that every tokenizer may have; a config may give more that end like these.
inline constexpr std::array<std::string_view, 7> kTokenNames = {
    "bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"};

/// The key of further special tokens: a list, or an object of tokens under names of their own.
inline constexpr const char* kExtraTokens = "extra_special_tokens";
/// Its name before transformers 5, which is used where the newer key has no list.
inline constexpr const char* kOlderExtraTokens = "additional_special_tokens";

struct NamedTokens {
  std::optional<int32_t> bos, eos, pad;
  std::map<std::string, std::string> texts;  // by name, such as "unk_token"
};

class AddedTokens {
 public:
  /// `model` has to outlive it.
  explicit AddedTokens(const TokenModel& model) : model_(model) {}

  /// Reads all of `files`, whose config is an object. Error when a token has two ids, or when
  /// bos_token or eos_token is not in the vocabulary; of other names that are not, `notes` tell.
  NamedTokens read(const TokenizerJson& files, std::vector<std::string>& notes);

  const std::vector<AddedToken>& list() const { return list_; }
  /// Of an added token, or of one of the vocabulary.
  std::optional<int32_t> find(const std::string& token) const;
  std::unordered_map<std::string, int32_t> take_ids() { return std::move(ids_); }

 private:
  AddedToken* listed(const std::string& content);
  void add(AddedToken token, const std::string& where);
  void require_one_id(const AddedToken& token, const std::string& where) const;
  void read_list(const TokenizerJson& files);
  void read_decoder(const TokenizerJson& files);
  void read_added_tokens_file(const TokenizerJson& files, std::vector<std::string>& notes);
  std::optional<int32_t> take_special(const nlohmann::json& value, const std::string& content,
                                      const std::string& where, bool marks);
  NamedTokens read_named(const TokenizerJson& files, std::vector<std::string>& notes);
  void read_extra(const TokenizerJson& files, const std::string& key,
                  std::vector<std::string>& notes);

  const TokenModel& model_;
  std::vector<AddedToken> list_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace tessera::launch
