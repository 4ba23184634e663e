#include "launch/data/row_queue.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "launch/data/row_mapping.h"
#include "launch/data/row_types.h"

namespace tessera::launch {

void RowQueue::push(RowJson&& row, const std::string& where) {
  jobs_.push_back({std::move(row), where, {}, {}, nullptr});
  if (jobs_.size() == kRows * size_t(encoder_.threads)) finish();
}

void RowQueue::finish() {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < jobs_.size(); i = next++) encode(jobs_[i]);
  };
  {
    std::vector<std::jthread> others;
    const size_t most = std::min(size_t(encoder_.threads), jobs_.size());
    for (size_t i = 1; i < most; ++i) others.emplace_back(work);
    work();
  }
  for (Job& job : jobs_) {
    if (job.error) std::rethrow_exception(job.error);
    take_(job.samples, job.remarks, job.where);
  }
  jobs_.clear();
}

void RowQueue::encode(Job& job) const {
  try {
    const RowJson row = mapped_row(std::move(job.row), dataset_, job.where);
    job.samples = encode_row(row, type_, config_, encoder_, job.where, job.remarks);
  } catch (...) {
    job.error = std::current_exception();
  }
}

}  // namespace tessera::launch
