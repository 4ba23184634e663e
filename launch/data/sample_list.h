// Samples of one or several data sets, numbered through: what is trained on, or held out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/data/sample_store.h"

namespace tessera::launch {

class SampleList {
 public:
  /// The samples [begin, end) of one data set.
  struct Part {
    size_t begin, end;
    double weight;  // how often each is trained on in an epoch
  };

  /// Adds all samples of a data set.
  void append(std::shared_ptr<const SampleStore> store, double weight = 1);

  size_t size() const { return parts_.empty() ? 0 : parts_.back().end; }
  bool empty() const { return size() == 0; }
  /// The data set that a sample is of, as its number among parts(), and the sample's number among
  /// all that were read of that set, both from 0.
  struct Place {
    size_t part, number;
  };
  Place place(size_t i) const;
  int64_t length(size_t i) const;
  Sample operator[](size_t i) const;
  /// One for each data set, in their order.
  const std::vector<Part>& parts() const { return parts_; }

  /// The longest sample, in tokens; 0 of none.
  int64_t longest() const;
  int64_t tokens() const;
  /// Of tokens, labels, and the weights that are not 1.
  uint64_t fingerprint() const;

  /// Its samples for which held[i] is set, and all others, in their order: two lists.
  std::pair<SampleList, SampleList> split(const std::vector<bool>& held) const;

 private:
  /// The store that has a sample, and its number there.
  std::pair<const SampleStore*, size_t> find(size_t i) const {
    const auto [part, number] = place(i);
    return {stores_[part].get(), number};
  }

  std::vector<Part> parts_;
  std::vector<std::shared_ptr<const SampleStore>> stores_;  // of the parts
  /// Of the parts: numbers in the store; nothing: all of it.
  std::vector<std::optional<std::vector<uint32_t>>> chosen_;
};

}  // namespace tessera::launch
