#include "launch/hub/refusals.h"

#include "launch/hub/retries.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

std::string page_of(const HubSettings& settings, const HubName& name) {
  return fmt::format("{}/{}{}", settings.endpoint,
                     name.kind == HubKind::kDataset ? "datasets/" : "", name.id);
}

std::string gated(const HubSettings& settings, const HubName& name) {
  const std::string page = page_of(settings, name);
  if (settings.token.empty()) {
    return fmt::format(
        "{} is gated: accept its terms at {}, then set HF_TOKEN to a token of that account "
        "({}/settings/tokens)",
        describe(name), page, settings.endpoint);
  }
  return fmt::format(
      "{} is gated, and the token of {} has no access to it: accept the terms at {} with the "
      "account of that token, and let the token read gated repositories",
      describe(name), settings.token_source, page);
}

std::string not_found(const HubSettings& settings, const HubName& name) {
  const std::string token =
      settings.token.empty()
          ? "set HF_TOKEN if it is private"
          : fmt::format("the token of {} must be able to read it", settings.token_source);
  return fmt::format("{} has no {}: check the name and whether it is a {}; {}", settings.endpoint,
                     describe(name), name.kind == HubKind::kModel ? "data set" : "model", token);
}

}  // namespace

bool is_revision_missing(const HttpAnswer& answer) {
  return answer.head.error_code() == "RevisionNotFound";
}

std::string describe_refusal(const HubSettings& settings, const HubName& name,
                             const HttpAnswer& answer, std::string_view file) {
  const ResponseHead& head = answer.head;
  const std::string& code = head.error_code();
  const int status = head.status();
  if (answer.end != HttpAnswer::End::kWhole || answer.is_busy()) {
    return fmt::format("{}: {}", describe(name), describe_failure(answer));
  }
  if (is_revision_missing(answer)) {
    return fmt::format("{} has no revision '{}': {}/tree/main shows its branches and tags",
                       describe({name.kind, name.id}), name.revision, page_of(settings, name));
  }
  if (code == "EntryNotFound") return fmt::format("{} has no file {}", describe(name), file);
  if (code == "GatedRepo") return gated(settings, name);
  if (head.error_message() == "Access to this resource is disabled.") {
    return fmt::format("{} is disabled: see {}", describe(name), page_of(settings, name));
  }
  const std::string said = settings.without_token(io::printable(head.error_message(), 200));
  const bool about_token = code != "RepoNotFound" || said.starts_with("Invalid credentials");
  if (status == 401 && !settings.token.empty() && about_token) {
    return fmt::format("the hub does not accept the token of {}{}: make one at {}/settings/tokens",
                       settings.token_source, said.empty() ? "" : " (" + said + ")",
                       settings.endpoint);
  }
  if (code == "RepoNotFound") return not_found(settings, name);
  if (status == 401 || (status == 404 && file.empty())) return not_found(settings, name);
  return fmt::format("{}{}{}: {}{}", describe(name), file.empty() ? "" : ", ", file,
                     describe_failure(answer), said.empty() ? "" : ": " + said);
}

}  // namespace tessera::launch
