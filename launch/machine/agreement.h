// What ranks tell each other outside of the training's mathematics: small values, and whether all
// of them run the same thing. Every function is collective.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// An Error that every rank throws at the same point, with the same message.
class SharedError : public Error {
 public:
  using Error::Error;
};

/// One text of every rank, in rank order.
std::vector<std::string> gather_texts(parallel::Communicator& world, const std::string& mine);

/// Values of items that were dealt to the ranks as micro_batches_of() deals `total` of them, in the
/// items' order. `mine` are those of this rank.
std::vector<double> gather_dealt(parallel::Communicator& world, const std::vector<double>& mine,
                                 int64_t total);

/// SharedError (usage) where the flat objects of two ranks differ: the first key that does,
/// both ranks and both values.
void require_agreement(parallel::Communicator& world, const nlohmann::json& mine);

/// True on every rank where `mine` is on one.
bool on_any_rank(parallel::Communicator& world, bool mine);

/// Runs `work` on every rank. Where it throws on some, all throw a SharedError with the message of
/// the lowest such rank.
void all_or_none(parallel::Communicator& world, FunctionRef<void()> work);

/// What `make` returns on this rank, if it throws on none: as all_or_none().
template <class Make>
auto on_all(parallel::Communicator& world, Make make) {
  std::optional<decltype(make())> made;
  all_or_none(world, [&] { made.emplace(make()); });
  return std::move(*made);
}

}  // namespace tessera::launch
