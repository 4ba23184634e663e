#include "launch/hub/settings.h"

#include <algorithm>

#include "launch/config/user_path.h"
#include "launch/hub/response_head.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using Variables = FunctionRef<const char*(const char*)>;

constexpr size_t kLargestToken = 4096;
constexpr uint64_t kLongestWait = 86400;

std::string value_of(Variables variable, const char* name) {
  const char* value = variable(name);
  return value ? value : "";
}

/// The path that a variable names; empty where it is not set.
std::string path_in(Variables variable, const char* name) {
  const std::string written = value_of(variable, name);
  if (written.empty()) return "";
  const UserPath path = read_user_path(written);
  if (!path.fault.empty()) fail("{}: {}", name, path.fault);
  return path.path;
}

bool is_true(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return toupper(c); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

int seconds_in(Variables variable, const char* name, int otherwise) {
  const std::string text = value_of(variable, name);
  if (text.empty()) return otherwise;
  const auto seconds = whole_number(text);
  if (!seconds || *seconds > kLongestWait) {
    fail("{}: expected a number of seconds, got '{}'", name, io::printable(text));
  }
  return int(*seconds);
}

std::string hub_home(Variables variable) {
  if (std::string home = path_in(variable, "HF_HOME"); !home.empty()) return home;
  std::string caches = path_in(variable, "XDG_CACHE_HOME");
  if (caches.empty()) {
    const UserPath path = read_user_path("~/.cache");
    if (!path.fault.empty()) fail("{}; set HF_HOME to a folder for models", path.fault);
    caches = path.path;
  }
  return caches + "/huggingface";
}

std::string hub_cache(Variables variable, const std::string& home) {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    const std::string cache = path_in(variable, name);
    if (!cache.empty()) return io::absolute(cache).string();
  }
  return io::absolute(home + "/hub").string();
}

/// Without line ends and blanks around it, which come with files and copies. Error where it could
/// not stand in a header.
std::string clean_token(std::string token, const std::string& source) {
  std::erase_if(token, [](char c) { return c == '\n' || c == '\r'; });
  token.erase(0, token.find_first_not_of(" \t"));
  token.erase(token.find_last_not_of(" \t") + 1);
  if (token.size() > kLargestToken || io::has_control_characters(token)) {
    fail(
        "{}: this is no token of the Hugging Face hub; make one at "
        "https://huggingface.co/settings/tokens",
        source);
  }
  return token;
}

void find_token(Variables variable, const std::string& home, HubSettings& settings) {
  if (is_true(value_of(variable, "HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    const std::string value = value_of(variable, name);
    if (value.empty()) continue;
    settings.token = clean_token(value, name);
    settings.token_source = name;
    return;
  }
  std::string file = path_in(variable, "HF_TOKEN_PATH");
  if (file.empty()) file = home + "/token";
  if (!io::exists(file)) return;
  settings.token = clean_token(io::read_file(file, kLargestToken), file);
  settings.token_source = file;
}

std::string endpoint_of(Variables variable) {
  std::string endpoint = value_of(variable, "HF_ENDPOINT");
  if (endpoint.empty()) return "https://huggingface.co";
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (endpoint.find('@') != std::string::npos) {
    fail("HF_ENDPOINT: expected a URL without a user's name or password; HF_TOKEN is for secrets");
  }
  const bool url = endpoint.starts_with("https://") || endpoint.starts_with("http://");
  if (!url || io::has_control_characters(endpoint) || endpoint.find(' ') != std::string::npos) {
    fail("HF_ENDPOINT: expected a URL such as https://huggingface.co, got '{}'",
         io::printable(endpoint));
  }
  return endpoint;
}

}  // namespace

std::string HubSettings::without_token(std::string text) const {
  if (token.empty()) return text;
  for (size_t at = text.find(token); at != std::string::npos; at = text.find(token, at)) {
    text.replace(at, token.size(), "...");
  }
  return text;
}

HubSettings read_hub_settings(Variables variable) {
  HubSettings settings;
  const std::string home = hub_home(variable);
  settings.endpoint = endpoint_of(variable);
  settings.cache = hub_cache(variable, home);
  find_token(variable, home, settings);
  const char* offline =
      value_of(variable, "HF_HUB_OFFLINE").empty() ? "TRANSFORMERS_OFFLINE" : "HF_HUB_OFFLINE";
  if (is_true(value_of(variable, offline))) settings.offline = offline;
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (std::string file = path_in(variable, name); !file.empty()) settings.ca_file = file;
  }
  settings.ca_folder = path_in(variable, "SSL_CERT_DIR");
  settings.stall_seconds = seconds_in(variable, "HF_HUB_DOWNLOAD_TIMEOUT", settings.stall_seconds);
  settings.pause_seconds = seconds_in(variable, "TESSERA_HUB_PAUSE", settings.pause_seconds);
  return settings;
}

}  // namespace tessera::launch
