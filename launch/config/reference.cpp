// The flag table as help for a terminal and as a Markdown page.
#include <fmt/format.h>

#include "launch/config/config.h"
#include "launch/config/dataset_keys.h"
#include "launch/config/dataset_spellings.h"
#include "launch/config/flags.h"
#include "launch/config/foreign_keys.h"

namespace tessera::launch {

namespace {

constexpr std::string_view kIntroduction =
    R"(# Configuration

A run is described by one YAML file of `key: value` lines. Every key can also be given on the
command line as `key=value`, and then wins over the file. `datasets.0.path=FILE` sets a value inside
a list. `key=null` removes what the file says.

- A key that is unknown, given twice, or given under two of its spellings is an error, and so is a
  value of the wrong type or out of range. All errors of a config are reported at once, one line
  each, with file, line and key: first the file's from top to bottom, then the command line's.
- A key with no value (or `null`) counts as left out: its default holds.
- Numbers may be written `2e-4`, `.5`, `1_000`, or in quotes. Booleans are `true` and `false`, `yes`
  and `no`, `on` and `off`. Sizes need a unit: `22GiB` is binary, `24GB` decimal.
- Paths are those of this machine, and relative ones start where the program is started. `~` and
  `~/x` are in the home folder, `~name/x` in that of the user `name`; the resolved config has them
  in full. A folder that is really named `~` is `./~`. `$HOME` and other variables, and URLs, are
  errors: let the shell or `envsubst` write them out.
- The file is UTF-8, with or without a byte order mark, and JSON is YAML too. Lines are indented
  with spaces, not tabs.
- Anchors, aliases, merge keys, tags and further documents are not accepted.
- The resolved config, every key with its value, is written beside the results and can be used
  as a config again.
)";

constexpr std::string_view kForeignIntroduction =
    R"(
## Keys of other trainers

Configs written for axolotl, LLaMA-Factory, TRL and the Trainer of transformers hold these keys.

- **means**: the key is translated into ours, and one line on stderr says into which. What our own
  keys say goes before it.
- **not needed**: the result is the same without the key. It is accepted, with one line on stderr.
- **error**: what the key asks for is missing, and would change the result. It is accepted without a
  value, with `false` and with the values that are named.

| key | becomes | |
|---|---|---|
)";

constexpr std::string_view kForeignValues =
    R"(
These values of our own keys are those of other trainers.

| key | their value | ours | because |
|---|---|---|---|
)";

constexpr std::string_view kDatasetIntroduction =
    R"(
## Keys of a data set

Each entry of `datasets` is a map of these keys; [data.md](data.md) shows what rows they are for.

| key | type | default | meaning |
|---|---|---|---|
)";

constexpr std::string_view kSpellings =
    R"(
These spellings of other trainers are understood too. `columns.prompt` stands for the key `prompt`
in a map `columns`.

| their key | ours |
|---|---|
)";

constexpr std::string_view kTypes =
    R"(
`type` takes these names. The settings that come with a name give way to those of the data set.

| name | type | with |
|---|---|---|
)";

constexpr std::string_view kForeignDatasetKeys =
    R"(
These keys of data sets have no counterpart.

| key | becomes | |
|---|---|---|
)";

std::string joined(const std::vector<std::string_view>& names, std::string_view mark) {
  std::string out;
  for (const std::string_view name : names) {
    if (!out.empty()) out += ", ";
    out.append(mark).append(name).append(mark);
  }
  return out;
}

std::string default_of(const Flag& flag) {
  const std::string value = flag.write(Config{});
  return value == "null" ? "" : value;
}

/// Appends `text` in lines of at most 100 columns, each after `indent` spaces.
void append_wrapped(std::string& out, std::string_view text, size_t indent) {
  constexpr size_t kColumns = 100;
  size_t column = 0;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (column > 0 && column + 1 + word.size() > kColumns) {
      out += '\n';
      column = 0;
    }
    out.append(column == 0 ? indent : 1, ' ').append(word);
    column += (column == 0 ? indent : 1) + word.size();
    text.remove_prefix(std::min(text.size(), word.size() + 1));
  }
  out += '\n';
}

/// The value of a key of a data set that leaves it out; empty where that says nothing.
std::string default_of(const DatasetKey& key) {
  const std::string value = key.write(DatasetConfig{});
  return value == "null" ? "" : value;
}

/// YAML text for a cell of a table.
std::string in_cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  for (size_t at = out.find("\\x0a"); at != out.npos; at = out.find("\\x0a", at)) {
    out.replace(at, 4, "\\n");
  }
  return out;
}

/// What a name of a type brings along, as keys of the data set.
std::string settings_of(const NamedType& type) {
  std::string out;
  for (const auto& [field, value] : type.settings) {
    DatasetConfig only;
    only.*field = value;
    for (const DatasetKey& key : dataset_keys()) {
      const std::string text = key.write(only);
      if (text == key.write(DatasetConfig{})) continue;
      out += fmt::format("{}`{}: {}`", out.empty() ? "" : ", ", key.name, in_cell(text));
    }
  }
  return out;
}

