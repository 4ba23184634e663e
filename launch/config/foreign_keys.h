// Keys that configs of other trainers hold and ours do not, and what becomes of each: it is not
// needed here, it means something in our keys, or it is refused. One table, which the reader of
// configs, the reference page and convert-config walk.
#pragma once

#include <string_view>
#include <vector>

#include "launch/config/settings.h"

namespace tessera::launch {

class Translation;

enum class ForeignUse {
  kRefused,    // what it asks for is missing, and would change the result
  kNotNeeded,  // the result is the same without it
  kMeans,      // our keys say the same
};

struct ForeignKey {
  std::vector<std::string_view> names;
  /// Values of a refused key that ask for nothing, beside null and, unless true is one of them,
  /// false.
  std::vector<std::string_view> harmless;
  /// The cure; or why it is not needed; or the keys of ours that it means.
  std::string_view text;
  ForeignUse use = ForeignUse::kRefused;
  /// Of a key that means something: puts it into our keys, or refuses its value.
  void (*translate)(Translation& to, const Given& given) = nullptr;
};

/// The row of a key that means something: `what` is the keys of ours.
inline ForeignKey means(std::vector<std::string_view> names, std::string_view what,
                        void (*translate)(Translation& to, const Given& given)) {
  return {std::move(names), {}, what, ForeignUse::kMeans, translate};
}

/// In the order in which they are translated.
const std::vector<ForeignKey>& foreign_keys();
/// Null when there is none.
const ForeignKey* find_foreign_key(std::string_view key);

/// Whether a refused key has one of its harmless values.
bool asks_for_nothing(const ForeignKey& foreign, const YamlNode& value);

/// A value that other trainers give to a key of ours, and ours for it; "null" leaves the key out.
struct ForeignValue {
  std::string_view key;
  std::vector<std::string_view> theirs;
  std::string_view ours;
  std::string_view why;
};
const std::vector<ForeignValue>& foreign_values();

/// A trainer whose configs are told by keys that it alone has. Of what such a config leaves out,
/// the trainer's defaults hold, where the result would depend on it.
struct Origin {
  std::string_view trainer;
  std::vector<std::string_view> marks;  // names of the table
  struct Default {
    std::string_view key, value;
    std::string_view unless = {};  // another key of ours that says the same
  };
  std::vector<Default> defaults;
};
const std::vector<Origin>& origins();

/// The parts of the table, and what is in its files: the rows of keys that mean something.
std::vector<ForeignKey> keys_with_meaning();
/// Those of them that say where the data are.
std::vector<ForeignKey> keys_of_data();

}  // namespace tessera::launch
