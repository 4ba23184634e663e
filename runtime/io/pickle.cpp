#include "runtime/io/pickle.h"

#include "runtime/core/error.h"

namespace tessera::io {

bool is_pickle(std::string_view first_bytes) {
  if (first_bytes.starts_with("PK\x03\x04")) return true;
  return first_bytes.size() >= 2 && first_bytes[0] == '\x80' && first_bytes[1] >= 2 &&
         first_bytes[1] <= 5;
}

bool has_pickle_name(std::string_view file_name) {
  for (const std::string_view ending : {".bin", ".pt", ".pth", ".ckpt", ".pkl"}) {
    if (file_name.ends_with(ending)) return true;
  }
  return false;
}

void refuse_pickle(std::string_view path) {
  fail(
      "{}: a PyTorch pickle; loading one can run code hidden in it, so it is refused. Save the "
      "model again as safetensors (in Python: model.save_pretrained(folder))",
      path);
}

}  // namespace tessera::io
