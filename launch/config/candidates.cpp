#include "launch/config/candidates.h"

#include <algorithm>
#include <set>

#include "launch/config/flags.h"
#include "launch/config/settings.h"
#include "runtime/core/error.h"
#include "runtime/io/hash.h"

namespace tessera::launch {

namespace {

constexpr int64_t kUsualRanks[] = {4, 8, 16, 32, 64};
constexpr size_t kLongestValue = 48;  // bytes of a value in the name of a folder

/// A key with several values.
struct Varied {
  const Flag* flag;
  Given given;
  std::vector<YamlNode> values;
};

/// The lists of values in `settings`, which are taken out.
std::vector<Varied> take_lists(Settings& settings, Faults& faults) {
  std::vector<Varied> all;
  for (const auto& [name, given] : settings) {
    const Flag& flag = *find_flag(name);
    if (!has_list_of_values(flag, given)) continue;
    all.push_back({&flag, given, given.value.items});
    if (!given.value.items.empty()) continue;
    faults.add(given.place, "{}: expected at least one value", given.spelling);
    faults.doubt(name);
  }
  for (const Varied& varied : all) settings.erase(varied.flag->name);
  return all;
}

/// search_ranks does what a list of ranks is meant to, and more.
void refuse_list_of_ranks(Settings& settings, Faults& faults) {
  const auto found = settings.find("lora_r");
  if (found == settings.end() || found->second.value.kind != YamlNode::Kind::kList) return;
  const Given& given = found->second;
  faults.add(given.place,
             "{}: ranks to compare go into search_ranks, which keeps lora_alpha / lora_r",
             given.spelling);
  settings.erase(found);
}

/// Turns on what `varied` counts, the first of them fastest. False after the last combination.
bool advance(std::vector<size_t>& at, const std::vector<Varied>& varied) {
  for (size_t i = 0; i < at.size(); ++i) {
    if (++at[i] < varied[i].values.size()) return true;
    at[i] = 0;
  }
  return false;
}

size_t combinations(const std::vector<Varied>& varied) {
  size_t number = 1;
  for (const Varied& key : varied) {
    number = std::min(number * std::max<size_t>(key.values.size(), 1), kMostCandidates + 1);
  }
  return number;
}

/// The config of `rank` in place of its own.
Config with_rank(Config config, int64_t rank) {
  if (!config.use_rslora) {
    config.lora_alpha = config.lora_alpha * double(rank) / double(config.lora_r);
  }
  config.lora_r = rank;
  return config;
}

/// What a folder may be called: letters, digits and a few marks; other texts, and long ones, end
/// with a hash of what they were.
std::string in_name(const std::string& value) {
  std::string name;
  for (const char c : value) {
    const bool plain =
        isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-' || c == '+';
    if (plain) {
      name += c;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  while (name.ends_with('-')) name.pop_back();
  if (name == value && name.size() <= kLongestValue) return name;
  const uint64_t hash = io::hash_bytes(std::as_bytes(std::span(value)), 0);
  return fmt::format("{}-{:08x}", name.substr(0, kLongestValue), uint32_t(hash));
}

/// Error where two candidates are one.
void require_different(const std::vector<Candidate>& candidates, const std::string& source) {
  std::set<std::string> names;
  for (const Candidate& candidate : candidates) {
    if (!names.insert(candidate.name()).second) {
      fail_usage("{}: a list of values has {} twice; keep one", source, candidate.name());
    }
  }
}

/// Adds the candidates that have these settings: one for each rank, or one.
void add_candidates(SearchConfig& search, Config config,
                    const std::vector<std::pair<std::string, std::string>>& differs) {
  std::vector<int64_t> ranks = std::move(config.search_ranks);
  std::ranges::sort(ranks);
  search.steps = config.search_steps;
  search.tolerance = config.search_tolerance;
  config.search_ranks.clear();
  config.search_steps = Config{}.search_steps;
  config.search_tolerance = Config{}.search_tolerance;
  if (ranks.empty() && differs.empty())
    ranks.assign(std::begin(kUsualRanks), std::end(kUsualRanks));
  if (ranks.empty()) search.candidates.push_back({config, differs});
  for (const int64_t rank : ranks) {
    Candidate candidate{with_rank(config, rank), {{"lora_r", std::to_string(rank)}}};
    candidate.differs.insert(candidate.differs.end(), differs.begin(), differs.end());
    search.candidates.push_back(std::move(candidate));
  }
}

void check_search(const SearchConfig& search, const std::string& source) {
  const Config& config = search.candidates.front().config;
  if (search.candidates.size() > kMostCandidates) {
    fail_usage("{}: the lists of values make more than {} candidates; shorten them", source,
               kMostCandidates);
  }
  if (config.resume_from_checkpoint && !config.resume_from_checkpoint->is_auto()) {
    fail_usage("{}: resume_from_checkpoint: a search has many checkpoints and goes on with auto",
               source);
  }
  if (config.val_set_size == 0 && config.test_datasets.empty()) {
    fail_usage(
        "{}: a search compares losses on rows to validate on, and there are none; set "
        "val_set_size, e.g. 0.05, or test_datasets",
        source);
  }
  require_different(search.candidates, source);
}

}  // namespace

std::string Candidate::name() const {
  std::string all;
  for (const auto& [key, value] : differs) {
    all += fmt::format("{}{}={}", all.empty() ? "" : ",", key, in_name(value));
  }
  return all;
}

SearchConfig load_search(const std::string& path, std::span<const std::string> overrides) {
  Faults read;
  Settings settings = read_config(path, overrides, kTrainNeeds, read);
  refuse_list_of_ranks(settings, read);
  const std::vector<Varied> varied = take_lists(settings, read);
  if (combinations(varied) > kMostCandidates) {
    fail_usage("{}: the lists of values make more than {} candidates; shorten them", path,
               kMostCandidates);
  }
  SearchConfig search = {};
  Faults wrong;
  std::vector<size_t> at(varied.size());
  do {
    Faults faults = read;
    std::vector<std::pair<std::string, std::string>> differs;
    for (size_t i = 0; i < varied.size(); ++i) {
      const auto& [flag, given, values] = varied[i];
      if (values.empty()) continue;
      const YamlNode& value = values[at[i]];
      settings[flag->name] = {given.spelling, given.place, value};
      Faults told;  // by checked_config()
      differs.emplace_back(flag->name, flag->said({given.spelling, value, told}));
    }
    add_candidates(search, check_config(settings, path, kTrainNeeds, faults), differs);
    wrong.add_all(faults);
  } while (advance(at, varied));
  wrong.raise();
  check_search(search, path);
  return search;
}

}  // namespace tessera::launch
