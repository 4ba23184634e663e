#include "launch/data/files/split_names.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "launch/data/files/glob.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kShard =
    "data/*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*";
constexpr std::string_view kShardNumber = kShard.substr(kShard.find('-'));
constexpr std::string_view kAroundWords = "-._ 0123456789";

struct SplitWords {
  const char* split;
  std::array<std::string_view, 4> words;
};
constexpr std::array<SplitWords, 3> kSplits = {{
    {"train", {"train", "training"}},
    {"validation", {"validation", "valid", "dev", "val"}},
    {"test", {"test", "testing", "eval", "evaluation"}},
}};

/// Whether the name contains the word with no letter beside it. Behind the word, the name of a file
/// has to go on: it has an extension.
bool has_word(std::string_view name, std::string_view word, bool of_folder) {
  const auto is_around = [&](size_t at) { return kAroundWords.find(name[at]) != name.npos; };
  for (size_t at = name.find(word); at != name.npos; at = name.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool ends = end == name.size() ? of_folder : is_around(end);
    if (ends && (at == 0 || is_around(at - 1))) return true;
  }
  return false;
}

bool is_of(const SplitWords& split, std::string_view file, bool by_folder) {
  const size_t slash = file.rfind('/');
  const auto says = [&](std::string_view name) {
    return std::ranges::any_of(split.words, [&](std::string_view word) {
      return !word.empty() && has_word(name, word, by_folder);
    });
  };
  if (!by_folder) return says(slash == file.npos ? file : file.substr(slash + 1));
  for (size_t begin = 0, end; (end = file.find('/', begin)) != file.npos; begin = end + 1) {
    if (says(file.substr(begin, end - begin))) return true;
  }
  return false;
}

/// "train" of "data/train-00000-of-00003.parquet"; empty where that is not how the file is called.
std::string split_of_shard(std::string_view file) {
  if (!matches_glob(file, kShard)) return {};
  const size_t begin = std::string_view("data/").size();
  size_t number = file.npos;
  do {
    number = file.rfind('-', number - 1);
  } while (number > begin && !matches_glob(file.substr(number), kShardNumber));
  return std::string(file.substr(begin, number - begin));
}

std::vector<SplitFiles> splits_of_shards(const std::vector<std::string>& files) {
  std::map<std::string, std::vector<std::string>> found;
  for (const std::string& file : files) {
    const std::string split = split_of_shard(file);
    if (!split.empty()) found[split].push_back(file);
  }
  std::vector<SplitFiles> splits;
  for (auto& [name, of_split] : found) splits.push_back({name, std::move(of_split)});
  return splits;
}

std::vector<SplitFiles> splits_by_words(const std::vector<std::string>& files, bool by_folder) {
  std::vector<SplitFiles> splits;
  for (const SplitWords& split : kSplits) {
    std::vector<std::string> found;
    std::ranges::copy_if(files, std::back_inserter(found),
                         [&](const std::string& file) { return is_of(split, file, by_folder); });
    if (!found.empty()) splits.push_back({split.split, std::move(found)});
  }
  return splits;
}

}  // namespace

std::vector<SplitFiles> splits_by_name(const std::vector<std::string>& files) {
  std::vector<SplitFiles> splits = splits_of_shards(files);
  if (splits.empty()) splits = splits_by_words(files, /*by_folder=*/true);
  if (splits.empty()) splits = splits_by_words(files, /*by_folder=*/false);
  if (splits.empty()) splits = {{"train", files}};
  return splits;
}

}  // namespace tessera::launch
