// HTTP over libcurl, which is opened when it is first needed. Proxies are those of the environment.
// Redirects are followed here, so that the token goes to the hub alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "launch/hub/response_head.h"
#include "launch/hub/settings.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

struct HttpRequest {
  std::string url;
  bool head = false;   // asks for the headers alone; not followed to another host
  uint64_t begin = 0;  // of the content that is asked for
};

struct HttpAnswer {
  enum class End {
    kWhole,   // all that the server had to say
    kBroken,  // by the network or the server: may be tried again
    kFailed,  // trying again does not help: a certificate, an address that is none
    kLeft,    // the sink wanted no more
  };
  End end = End::kWhole;
  ResponseHead head;
  std::string host;   // that answered, or did not
  std::string fault;  // one line, for kBroken and kFailed

  bool is_content() const { return end == End::kWhole && head.is_content(); }
  /// Too many requests, or a server that fails for a while.
  bool is_busy() const;
};

class Http {
 public:
  /// Error, with the cure, where the library is not on this machine. The settings outlive this.
  explicit Http(const HubSettings& settings);
  ~Http();
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;

  /// Takes content as it comes; false ends the transfer.
  using Sink = FunctionRef<bool(const ResponseHead& head, std::span<const std::byte> bytes)>;
  /// `sink` gets the content of an answer 200 or 206, and nothing of any other. What it throws
  /// leaves this function.
  HttpAnswer ask(const HttpRequest& request, Sink sink);

 private:
  struct Curl;
  HttpAnswer ask_once(const HttpRequest& request, const std::string& url, Sink sink,
                      std::string& next);

  const HubSettings& settings_;
  std::unique_ptr<Curl> curl_;
};

/// "https://host:port" of a URL.
std::string origin_of(const std::string& url);
/// Text as a part of a URL: all but letters, digits and "-._~" as %XX; slashes stay if asked.
std::string url_part(std::string_view text, bool keep_slashes);

}  // namespace tessera::launch
