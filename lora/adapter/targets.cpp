#include "lora/adapter/targets.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/core/nearest.h"
#include "runtime/io/printable.h"

namespace tessera::lora {

namespace {

/// A module with weights of its own.
struct Module {
  std::string path;
  std::optional<LinearId> linear;  // nothing where no adapter can sit
};

std::vector<Module> modules_of(const DecoderConfig& model) {
  std::vector<Module> modules = {{"model.embed_tokens", {}}};
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    for (Site site : kAllSites) {
      modules.push_back({module_path({layer, site}), LinearId{layer, site}});
    }
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      modules.push_back({fmt::format("model.layers.{}.{}", layer, norm), {}});
    }
  }
  modules.push_back({"model.norm", {}});
  modules.push_back({"lm_head", {}});
  return modules;
}

/// Python's {,3}, which PCRE2 took for letters until 10.43.
bool has_open_repeat(std::string_view text) {
  for (size_t at = text.find("{,"); at != text.npos; at = text.find("{,", at + 1)) {
    const size_t end = text.find_first_not_of("0123456789", at + 2);
    if (end > at + 2 && end != text.npos && text[end] == '}') return true;
  }
  return false;
}

/// A regular expression for whole texts. Those of PEFT are Python's; of Python's spellings PCRE2
/// lacks a few, such as (?a), and says so.
class Pattern {
 public:
  explicit Pattern(const std::string& text) : text_(text) {
    int error = 0;
    PCRE2_SIZE at = 0;
    if (has_open_repeat(text)) fault_ = "write {0,n} for {,n}";
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                              PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &error, &at,
                              nullptr));
    if (!code_) fault_ = fmt::format("{} at character {}", message_of(error), at + 1);
    data_.reset(pcre2_match_data_create(1, nullptr));
    context_.reset(pcre2_match_context_create(nullptr));
    if (!data_ || !context_) fail("not enough memory to search a text");
    pcre2_set_match_limit(context_.get(), kMostSteps);
  }

  /// What is wrong with it; empty when nothing is.
  const std::string& fault() const { return fault_; }

  bool matches(std::string_view text) const {
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), 0, 0, data_.get(), context_.get());
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0) {
      fail_usage("the regular expression '{}' cannot be searched: {}", io::printable(text_),
                 message_of(found));
    }
    return true;
  }

 private:
  /// A pattern that would search for hours is an error within a second.
  static constexpr uint32_t kMostSteps = 100'000;

  static std::string message_of(int error) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof text);
    return reinterpret_cast<const char*>(text);
  }

  struct Free {
    void operator()(pcre2_code* p) const { pcre2_code_free(p); }
    void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  std::string text_, fault_;
};

bool ends_path(std::string_view path, std::string_view name) {
  return path.size() > name.size() && path.ends_with(name) &&
         path[path.size() - name.size() - 1] == '.';
}

/// A ModuleList ready to be asked; remembers which names have been found.
class Matcher {
 public:
  Matcher(const ModuleList& list, std::string_view said_in) : list_(list) {
    found_.resize(list.names.size());
    if (list.pattern.empty()) return;
    pattern_.emplace(list.pattern);
    if (!pattern_->fault().empty()) {
      fail_usage("{}: the regular expression '{}': {}", said_in, io::printable(list.pattern),
                 pattern_->fault());
    }
  }

  struct Match {
    std::string_view text;  // what of the list it is
    bool whole;             // by the whole path
  };
  std::optional<Match> find(std::string_view path) {
    if (pattern_) {
      if (!pattern_->matches(path)) return std::nullopt;
      any_ = true;
      return Match{list_.pattern, true};
    }
    std::optional<Match> match;
    for (size_t i = 0; i < list_.names.size(); ++i) {
      const std::string& name = list_.names[i];
      const bool whole = path == name;
      if (!whole && !ends_path(path, name)) continue;
      found_[i] = true;
      if (!match || whole) match = Match{name, whole};
    }
    return match;
  }

  /// The first name, or the pattern, that has found nothing; null when there is none.
  const std::string* idle() const {
    if (pattern_) return any_ ? nullptr : &list_.pattern;
    const auto at = std::ranges::find(found_, false);
    return at == found_.end() ? nullptr : &list_.names[size_t(at - found_.begin())];
  }

 private:
  const ModuleList& list_;
  std::optional<Pattern> pattern_;
  std::vector<bool> found_;
  bool any_ = false;
};

/// "adapters can sit on q_proj, ..., or all-linear".
std::string places() {
  std::string text = "adapters can sit on ";
  for (Site site : kAllSites) text.append(module_name(site)).append(", ");
  return text + "or all-linear for all of them";
}

[[noreturn]] void fail_idle(const TargetModules& targets, const std::string& text,
                            std::span<const Module> modules) {
  const std::string shown = io::printable(text);
  if (!targets.modules.pattern.empty()) {
    fail_usage(
        "{}: the regular expression '{}' matches no module; it has to match a whole path such as "
        "{}, and several names are a list, as in [q_proj, v_proj]; {}",
        targets.said_in, shown, module_path(LinearId{0, Site::kQ}), places());
  }
  std::vector<std::string_view> known;
  for (Site site : kAllSites) {
    known.push_back(module_name(site));
    known.push_back(module_path(site));
  }
  for (const Module& module : modules) {
    if (module.linear) known.push_back(module.path);
  }
  const std::string_view near = nearest_of(text, known);
  fail_usage("{}: '{}' names no module of the model{}; {}", targets.said_in, shown,
             near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), places());
}

}  // namespace

std::vector<LinearId> select_linears(const TargetModules& targets, const DecoderConfig& model) {
  for (int64_t layer : targets.layers) {
    if (layer < 0 || layer >= model.layers) {
      fail_usage("{}: there is no layer {}; the model has {} layers", targets.said_in, layer,
                 model.layers);
    }
  }
  const std::vector<Module> modules = modules_of(model);
  Matcher wanted(targets.modules, targets.said_in), excluded(targets.excluded, targets.said_in);
  std::vector<LinearId> selected;
  for (const Module& module : modules) {
    if (targets.modules.empty()) {
      if (module.linear && !excluded.find(module.path)) selected.push_back(*module.linear);
      continue;
    }
    const auto match = wanted.find(module.path);
    if (!match || excluded.find(module.path)) continue;
    if (!module.linear) {
      fail_usage("{}: '{}' selects {}, which this version cannot adapt; {}", targets.said_in,
                 io::printable(match->text), module.path, places());
    }
    const bool in_layers = targets.layers.empty() || match->whole ||
                           std::ranges::count(targets.layers, module.linear->layer) > 0;
    if (in_layers) selected.push_back(*module.linear);
  }
  if (const std::string* text = wanted.idle()) fail_idle(targets, *text, modules);
  if (selected.empty()) fail_usage("{}: nothing is left to adapt; {}", targets.said_in, places());
  return selected;
}

std::vector<std::string> names_of(std::span<const LinearId> linears, int64_t layers) {
  const auto in_all = [&](Site site) {
    return std::ranges::count(linears, site, &LinearId::site) == layers;
  };
  std::vector<std::string> names;
  for (Site site : kAllSites) {
    if (in_all(site)) names.emplace_back(module_name(site));
  }
  for (LinearId linear : linears) {
    if (!in_all(linear.site)) names.push_back(module_path(linear));
  }
  return names;
}

bool is_all_linear(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return char(tolower(c)); });
  return text == "all-linear";
}

std::string pattern_fault(const std::string& pattern) { return Pattern(pattern).fault(); }

}  // namespace tessera::lora
