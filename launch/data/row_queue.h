// Encodes rows on several threads, and gives what they become in their order.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "launch/data/dataset.h"
#include "launch/data/row_keys.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

class RowQueue {
 public:
  /// What a row became: samples, remarks on it, and where it is.
  using Take = FunctionRef<void(std::vector<Sample>& samples, const RowRemarks& remarks,
                                const std::string& where)>;

  /// All arguments outlive the queue.
  RowQueue(const Config& config, const DatasetConfig& dataset, const RowEncoder& encoder,
           RowType type, Take take)
      : config_(config), dataset_(dataset), encoder_(encoder), type_(type), take_(take) {}

  void push(RowJson&& row, const std::string& where);
  /// Takes what is still waiting. The first row that fails, in their order, is the one that is
  /// heard of.
  void finish();

 private:
  static constexpr size_t kRows = 512;  // of a thread, before what they became is taken

  struct Job {
    RowJson row;
    std::string where;
    std::vector<Sample> samples;
    RowRemarks remarks;
    std::exception_ptr error;
  };

  void encode(Job& job) const;

  const Config& config_;
  const DatasetConfig& dataset_;
  const RowEncoder& encoder_;
  const RowType type_;
  const Take take_;
  std::vector<Job> jobs_;
};

}  // namespace tessera::launch
