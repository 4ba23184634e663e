#include "launch/text/tokenizer/gguf_vocabulary_copy.h"

namespace tessera::launch {
namespace {

template <class T, class From>
std::vector<T> narrowed(const std::vector<From>& values) {
  std::vector<T> out;
  for (const From& value : values) out.push_back(T(value));
  return out;
}

/// By the name, since all keys of a kind are called alike.
void copy_key(const io::GgufFile& file, const std::string& key, io::GgufMetadata& metadata) {
  if (key.ends_with("_token_id")) return metadata.put_u32(key, uint32_t(file.integer(key)));
  if (key.ends_with(".tokens") || key.ends_with(".merges") || key.ends_with(".chat_templates")) {
    return metadata.put_texts(key, file.strings(key));
  }
  if (key.ends_with(".scores")) return metadata.put_f32s(key, narrowed<float>(file.reals(key)));
  if (key.ends_with(".token_type")) {
    return metadata.put_i32s(key, narrowed<int32_t>(file.integers(key)));
  }
  if (key.ends_with(".precompiled_charsmap")) {
    return metadata.put_i8s(key, narrowed<int8_t>(file.integers(key)));
  }
  const bool is_flag =
      key.starts_with("tokenizer.ggml.add_") || key.ends_with(".remove_extra_whitespaces");
  if (is_flag) return metadata.put_bool(key, file.boolean(key));
  const bool is_text = key == "tokenizer.ggml.model" || key == "tokenizer.ggml.pre" ||
                       key.starts_with("tokenizer.chat_template");
  if (is_text) metadata.put_text(key, file.string(key));
}

}  // namespace

void copy_gguf_vocabulary(const io::GgufFile& file, const std::optional<std::string>& pre,
                          io::GgufMetadata& metadata) {
  for (const std::string& key : file.keys()) {
    if (!key.starts_with("tokenizer.")) continue;
    if (pre && key == "tokenizer.ggml.pre") continue;
    copy_key(file, key, metadata);
  }
  if (pre) metadata.put_text("tokenizer.ggml.pre", *pre);
}

}  // namespace tessera::launch
