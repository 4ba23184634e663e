#include "lora/adapter/targets.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_set>

#include "runtime/core/error.h"
#include "runtime/core/nearest.h"
#include "runtime/io/printable.h"

namespace tessera::lora {

namespace {

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

/// The own names of the modules that adapters can sit on, each once.
std::vector<std::string_view> own_names(std::span<const TensorRow> table) {
  std::vector<std::string_view> names;
  for (const TensorRow& row : table) {
    if (!row.is_adaptable() || std::ranges::count(names, row.own_name()) > 0) continue;
    names.push_back(row.own_name());
  }
  return names;
}

/// "adapters can sit on q_proj, ..., or all-linear".
std::string places(std::span<const TensorRow> table) {
  return fmt::format("adapters can sit on {}, or all-linear for all of them",
                     fmt::join(own_names(table), ", "));
}

/// The embedding and the head. A tied head is a module all the same, with the embedding's weight.
std::vector<TensorRow> outer_matrices(const ModelSpec& model) {
  std::vector<TensorRow> rows = tensors_of(model);
  std::erase_if(rows, [](const TensorRow& row) {
    return row.role != Role::kEmbedding && row.role != Role::kHead;
  });
  if (model.tied_head) {
    rows.push_back({.module = std::string(kHeadModule),
                    .gguf = "",
                    .shape = {model.vocab, model.hidden},
                    .role = Role::kHead});
  }
  return rows;
}

/// "self_attn.q_proj" of "model.layers.0.self_attn.q_proj".
std::string_view path_in_layer(const TensorRow& row) {
  const std::string_view path = row.module;
  const size_t parent = path.rfind('.', path.rfind('.') - 1);
  return path.substr(parent + 1);
}

[[noreturn]] void fail_idle(const TargetModules& targets, const std::string& text,
                            std::span<const TensorRow> table) {
  const std::string shown = io::printable(text);
  std::vector<std::string_view> known = own_names(table);
  for (const TensorRow& row : table) {
    if (row.is_adaptable()) known.push_back(path_in_layer(row));
  }
  const size_t in_layers = known.size();
  for (const TensorRow& row : table) {
    if (row.is_adaptable()) known.push_back(row.module);
  }
  if (!targets.modules.pattern.empty()) {
    fail_usage(
        "{}: the regular expression '{}' matches no module; it has to match a whole path such as "
        "{}, and several names are a list, as in [q_proj, v_proj]; {}",
        targets.said_in, shown, known[in_layers], places(table));
  }
  const std::string_view near = nearest_of(text, known);
  fail_usage("{}: '{}' names no module of the model{}; {}", targets.said_in, shown,
             near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), places(table));
}

}  // namespace

std::vector<TensorRow> select_linears(const TargetModules& targets, const ModelSpec& model) {
  for (int64_t layer : targets.layers) {
    if (layer < 0 || layer >= model.layer_count()) {
      fail_usage("{}: there is no layer {}; the model has {} layers", targets.said_in, layer,
                 model.layer_count());
    }
  }
  std::vector<TensorRow> table = tensors_of(model);
  std::erase_if(table, [](const TensorRow& row) { return row.role == Role::kBias; });
  if (model.tied_head) table.push_back(outer_matrices(model).back());
  const ModuleList trained_whole{.names = targets.whole};
  Matcher wanted(targets.modules, targets.said_in), excluded(targets.excluded, targets.said_in);
  Matcher whole(trained_whole, targets.whole_said_in);
  std::vector<TensorRow> selected;
  for (const TensorRow& row : table) {
    if (targets.modules.empty()) {
      if (row.is_adaptable() && !excluded.find(row.module)) selected.push_back(row);
      continue;
    }
    const auto match = wanted.find(row.module);
    if (!match || excluded.find(row.module) || whole.find(row.module)) continue;
    if (!row.is_adaptable()) {
      fail_usage("{}: '{}' selects {}, which this version cannot adapt; {}", targets.said_in,
                 io::printable(match->text), row.module, places(table));
    }
    const bool in_layers =
        targets.layers.empty() || match->whole || std::ranges::count(targets.layers, row.layer) > 0;
    if (in_layers) selected.push_back(row);
  }
  const std::string* idle = wanted.idle();
  if (idle && !targets.of_more_than_text) fail_idle(targets, *idle, table);
  if (selected.empty()) {
    fail_usage("{}: nothing is left to adapt; {}", targets.said_in, places(table));
  }
  return selected;
}

