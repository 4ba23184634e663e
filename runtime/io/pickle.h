// Recognises PyTorch's pickle files, to refuse them: loading a pickle runs code that is in it.
#pragma once

#include <string>
#include <string_view>

namespace tessera::io {

/// By the first bytes: a zip archive (torch.save) or a bare pickle of protocol 2 to 5.
bool is_pickle(std::string_view first_bytes);
/// By the file name: .bin, .pt, .pth, .ckpt or .pkl.
bool has_pickle_name(std::string_view file_name);
/// Throws the Error that names the file, the reason and the cure.
[[noreturn]] void refuse_pickle(std::string_view path);

}  // namespace tessera::io
