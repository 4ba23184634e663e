#include "launch/hub/download.h"

#include <unistd.h>

#include "launch/hub/partial_file.h"
#include "launch/hub/refusals.h"
#include "launch/hub/retries.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using io::printable;

/// One request for what is missing of the file. `wrong` gets why the content cannot be the file's.
HttpAnswer ask_for_rest(const HubSource& source, const std::string& url, const HubFile& file,
                        PartialFile& partial, FetchProgress& progress, std::string& wrong) {
  const uint64_t begin = partial.size();
  bool first = true;
  const auto take = [&](const ResponseHead& head, std::span<const std::byte> bytes) {
    if (first && head.status() == 200 && begin > 0) {  // the server has no ranges
      progress.take_back(begin);
      partial.clear();
    }
    if (first && head.status() == 206 && head.range_begin() != begin) {
      wrong = fmt::format("another part than the one from byte {} on", begin);
    }
    first = false;
    if (bytes.size() > *file.size - partial.size()) {
      wrong = fmt::format("more than its {} bytes", *file.size);
    }
    if (!wrong.empty()) return false;
    partial.append(bytes);
    progress.add(bytes.size());
    return true;
  };
  HttpAnswer answer = source.http.ask({.url = url, .begin = begin}, take);
  if (answer.end == HttpAnswer::End::kWhole && answer.head.status() == 416) {
    wrong = fmt::format("less than {} bytes", begin + 1);
  }
  // An answer that ends before its end was cut off, unless it says that this is all.
  if (answer.is_content() && partial.size() < *file.size && wrong.empty()) {
    if (answer.head.content_length()) {
      wrong = fmt::format("{} of its {} bytes", partial.size(), *file.size);
    } else {
      answer.end = HttpAnswer::End::kBroken;
      answer.fault = "the answer ends too early";
    }
  }
  return answer;
}

/// Fetches until all of the file is there. Returns why the content is not the file's, or nothing.
std::string fetch_rest(const HubSource& source, const std::string& url, const HubFile& file,
                       PartialFile& partial, FetchProgress& progress) {
  Retries retries(source.settings.pause_seconds, kMostRetries, source.console);
  while (partial.size() < *file.size) {
    const uint64_t begin = partial.size();
    std::string wrong;
    const HttpAnswer answer = ask_for_rest(source, url, file, partial, progress, wrong);
    if (!wrong.empty()) return "the server sends " + wrong;
    if (answer.is_content()) continue;
    if (partial.size() > begin) retries.reset();
    if (retries.again(answer)) continue;
    const std::string why = describe_refusal(source.settings, source.name, answer, file.name);
    if (partial.size() == 0) fail("{}", why);
    fail("{}; {} of {} of {} are here, and running again goes on from there", why,
         format_bytes(int64_t(partial.size())), format_bytes(int64_t(*file.size)), file.name);
  }
  return partial.fault();
}

}  // namespace

std::string HubSource::url_of(const std::string& commit, const std::string& file) const {
  return fmt::format("{}/{}{}/resolve/{}/{}", settings.endpoint,
                     name.kind == HubKind::kDataset ? "datasets/" : "", name.id, commit,
                     url_part(file, true));
}

void ask_about(const HubSource& source, const std::string& commit, HubFile& file) {
  Retries retries(source.settings.pause_seconds, kMostRetries, source.console);
  for (;;) {
    const HttpAnswer answer =
        source.http.ask({.url = source.url_of(commit, file.name), .head = true},
                        [](const ResponseHead&, std::span<const std::byte>) { return true; });
    const ResponseHead& head = answer.head;
    const bool answers =
        answer.is_content() || (answer.end == HttpAnswer::End::kWhole && head.is_redirect());
    if (!answers && retries.again(answer)) continue;
    if (!answers) {
      fail("{}", describe_refusal(source.settings, source.name, answer, file.name));
    }
    file.blob = head.linked_etag().empty() ? head.etag() : head.linked_etag();
    file.size = head.linked_size();
    if (!file.size && !head.is_redirect()) file.size = head.content_length();
    const bool large = head.linked_etag().size() == 64 && is_safe_blob_name(head.linked_etag());
    file.hash = large ? HubFile::Hash::kSha256 : HubFile::Hash::kNone;
    if (!file.size || *file.size > kLargestHubFile || !is_safe_blob_name(file.blob)) {
      fail("{} does not say size and ETag of {}: is HF_ENDPOINT a hub?", answer.host, file.name);
    }
    return;
  }
}

void download(const HubSource& source, const std::string& commit, const HubFile& file,
              FetchProgress& progress) {
  const std::string path = source.cached.partial_blob(file.blob);
  const auto lock = source.cached.lock(file.blob, source.console);
  progress.begin_file(file.name);
  if (source.cached.has_blob(file)) return progress.keep(*file.size);
  std::string wrong;
  for (const bool again : {false, true}) {
    PartialFile partial(path, file);
    progress.keep(partial.size());
    wrong = fetch_rest(source, source.url_of(commit, file.name), file, partial, progress);
    if (wrong.empty()) return partial.rename_to(source.cached.blob(file.blob));
    progress.take_back(partial.size());
    ::unlink(path.c_str());
    if (!again) {
      source.console.line(fmt::format("{}: {}; fetching it once more", file.name, wrong));
    }
  }
  fail("{}: {} is not what the hub lists, twice: {}; try later, or ask who keeps the repository",
       describe(source.name), file.name, wrong);
}

}  // namespace tessera::launch