std::vector<TensorRow> select_whole(const TargetModules& targets, const ModelSpec& model) {
  const ModuleList names{.names = targets.whole};
  Matcher wanted(names, targets.whole_said_in);
  std::vector<TensorRow> rows = outer_matrices(model);
  std::vector<std::string_view> known;
  std::vector<TensorRow> selected;
  for (const TensorRow& row : rows) {
    known.push_back(row.own_name());
    if (wanted.find(row.module)) selected.push_back(row);
  }
  if (const std::string* name = wanted.idle()) {
    const std::string_view near = nearest_of(*name, known);
    fail_usage("{}: '{}' is nothing that can be trained in full{}; {} can", targets.whole_said_in,
               io::printable(*name), near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
               fmt::join(known, " and "));
  }
  if (!selected.empty() && model.tied_head && targets.ensure_tying) return {rows.front()};
  return selected;
}

TokenSelection select_tokens(const TrainedTokens& tokens, const TargetModules& targets,
                             const ModelSpec& model) {
  TokenSelection selected{.embedding = outer_matrices(model).front()};
  if (tokens.ids.empty()) return selected;
  for (const TensorRow& whole : select_whole(targets, model)) {
    if (whole.role == Role::kHead && !model.tied_head) continue;
    fail_usage("{}: {} trains {}{} in full already; keep one of the two", tokens.said_in,
               targets.whole_said_in, whole.own_name(),
               whole.role == Role::kHead ? ", which is tied to the embedding," : "");
  }
  if (model.head_differs) {
    fail_usage(
        "{}: the config of the model says tie_word_embeddings, but its head has other weights than "
        "the embedding, of which PEFT replaces rows, too; set tie_word_embeddings to false",
        tokens.said_in);
  }
  std::unordered_set<int64_t> seen;
  for (int64_t id : tokens.ids) {
    if (id < 0 || id >= model.vocab) {
      fail_usage("{}: there is no token {}; the model has rows for {} tokens", tokens.said_in, id,
                 model.vocab);
    }
    if (!seen.insert(id).second) fail_usage("{}: {} is named twice", tokens.said_in, id);
    selected.ids.push_back(int32_t(id));
  }
  return selected;
}

std::vector<int> first_matches(std::span<const std::string> keys,
                               std::span<const TensorRow> linears, std::string_view said_in) {
  const std::string_view where = said_in.empty() ? "a pattern" : said_in;
  std::vector<Pattern> patterns;
  for (const std::string& key : keys) {
    // The key alone first: it must not close the brackets around it.
    for (const std::string& text : {key, fmt::format("(.*\\.)?({})", key)}) {
      const Pattern pattern(text);
      if (pattern.fault().empty()) continue;
      fail_usage("{}: the regular expression '{}': {}", where, io::printable(key), pattern.fault());
    }
    patterns.emplace_back(fmt::format("(.*\\.)?({})", key));
  }
  std::vector<int> found;
  for (const TensorRow& linear : linears) {
    const auto first = std::ranges::find_if(
        patterns, [&](const Pattern& pattern) { return pattern.matches(linear.module); });
    found.push_back(first == patterns.end() ? -1 : int(first - patterns.begin()));
  }
  for (size_t i = 0; i < keys.size() && !said_in.empty(); ++i) {
    if (std::ranges::count(found, int(i)) > 0) continue;
    fail_usage(
        "{}: '{}' gives no module its value: it matches none that has an adapter ({}), or an "
        "earlier key does, too",
        said_in, io::printable(keys[i]), fmt::join(own_names(linears), ", "));
  }
  return found;
}

std::vector<std::string> names_of(std::span<const TensorRow> linears, int64_t layers) {
  const auto in_all = [&](const TensorRow& row) {
    return row.module.starts_with("model.layers.") &&
           std::ranges::count(linears, row.site, &TensorRow::site) == layers;
  };
  std::vector<std::string> names;
  for (std::string_view name : own_names(linears)) {
    const auto row = std::ranges::find(linears, name, &TensorRow::own_name);
    if (in_all(*row)) names.emplace_back(name);
  }
  for (const TensorRow& row : linears) {
    if (!in_all(row)) names.push_back(row.module);
  }
  return names;
}

bool is_all_linear(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return char(tolower(c)); });
  return text == "all-linear";
}

std::string pattern_fault(const std::string& pattern) { return Pattern(pattern).fault(); }

}  // namespace tessera::lora
