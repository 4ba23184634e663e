// Puts what a config says in the keys of other trainers into ours. What our own keys say goes
// before it. Each key that is understood gives a note, each that is not a fault.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "launch/config/foreign_keys.h"

namespace tessera::launch {

class Translation {
 public:
  /// Keys of `foreign` are names of the table.
  Translation(Settings& settings, const Settings& foreign, Faults& faults)
      : settings_(settings), foreign_(foreign), faults_(faults) {}

  /// Goes through the whole table.
  void run();

  /// Null where the key is left out: one of ours, by its name, or one of theirs.
  const Given* ours(std::string_view name) const;
  const Given* theirs(std::string_view name) const;
  /// Whether load_in_4bit or quantization_bit asks for a 4-bit base.
  bool has_four_bits() const;
  Faults& faults() { return faults_; }

  /// `from` means that our key `name` has this value. A fault where another foreign key means
  /// another value.
  void means(const Given& from, std::string_view name, YamlNode value);
  /// The same for a scalar.
  void means(const Given& from, std::string_view name, std::string_view value);
  /// The same where nothing else says it: what `from` implies for a key that is left out.
  void implies(const Given& from, std::string_view name, std::string_view value);
  /// `from` does without our key `name`, which is taken out. False where the command line says
  /// `name` and the file `from`.
  bool overrides(const Given& from, std::string_view name);
  /// Gives each data set that has none of the keys `but` the key `name`.
  void means_for_datasets(const Given& from, std::string_view name,
                          std::initializer_list<std::string_view> but);

  void not_needed(const Given& from, std::string_view why);
  void refuse(const Given& from, std::string_view cure);

 private:
  void take(const ForeignKey& key, const Given& given);
  void settle_trackers();
  void replace_values();
  void settle_adapter();
  void take_defaults();

  Settings& settings_;
  const Settings& foreign_;
  Faults& faults_;
  std::set<std::string_view> translated_;  // names of ours that a foreign key gave
  std::set<std::string_view> implied_;     // those of them that another may still change
};

/// The node of a scalar that stands where `given` does.
YamlNode scalar_at(const Given& given, std::string_view text);
/// The text of a scalar; empty for anything else.
std::string_view text_of(const Given& given);
/// A boolean in any of YAML's spellings; empty for anything else.
std::optional<bool> bool_of(const Given& given);

}  // namespace tessera::launch
