#include "launch/data/dataset.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "launch/data/row_files.h"
#include "launch/data/row_types.h"

namespace tessera::launch {
namespace {

using json = RowJson;

int64_t supervised_count(const Sample& sample) {
  // The first token is never predicted.
  return sample.labels.empty()
             ? 0
             : std::count_if(sample.labels.begin() + 1, sample.labels.end(),
                             [](int32_t label) { return label != Sample::kIgnore; });
}

class Collector {
 public:
  Collector(const Config& config, Dataset& out) : config_(config), out_(out) {}

  /// `splits`: running text is cut into pieces of sequence_len instead of being dropped.
  void add(Sample sample, bool splits) {
    const size_t limit = size_t(config_.sequence_len);
    if (sample.ids.size() <= limit) return keep(std::move(sample));
    if (splits) {
      for (size_t begin = 0; begin < sample.ids.size(); begin += limit) {
        keep(cut(sample, begin, std::min(limit, sample.ids.size() - begin)));
      }
    } else if (config_.excess_length_strategy == ExcessLength::kDrop) {
      ++out_.counts.dropped_long;
    } else {
      ++out_.counts.truncated;
      keep(cut(sample, 0, limit));
    }
  }

 private:
  static Sample cut(const Sample& sample, size_t begin, size_t count) {
    const auto part = [&](const std::vector<int32_t>& v) {
      return std::vector<int32_t>(v.begin() + int64_t(begin), v.begin() + int64_t(begin + count));
    };
    return {part(sample.ids), part(sample.labels)};
  }
  void keep(Sample sample) {
    const int64_t supervised = supervised_count(sample);
    if (supervised == 0) {
      ++out_.counts.dropped_empty;
      return;
    }
    out_.counts.tokens += int64_t(sample.ids.size());
    out_.counts.supervised += supervised;
    out_.samples.push_back(std::move(sample));
  }

  const Config& config_;
  Dataset& out_;
};

/// Encodes rows on several threads, and gives what they become in their order.
class RowQueue {
 public:
  using Take = FunctionRef<void(std::vector<Sample>& samples, const RowRemarks& remarks)>;

  /// All arguments outlive the queue.
  RowQueue(const Config& config, const RowEncoder& encoder, Take take)
      : config_(config), encoder_(encoder), take_(take) {}

  void push(const json& row, RowType type, const std::string& where) {
    jobs_.push_back({row, type, where, {}, {}, nullptr});
    if (jobs_.size() == kRows * size_t(encoder_.threads)) finish();
  }

  /// The first row that fails, in their order, is the one that is heard of.
  void finish() {
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
      take_(job.samples, job.remarks);
    }
    jobs_.clear();
  }

 private:
  static constexpr size_t kRows = 512;  // of a thread, before what they became is taken

  struct Job {
    json row;
    RowType type;
    std::string where;
    std::vector<Sample> samples;
    RowRemarks remarks;
    std::exception_ptr error;
  };

  void encode(Job& job) const {
    try {
      job.samples = encode_row(job.row, job.type, config_, encoder_, job.where, job.remarks);
    } catch (...) {
      job.error = std::current_exception();
    }
  }

  const Config& config_;
  const RowEncoder& encoder_;
  const Take take_;
  std::vector<Job> jobs_;
};

}  // namespace

bool may_hold(const Config& config, RowType type) {
  return std::any_of(config.datasets.begin(), config.datasets.end(),
                     [&](const DatasetConfig& d) { return d.type.value_or(type) == type; });
}

Dataset load_datasets(const Config& config, const RowEncoder& encoder) {
  Dataset out;
  Collector collector(config, out);
  for (const DatasetConfig& dataset : config.datasets) {
    std::optional<RowType> type = dataset.type;
    RowRemarks remarks;
    const auto take = [&](std::vector<Sample>& samples, const RowRemarks& of_row) {
      remarks.add(of_row);
      for (Sample& sample : samples) {
        collector.add(std::move(sample), type == RowType::kCompletion);
      }
    };
    RowQueue queue(config, encoder, take);
    for_each_row(dataset.path, [&](const json& row, const std::string& where) {
      if (!row.is_object()) fail("{}: a row must be a JSON object", where);
      if (!type) {
        type = infer_row_type(row, where);
        out.notes.push_back(fmt::format("{}: read as type {}", dataset.path, name_of(*type)));
      }
      ++out.counts.rows;
      queue.push(row, *type, where);
    });
    queue.finish();
    if (type) out.types.insert(*type);
    for (const std::string& line : remarks.lines()) {
      out.notes.push_back(fmt::format("{}: {}", dataset.path, line));
    }
  }
  if (out.samples.empty()) {
    fail(
        "the data sets hold no row to learn from: {} rows read, {} longer than sequence_len {}, {} "
        "without a supervised token",
        out.counts.rows, out.counts.dropped_long, config.sequence_len, out.counts.dropped_empty);
  }
  return out;
}

std::string describe_losses(const DatasetCounts& counts) {
  std::string text;
  const auto add = [&](int64_t n, const char* what) {
    if (n > 0) text += fmt::format(", {} {}", n, what);
  };
  add(counts.dropped_long, "longer than sequence_len (dropped)");
  add(counts.truncated, "longer than sequence_len (cut)");
  add(counts.dropped_empty, "with nothing to learn (dropped)");
  return text;
}

}  // namespace tessera::launch
