// What ranks tell each other outside of the training's mathematics: small values, and whether all
// of them run the same thing. Every function is collective.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// One text of every rank, in rank order.
std::vector<std::string> gather_texts(parallel::Communicator& world, const std::string& mine);

/// One number of every rank, in rank order.
std::vector<double> gather_numbers(parallel::Communicator& world, double mine);

/// Values of items that were dealt to the ranks as micro_batches_of() deals `total` of them, in the
/// items' order. `mine` are those of this rank.
std::vector<double> gather_dealt(parallel::Communicator& world, const std::vector<double>& mine,
                                 int64_t total);

/// Error (usage) on every rank where the flat objects of two ranks differ: the first key that does,
/// both ranks and both values.
void require_agreement(parallel::Communicator& world, const nlohmann::json& mine);

/// Runs `work` on every rank. Where it throws an Error on some, all throw one with the message of
/// the lowest such rank.
void all_or_none(parallel::Communicator& world, FunctionRef<void()> work);

}  // namespace tessera::launch
