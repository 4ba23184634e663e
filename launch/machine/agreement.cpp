#include "launch/machine/agreement.h"

#include <algorithm>

#include "parallel/gradient_tree.h"
#include "runtime/core/error.h"

namespace tessera::launch {

using nlohmann::json;
using parallel::Communicator;

std::vector<std::string> gather_texts(Communicator& world, const std::string& mine) {
  const auto ranks = size_t(world.size());
  const std::vector<uint64_t> lengths = parallel::gather_values(world, uint64_t(mine.size()));
  const size_t longest = size_t(*std::ranges::max_element(lengths));
  std::string padded = mine;
  padded.resize(longest);
  const auto all = parallel::gather_values(world, std::span<const char>(padded));
  std::vector<std::string> texts;
  for (size_t r = 0; r < ranks; ++r) {
    const auto text = all.begin() + ptrdiff_t(r * longest);
    texts.emplace_back(text, text + ptrdiff_t(lengths[r]));
  }
  return texts;
}

std::vector<double> gather_dealt(Communicator& world, const std::vector<double>& mine,
                                 int64_t total) {
  const int ranks = world.size();
  const auto most = size_t(parallel::micro_batches_of(0, ranks, total).count);
  std::vector<double> padded = mine, items;
  padded.resize(most);
  const auto all = parallel::gather_values(world, std::span<const double>(padded));
  for (int r = 0; r < ranks; ++r) {
    const auto begin = all.begin() + ptrdiff_t(most) * r;
    items.insert(items.end(), begin, begin + parallel::micro_batches_of(r, ranks, total).count);
  }
  return items;
}

namespace {

std::string plain(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

void require_agreement(Communicator& world, const json& mine) {
  const std::vector<std::string> all = gather_texts(world, mine.dump());
  const json first = json::parse(all[0]);
  for (size_t r = 1; r < all.size(); ++r) {
    if (all[r] == all[0]) continue;
    const json other = json::parse(all[r]);
    for (const auto& [key, value] : first.items()) {
      const json theirs = other.value(key, json());
      if (theirs == value) continue;
      throw SharedError(
          fmt::format("the ranks do not run the same thing: {} is {} on rank 0, but {} on rank {}; "
                      "start all with one config, program, base model and data set",
                      key, plain(value), plain(theirs), r),
          Fault::kUsage);
    }
    throw SharedError(fmt::format("rank {} has settings that rank 0 has not", r), Fault::kUsage);
  }
}

bool on_any_rank(parallel::Communicator& world, bool mine) {
  const std::vector<int> all = parallel::gather_values(world, int(mine));
  return std::ranges::count(all, 0) != world.size();
}

void all_or_none(Communicator& world, FunctionRef<void()> work) {
  std::string message;  // of a failure: whose fault it is, in one digit, and the text
  try {
    work();
  } catch (const Error& error) {
    message = fmt::format("{}{}", int(error.fault()), error.what());
  } catch (const std::exception& error) {
    message = fmt::format("{}{}", int(Fault::kFailure), error.what());
  }
  for (const std::string& text : gather_texts(world, message)) {
    if (!text.empty()) throw SharedError(text.substr(1), Fault(text[0] - '0'));
  }
}

}  // namespace tessera::launch
