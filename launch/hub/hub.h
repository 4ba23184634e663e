// Models and data sets of the Hugging Face hub, in its cache on this machine: the same folders that
// the Python library huggingface_hub reads and writes, so each finds what the other has fetched.
// The environment says where and how (docs/hub.md): HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/console/progress.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

enum class HubKind { kModel, kDataset };

/// A repository of the hub at one revision: a branch, a tag or a commit.
struct HubName {
  HubKind kind;
  std::string id;  // "org/name", or "name" for the few that belong to nobody
  std::string revision = "main";
  std::string file = {};  // of a model: the one GGUF file that is meant; else empty
  bool is_sure = false;   // it was said, by "hf:", that this is no path
};

/// Reads "org/name", "org/name@revision" and, of a model, "org/name/file.gguf". An "hf:" before it
/// says that it is no path, which "hf:name" needs. Empty where the text is a path: where something
/// of that name is here, where it begins with '/', '.' or '~' or ends as the name of a file of data
/// or weights, and where no repository can be called so.
std::optional<HubName> hub_name(std::string_view text, HubKind kind);

/// "model org/name", with "@revision" where that is not main: for messages.
std::string describe(const HubName& name);

/// The snapshot's folder in the cache, with every file of the repository that `wanted` picks. What
/// is missing is fetched first. Where the hub cannot be asked, a complete snapshot in the cache is
/// taken, and a line says so. Error of one line, with the cure.
std::string hub_snapshot(const HubName& name, FunctionRef<bool(std::string_view file)> wanted,
                         Console& console);

/// The folder with the files that a model needs (see files_of_model()); with name.file, the path of
/// that file. Errors as hub_snapshot().
std::string hub_model(const HubName& name, Console& console);

}  // namespace tessera::launch
