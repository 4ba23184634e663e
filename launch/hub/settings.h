// How this machine speaks with the hub, from the environment: the variables of huggingface_hub with
// their meaning there (docs/hub.md lists them).
#pragma once

#include <string>
#include <string_view>

#include "runtime/core/function_ref.h"

namespace tessera::launch {

struct HubSettings {
  std::string endpoint;      // "https://huggingface.co", without a slash at its end
  std::string cache;         // the folder with models--org--name
  std::string token;         // a secret: see without_token(); empty: none
  std::string token_source;  // the variable or the file that it comes from
  std::string offline;       // the variable that forbids the network; empty: none does
  std::string ca_file;       // certificates to trust; empty: the library's own
  std::string ca_folder;
  int stall_seconds = 30;  // a transfer that brings next to nothing for so long is begun again
  int pause_seconds = 1;   // before the second try; each further pause is twice as long

  /// The text of a stranger, in which the token may stand, without it.
  std::string without_token(std::string text) const;
};

/// `variable` gives the value of an environment variable or null. An empty one is as none. Error
/// for a value that cannot be used, without the token.
HubSettings read_hub_settings(FunctionRef<const char*(const char*)> variable);

}  // namespace tessera::launch
