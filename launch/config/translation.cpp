#include "launch/config/translation.h"

#include <algorithm>
#include <charconv>

#include "launch/config/flags.h"

namespace tessera::launch {

namespace {

/// "KEY: VALUE", or "KEY" for what has no short text.
std::string shown_setting(const Given& given) {
  if (given.value.kind != YamlNode::Kind::kScalar) return given.spelling;
  return fmt::format("{}: {}", given.spelling, one_line(given.value.text));
}

/// Of a number; a faulty one, which is told where it stands, as it is.
std::string twice(std::string_view number) {
  int64_t value = 0;
  const char* end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(number.data(), end, value);
  const bool whole = error == std::errc{} && stop == end && value < kMostSteps;
  return whole ? std::to_string(2 * value) : std::string(number);
}

bool is_off(const Given& given) {
  return given.value.kind == YamlNode::Kind::kScalar && parse_bool(given.value.text) == false;
}

}  // namespace

YamlNode scalar_at(const Given& given, std::string_view text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = text;
  node.place = given.value.place;
  return node;
}

std::string_view text_of(const Given& given) {
  return given.value.kind == YamlNode::Kind::kScalar ? std::string_view(given.value.text)
                                                     : std::string_view();
}

std::optional<bool> bool_of(const Given& given) {
  return given.value.kind == YamlNode::Kind::kScalar ? parse_bool(given.value.text) : std::nullopt;
}

const Given* Translation::ours(std::string_view name) const { return find(settings_, name); }
const Given* Translation::theirs(std::string_view name) const { return find(foreign_, name); }

bool Translation::has_four_bits() const {
  const Given* given = ours("load_in_4bit");
  return given != nullptr && (bool_of(*given) == true || text_of(*given) == "4");
}

void Translation::means(const Given& from, std::string_view name, YamlNode value) {
  const Given* before = ours(name);
  const bool same = before != nullptr && before->value.kind == YamlNode::Kind::kScalar &&
                    before->value.text == value.text;
  if (before != nullptr && !implied_.contains(name) && !same) {
    if (translated_.contains(name)) {
      const Given* source = theirs(before->spelling);
      faults_.add(from.place, "{} contradicts {} ({}): they ask for different values of {}",
                  shown_setting(from), shown_setting(source != nullptr ? *source : *before),
                  before->place.text(), name);
    } else {
      faults_.note(from.place, "{}: not used here: {} ({}) says it", from.spelling,
                   before->spelling, before->place.text());
    }
    return;
  }
  if (value.kind == YamlNode::Kind::kScalar) {
    faults_.note(from.place, "{} means {}: {} here", shown_setting(from), name,
                 one_line(value.text));
  } else {
    faults_.note(from.place, "{} means {} here", shown_setting(from), name);
  }
  if (same && !translated_.contains(name)) return;
  implied_.erase(name);
  const Flag* flag = find_flag(name);
  translated_.insert(flag->name);
  settings_[flag->name] = {from.spelling, from.place, std::move(value)};
}

void Translation::means(const Given& from, std::string_view name, std::string_view value) {
  means(from, name, scalar_at(from, value));
}

void Translation::implies(const Given& from, std::string_view name, std::string_view value) {
  if (ours(name) != nullptr) return;
  means(from, name, value);
  implied_.insert(find_flag(name)->name);
}

bool Translation::overrides(const Given& from, std::string_view name) {
  const Given* given = ours(name);
  if (given == nullptr) return true;
  if (given->on_command_line() && !from.on_command_line()) {
    faults_.note(from.place, "{}: not used here: {} says otherwise", shown_setting(from),
                 given->place.text());
    return false;
  }
  faults_.note(given->place, "{}: not used here: {} ({}) goes before it", given->spelling,
               shown_setting(from), from.place.text());
  settings_.erase(name);
  return true;
}

void Translation::means_for_datasets(const Given& from, std::string_view name,
                                     std::initializer_list<std::string_view> but) {
  if (ours("datasets") == nullptr) {
    return faults_.note(from.place, "{}: not used here: there are no datasets", from.spelling);
  }
  for (const std::string_view list : {"datasets", "test_datasets"}) {
    if (ours(list) == nullptr) continue;
    for (YamlNode& dataset : settings_.at(list).value.items) {
      if (dataset.kind != YamlNode::Kind::kMap) continue;
      const bool said = std::ranges::any_of(dataset.entries, [&](const YamlEntry& entry) {
        return entry.key == name || std::ranges::count(but, entry.key) > 0;
      });
      if (!said) dataset.entries.push_back({std::string(name), from.place, from.value});
    }
  }
  faults_.note(from.place, "{} means {} of each data set here", shown_setting(from), name);
}

void Translation::not_needed(const Given& from, std::string_view why) {
  faults_.note(from.place, "{}: not needed here: {}", from.spelling, why);
}

void Translation::refuse(const Given& from, std::string_view cure) {
  faults_.add(from.place, "{} is not offered: {}", shown_setting(from), cure);
}

void Translation::take(const ForeignKey& key, const Given& given) {
  if (given.value.kind == YamlNode::Kind::kFaulty) return;
  switch (key.use) {
    case ForeignUse::kRefused:
      if (asks_for_nothing(key, given.value)) return;
      return faults_.add(given.place, "{} is not a key of this program: {}", given.spelling,
                         key.text);
    case ForeignUse::kNotNeeded:
      if (!is_off(given)) not_needed(given, key.text);
      return;
    case ForeignUse::kMeans:
      return key.translate(*this, given);
  }
}

/// transformers takes a list of trackers; ours is the one of them that is here, if any.
void Translation::settle_trackers() {
  const Given* given = ours("report_to");
  if (given == nullptr || given->value.kind != YamlNode::Kind::kList) return;
  const std::vector<YamlNode>& items = given->value.items;
  if (items.empty()) return;
  const auto known = std::ranges::find(items, "tensorboard", &YamlNode::text);
  const YamlNode chosen = known != items.end() ? *known : items.front();
  settings_.at("report_to").value = chosen;
}

/// Before the keys, which may depend on it.
void Translation::replace_values() {
  for (const ForeignValue& row : foreign_values()) {
    const Given* given = ours(row.key);
    if (given == nullptr) continue;
    if (given->value.kind != YamlNode::Kind::kScalar) continue;
    const std::string text = given->value.text;
    if (std::ranges::count(row.theirs, text) == 0) continue;
    if (!row.why.empty()) {
      const bool out = row.ours == "null";
      faults_.note(given->place, "{}: {} {}: {}", given->spelling, one_line(text),
                   out ? "is as left out here" : fmt::format("means {} here", row.ours), row.why);
    }
    if (row.ours == "null") {
      settings_.erase(row.key);
    } else {
      settings_.at(row.key).value = scalar_at(*given, row.ours);
    }
  }
}

/// For the others, load_in_4bit says how the base is held, whatever the adapter is called.
void Translation::settle_adapter() {
  const Given* adapter = ours("adapter");
  const Given* bits = ours("load_in_4bit");
  if (adapter == nullptr || text_of(*adapter) != "lora" || !has_four_bits()) return;
  if (adapter->on_command_line() != bits->on_command_line()) return;
  faults_.note(adapter->place, "{} with {} ({}) means adapter: qlora here", shown_setting(*adapter),
               shown_setting(*bits), bits->place.text());
  settings_.at("adapter").value.text = "qlora";
}

/// The first trainer that the config has a mark of is its origin.
void Translation::take_defaults() {
  for (const Origin& origin : origins()) {
    const auto mark = std::ranges::find_if(
        origin.marks, [&](std::string_view name) { return theirs(name) != nullptr; });
    if (mark == origin.marks.end()) continue;
    const Place file{theirs(*mark)->place.source};
    const Place place{
        std::make_shared<const std::string>(fmt::format("the default of {}", origin.trainer))};
    std::string taken;
    for (const auto& [key, value, unless] : origin.defaults) {
      if (ours(key) != nullptr || (!unless.empty() && ours(unless) != nullptr)) continue;
      if (key.starts_with("bnb_4bit_") && !has_four_bits()) continue;
      // LLaMA-Factory's alpha is twice the rank.
      const Given* rank = value == "2r" ? ours("lora_r") : nullptr;
      const std::string text = rank != nullptr ? twice(text_of(*rank)) : std::string(value);
      Given given = {std::string(key), place, {}};
      given.value = scalar_at(given, text);
      given.value.place = place;
      settings_[key] = std::move(given);
      taken += fmt::format("{}{}: {}", taken.empty() ? "" : ", ", key, text);
    }
    if (taken.empty()) return;
    return faults_.note(file,
                        "read as a config of {}, whose defaults hold for what it leaves out: {}",
                        origin.trainer, taken);
  }
}

void Translation::run() {
  settle_trackers();
  replace_values();
  settle_adapter();
  for (const ForeignKey& key : foreign_keys()) {
    for (const std::string_view name : key.names) {
      if (const Given* given = theirs(name)) take(key, *given);
    }
  }
  take_defaults();
}

}  // namespace tessera::launch
