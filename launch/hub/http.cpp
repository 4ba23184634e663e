#include "launch/hub/http.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo

#include <exception>

#include "runtime/core/error.h"
#include "runtime/core/shared_library.h"
#include "runtime/io/folder.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr int kMostRedirects = 10;
constexpr long kConnectSeconds = 10;
constexpr long kSlowestBytes = 1024;      // a second
constexpr size_t kMostIgnored = 1 << 16;  // bytes of an answer that is not content

/// Debian has the library in two builds, and git brings the second one.
constexpr const char* kLibraries[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

/// Where systems keep the certificates that they trust.
constexpr const char* kBundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                    "/etc/pki/tls/certs/ca-bundle.crt",
                                    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                                    "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};

SharedLibrary open_library() {
  for (const char* file : kLibraries) {
    try {
      return SharedLibrary(file, "curl_easy_init");
    } catch (const Error&) {  // the next one, or the error below
    }
  }
  fail(
      "the Hugging Face hub is reached through {}, which is not on this machine: install it (apt "
      "install libcurl4, dnf install libcurl), or give the path of a folder",
      kLibraries[0]);
}

HttpAnswer::End end_of(CURLcode code) {
  switch (int(code)) {
    case CURLE_OK:
      return HttpAnswer::End::kWhole;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_HTTP2:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
      return HttpAnswer::End::kBroken;
    default:
      return HttpAnswer::End::kFailed;
  }
}

const char* cure_of(CURLcode code) {
  const bool trust = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
  return trust ? "; SSL_CERT_FILE names the file of the certificates to trust" : "";
}

/// What libcurl's callbacks work on.
struct Exchange {
  ResponseHead head;
  Http::Sink sink;
  bool left = false;
  size_t ignored = 0;
  std::exception_ptr error = {};  // must not pass through the library, which is C
};

size_t on_header(char* text, size_t size, size_t count, void* exchange) {
  try {
    static_cast<Exchange*>(exchange)->head.take_line({text, size * count});
    return size * count;
  } catch (...) {
    static_cast<Exchange*>(exchange)->error = std::current_exception();
    return 0;
  }
}

size_t on_body(char* bytes, size_t size, size_t count, void* object) {
  auto& exchange = *static_cast<Exchange*>(object);
  if (!exchange.head.is_content()) {
    exchange.ignored += size * count;
    return exchange.ignored <= kMostIgnored ? size * count : 0;
  }
  try {
    if (exchange.sink(exchange.head, std::as_bytes(std::span(bytes, size * count)))) {
      return size * count;
    }
    exchange.left = true;
  } catch (...) {
    exchange.error = std::current_exception();
  }
  return 0;
}

}  // namespace

struct Http::Curl {
  decltype(&curl_easy_init) init = nullptr;
  decltype(&curl_easy_reset) reset = nullptr;
  decltype(&curl_easy_setopt) set = nullptr;
  decltype(&curl_easy_perform) perform = nullptr;
  decltype(&curl_easy_getinfo) get = nullptr;
  decltype(&curl_easy_strerror) message = nullptr;
  decltype(&curl_easy_cleanup) cleanup = nullptr;
  decltype(&curl_slist_append) append = nullptr;
  decltype(&curl_slist_free_all) free_list = nullptr;
  decltype(&curl_version_info) version = nullptr;
  CURL* handle = nullptr;
  std::string ca_file;  // empty: the library's own

  Curl() {
    const SharedLibrary library = open_library();
    library.find(init, "curl_easy_init");
    library.find(reset, "curl_easy_reset");
    library.find(set, "curl_easy_setopt");
    library.find(perform, "curl_easy_perform");
    library.find(get, "curl_easy_getinfo");
    library.find(message, "curl_easy_strerror");
    library.find(cleanup, "curl_easy_cleanup");
    library.find(append, "curl_slist_append");
    library.find(free_list, "curl_slist_free_all");
    library.find(version, "curl_version_info");
    handle = init();
    if (!handle) fail("{} ({}) cannot be started", kLibraries[0], library.place());
  }
  ~Curl() { cleanup(handle); }
  Curl(const Curl&) = delete;
  Curl& operator=(const Curl&) = delete;

  template <class Value>
  void option(CURLoption name, Value value) const {
    set(handle, name, value);
  }

  /// The first bundle that is here, where the library's own is not: it may come from elsewhere.
  std::string usual_bundle() const {
    const auto* info = version(CURLVERSION_NOW);
    const bool knows = info->age >= CURLVERSION_SEVENTH && info->cainfo;
    if (!knows || io::exists(info->cainfo)) return "";
    for (const char* bundle : kBundles) {
      if (io::exists(bundle)) return bundle;
    }
    return "";
  }
};