std::string_view word_for(ForeignUse use) {
  switch (use) {
    case ForeignUse::kRefused:
      return "error";
    case ForeignUse::kNotNeeded:
      return "not needed";
    case ForeignUse::kMeans:
      return "means";
  }
  return {};
}

void append_foreign(std::string& page, const ForeignKey& foreign) {
  const std::string but =
      foreign.harmless.empty() ? "" : fmt::format(", but for {}", joined(foreign.harmless, "`"));
  page += fmt::format("| {} | {}{} | {} |\n", joined(foreign.names, "`"), word_for(foreign.use),
                      but, foreign.text);
}

void append_foreign_values(std::string& page) {
  page += kForeignValues;
  for (const ForeignValue& row : foreign_values()) {
    page += fmt::format("| `{}` | {} | {} | {} |\n", row.key, joined(row.theirs, "`"),
                        row.ours == "null" ? "left out" : fmt::format("`{}`", row.ours), row.why);
  }
}

void append_dataset_keys(std::string& page) {
  page += kDatasetIntroduction;
  for (const DatasetKey& key : dataset_keys()) {
    const std::string value = default_of(key);
    page += fmt::format("| `{}` | {} | {} | {}", key.name, key.type,
                        value.empty() ? "" : fmt::format("`{}`", value), key.help);
    if (!key.aliases.empty()) page += fmt::format(" Also spelt {}.", joined(key.aliases, "`"));
    if (!key.notes.empty()) page += fmt::format(" {}", key.notes);
    page += " |\n";
  }
  page += kSpellings;
  for (const auto& [theirs, ours] : dataset_spellings()) {
    page += fmt::format("| `{}` | `{}` |\n", theirs, ours);
  }
  page +=
      "| `field_thinking`, `template_thinking_key` | an entry of `message_property_mappings` |\n";
  page += kTypes;
  for (const NamedType& type : named_types()) {
    page += fmt::format("| {} | {} | {} |\n", joined(type.names, "`"), name_of(type.type),
                        settings_of(type));
  }
  page += kForeignDatasetKeys;
  for (const ForeignKey& foreign : foreign_dataset_keys()) append_foreign(page, foreign);
}

void append_row(std::string& page, const Flag& flag) {
  const std::string value = default_of(flag);
  page += fmt::format("| `{}` | {} | {} | {}", flag.name, flag.type,
                      value.empty() ? "" : fmt::format("`{}`", value), flag.help);
  if (!flag.aliases.empty()) page += fmt::format(" Also spelt {}.", joined(flag.aliases, "`"));
  for (const RuledOut& rule : flag.ruled_out) {
    page += fmt::format(" Depends on `{}`: {}.", rule.by, rule.cure);
  }
  if (!flag.notes.empty()) page += fmt::format(" {}", flag.notes);
  page += " |\n";
}

std::string searched_keys() {
  std::vector<std::string_view> names;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      if (flag.searched) names.push_back(flag.name);
    }
  }
  return fmt::format(
      "`tessera search` ([search.md](search.md)) takes a list of values, too, for {}.\n",
      joined(names, "`"));
}

}  // namespace

std::string config_reference_markdown() {
  std::string page(kIntroduction);
  for (const FlagGroup& group : flag_groups()) {
    page += fmt::format("\n## {}\n\n| key | type | default | meaning |\n|---|---|---|---|\n",
                        group.title);
    for (const Flag& flag : group.flags) append_row(page, flag);
    if (group.title == "Search") page += "\n" + searched_keys();
  }
  append_dataset_keys(page);
  page += kForeignIntroduction;
  for (const ForeignKey& foreign : foreign_keys()) append_foreign(page, foreign);
  append_foreign_values(page);
  return page;
}

std::string config_help() {
  std::string out;
  for (const FlagGroup& group : flag_groups()) {
    out += fmt::format("{}{}\n", out.empty() ? "" : "\n", group.title);
    for (const Flag& flag : group.flags) {
      const std::string value = default_of(flag);
      out += fmt::format("  {}{}{}\n", flag.name, value.empty() ? "" : " = ", value);
      std::string text = fmt::format("{} Takes {}.", flag.help, flag.type);
      if (!flag.aliases.empty()) text += fmt::format(" Also spelt {}.", joined(flag.aliases, ""));
      if (!flag.notes.empty()) text += fmt::format(" {}", flag.notes);
      append_wrapped(out, text, 6);
    }
  }
  out += "\nkeys of a data set\n";
  for (const DatasetKey& key : dataset_keys()) {
    const std::string value = default_of(key);
    out += fmt::format("  {}{}{}\n", key.name, value.empty() ? "" : " = ", value);
    std::string text = fmt::format("{} Takes {}.", key.help, key.type);
    if (!key.aliases.empty()) text += fmt::format(" Also spelt {}.", joined(key.aliases, ""));
    if (!key.notes.empty()) text += fmt::format(" {}", key.notes);
    append_wrapped(out, text, 6);
  }
  return out;
}

}  // namespace tessera::launch