bool HttpAnswer::is_busy() const {
  const int status = head.status();
  return end == End::kWhole && (status == 408 || status == 429 || status == 500 || status == 502 ||
                                status == 503 || status == 504);
}

std::string origin_of(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return "";
  return url.substr(0, url.find_first_of("/?#", scheme + 3));
}

std::string url_part(std::string_view text, bool keep_slashes) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || (keep_slashes && c == '/');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Http::Http(const HubSettings& settings) : settings_(settings), curl_(std::make_unique<Curl>()) {
  curl_->ca_file = settings.ca_file.empty() ? curl_->usual_bundle() : settings.ca_file;
}

Http::~Http() = default;

/// One request and its answer. `next` gets where that leads, if it is a redirect.
HttpAnswer Http::ask_once(const HttpRequest& request, const std::string& url, Sink sink,
                          std::string& next) {
  const std::string origin = origin_of(url);
  Exchange exchange{{}, sink};
  curl_->reset(curl_->handle);
  curl_->option(CURLOPT_URL, url.c_str());
  curl_->option(CURLOPT_NOSIGNAL, 1L);
  curl_->option(CURLOPT_NOBODY, request.head ? 1L : 0L);
  curl_->option(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_->option(CURLOPT_USERAGENT, "tessera");
  curl_->option(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_->option(CURLOPT_LOW_SPEED_LIMIT, kSlowestBytes);
  curl_->option(CURLOPT_LOW_SPEED_TIME, long(settings_.stall_seconds));
  curl_->option(CURLOPT_HEADERFUNCTION, on_header);
  curl_->option(CURLOPT_HEADERDATA, &exchange);
  curl_->option(CURLOPT_WRITEFUNCTION, on_body);
  curl_->option(CURLOPT_WRITEDATA, &exchange);
  if (!curl_->ca_file.empty()) curl_->option(CURLOPT_CAINFO, curl_->ca_file.c_str());
  if (!settings_.ca_folder.empty()) curl_->option(CURLOPT_CAPATH, settings_.ca_folder.c_str());
  const std::string range = fmt::format("{}-", request.begin);
  if (request.begin > 0) curl_->option(CURLOPT_RANGE, range.c_str());
  curl_slist* headers = curl_->append(nullptr, "Accept-Encoding: identity");
  if (origin == origin_of(settings_.endpoint) && !settings_.token.empty()) {
    headers = curl_->append(headers, ("Authorization: Bearer " + settings_.token).c_str());
  }
  curl_->option(CURLOPT_HTTPHEADER, headers);
  char error[CURL_ERROR_SIZE] = "";
  curl_->option(CURLOPT_ERRORBUFFER, &error[0]);

  const CURLcode code = curl_->perform(curl_->handle);
  curl_->free_list(headers);
  char* target = nullptr;
  curl_->get(curl_->handle, CURLINFO_REDIRECT_URL, &target);
  next = target ? target : "";
  if (exchange.error) std::rethrow_exception(exchange.error);
  const size_t before_host = origin.find_last_of("/@");  // of "https://", or of a name and password
  const std::string host = origin.substr(std::min(before_host, origin.size() - 1) + 1);
  HttpAnswer answer{end_of(code), exchange.head, io::printable(host), {}};
  if (exchange.left) {
    answer.end = HttpAnswer::End::kLeft;
  } else if (exchange.ignored > kMostIgnored) {
    answer.end = HttpAnswer::End::kWhole;  // its head says enough
  } else if (code != CURLE_OK) {
    const char* text = error[0] ? &error[0] : curl_->message(code);
    answer.fault = settings_.without_token(io::printable(text, 200)) + cure_of(code);
  }
  return answer;
}

HttpAnswer Http::ask(const HttpRequest& request, Sink sink) {
  std::string url = request.url;
  for (int hop = 0;; ++hop) {
    std::string next;
    HttpAnswer answer = ask_once(request, url, sink, next);
    const bool leads = answer.end == HttpAnswer::End::kWhole && answer.head.is_redirect();
    if (!leads || (request.head && origin_of(next) != origin_of(url))) return answer;
    const bool is_safe =
        next.starts_with("https://") || (next.starts_with("http://") && url.starts_with("http://"));
    if (hop == kMostRedirects || !is_safe) {
      answer.end = HttpAnswer::End::kFailed;
      answer.fault = is_safe ? "it redirects in a circle"
                             : "it redirects to an address that is not safe to follow";
      return answer;
    }
    url = next;
  }
}

}  // namespace tessera::launch
