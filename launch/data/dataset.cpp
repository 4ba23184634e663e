#include "launch/data/dataset.h"

#include <algorithm>

#include "launch/config/flags_types.h"
#include "launch/data/files/row_source.h"
#include "launch/data/hub_dataset.h"
#include "launch/data/message_mapping.h"
#include "launch/data/row_mapping.h"
#include "launch/data/row_queue.h"
#include "launch/data/row_types.h"
#include "launch/data/token_cache.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

int64_t supervised_count(const Sample& sample) {
  // The first token is never predicted.
  return sample.labels.empty()
             ? 0
             : std::count_if(sample.labels.begin() + 1, sample.labels.end(),
                             [](int32_t label) { return label != Sample::kIgnore; });
}

/// Keeps samples that fit and teach something, and notes the others.
class Collector {
 public:
  Collector(const Config& config, DatasetReport& report, SampleWriter& out)
      : config_(config), report_(report), out_(out) {}

  /// `where` is that of their row.
  void add(std::vector<Sample>& samples, const std::string& where) {
    const size_t limit = size_t(config_.sequence_len);
    for (Sample& sample : samples) {
      if (sample.ids.size() <= limit) {
        keep(sample, where);
      } else if (report_.type == RowType::kCompletion) {
        // Running text is cut into pieces instead of being dropped.
        for (size_t begin = 0; begin < sample.ids.size(); begin += limit) {
          keep(cut(sample, begin, std::min(limit, sample.ids.size() - begin)), where);
        }
      } else if (config_.excess_length_strategy == ExcessLength::kDrop) {
        ++report_.counts.dropped_long;
        note(where,
             fmt::format("dropped: {} tokens, sequence_len is {}", sample.ids.size(), limit));
      } else {
        ++report_.counts.truncated;
        note(where, fmt::format("cut: {} tokens, sequence_len is {}", sample.ids.size(), limit));
        keep(cut(sample, 0, limit), where);
      }
    }
  }

 private:
  static Sample cut(const Sample& sample, size_t begin, size_t count) {
    const auto part = [&](const std::vector<int32_t>& v) {
      return std::vector<int32_t>(v.begin() + int64_t(begin), v.begin() + int64_t(begin + count));
    };
    return {part(sample.ids), part(sample.labels)};
  }
  void keep(const Sample& sample, const std::string& where) {
    const int64_t supervised = supervised_count(sample);
    if (supervised == 0) {
      ++report_.counts.dropped_empty;
      note(where, "dropped: no token to learn");
      return;
    }
    ++report_.counts.samples;
    report_.counts.tokens += int64_t(sample.ids.size());
    report_.counts.supervised += supervised;
    out_.add(sample);
  }
  void note(const std::string& where, std::string why) {
    if (report_.lost.size() < DatasetReport::kLostRows) report_.lost.push_back({where, why});
  }

  const Config& config_;
  DatasetReport& report_;
  SampleWriter& out_;
};

/// The config as it holds for one data set.
Config config_for(const Config& config, const DatasetConfig& dataset) {
  Config own = config;
  if (dataset.train_on_inputs) own.train_on_inputs = *dataset.train_on_inputs;
  if (dataset.roles_to_train) own.roles_to_train = *dataset.roles_to_train;
  own.roles_to_train = our_roles(own.roles_to_train, dataset);
  if (dataset.train_on_eos) own.train_on_eos = *dataset.train_on_eos;
  return own;
}

/// Tells from time to time how far the reading is.
class Progress {
  static constexpr double kSecondsBetweenLines = 30;  // of a log

 public:
  Progress(Console* console, const std::string& path) : console_(console), path_(path) {}

  void at(int64_t rows) {
    if (!console_ || rows % 1024 != 0) return;
    const double seconds = watch_.seconds();
    const std::string text =
        fmt::format("tokenizing {}: {} rows, {} a second", path_, format_count(rows),
                    format_count(int64_t(double(rows) / std::max(seconds, 1e-9))));
    if (console_->is_terminal()) {
      console_->live(text);
    } else if (seconds - told_ >= kSecondsBetweenLines) {
      console_->line(text);
      told_ = seconds;
    }
  }

 private:
  Console* console_;
  const std::string& path_;
  const Stopwatch watch_;
  double told_ = 0;
};

/// Writes the samples of all rows of a data set.
DatasetReport read_dataset(const Config& run, const DatasetConfig& dataset, const RowSource& source,
                           const RowEncoder& encoder, SampleWriter& out, Console* console) {
  const Config config = config_for(run, dataset);
  DatasetReport report;
  report.path = dataset.path;
  report.type = dataset.type;
  Collector collector(config, report, out);
  RowRemarks remarks;
  Progress progress(console, dataset.path);
  std::optional<RowQueue> queue;
  const auto take = [&](std::vector<Sample>& samples, const RowRemarks& of_row,
                        const std::string& where) {
    remarks.add(of_row);
    collector.add(samples, where);
  };
  source.for_each([&](RowJson&& row, const std::string& where) {
    if (!row.is_object()) fail("{}: a row must be a JSON object", where);
    if (!queue) {
      const std::string guessed = columns_guessed(row, dataset);
      if (!guessed.empty()) report.notes.push_back(fmt::format("{}: {}", dataset.path, guessed));
      if (!report.type) {
        report.type = infer_row_type(mapped_row(row, dataset, where), where);
        report.notes.push_back(
            fmt::format("{}: read as type {}", dataset.path, name_of(*report.type)));
      }
      queue.emplace(config, dataset, encoder, *report.type, take);
    }
    progress.at(++report.counts.rows);
    queue->push(std::move(row), where);
    return report.counts.rows != dataset.max_samples;
  });
  if (queue) queue->finish();
  for (const std::string& line : remarks.lines()) {
    report.notes.push_back(fmt::format("{}: {}", dataset.path, line));
  }
  return report;
}

nlohmann::json to_json(const DatasetReport& report) {
  const DatasetCounts& n = report.counts;
  nlohmann::json lost = nlohmann::json::array();
  for (const auto& [where, why] : report.lost) lost.push_back({where, why});
  return {
      {"type", report.type ? nlohmann::json(int(*report.type)) : nlohmann::json(nullptr)},
      {"counts",
       {n.rows, n.samples, n.dropped_long, n.truncated, n.dropped_empty, n.tokens, n.supervised}},
      {"notes", report.notes},
      {"lost", lost}};
}

DatasetReport report_of(const nlohmann::json& about) {
  DatasetReport report;
  if (!about["type"].is_null()) report.type = RowType(about["type"].get<int>());
  const nlohmann::json& n = about["counts"];
  report.counts = {n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
  report.notes = about["notes"];
  for (const nlohmann::json& row : about["lost"]) report.lost.push_back({row[0], row[1]});
  return report;
}

/// All that the samples of a data set depend on, beside the program.
nlohmann::json key_of(const Config& run, const DatasetConfig& dataset, const RowSource& source,
                      const RowEncoder& encoder) {
  const Config config = config_for(run, dataset);
  nlohmann::json files = nlohmann::json::array(), tokenizer = nlohmann::json::array();
  for (const std::string& file : source.files()) files.push_back({file, io::hash_file(file)});
  if (encoder.tokenizer) {
    for (const auto& [name, content] : encoder.tokenizer->files()) {
      tokenizer.push_back({name, io::hash_bytes(std::as_bytes(std::span(content)), 0)});
    }
  }
  DatasetConfig shape = dataset;  // what follows from the rest, or changes no sample
  shape.weight = 1;
  const ChatTemplate* chat = encoder.chat_template;
  return {{"files", files},
          {"selection", source.selection()},
          {"dataset", DatasetsType{}.write({shape})},
          {"tokenizer", tokenizer},
          {"chat_template", chat ? nlohmann::json(chat->fingerprint()) : nlohmann::json(nullptr)},
          {"vocab", encoder.vocab},
          {"ends", encoder.ends},
          {"train_on_inputs", config.train_on_inputs},
          {"roles_to_train", config.roles_to_train},
          {"train_on_eos", int(config.train_on_eos)},
          {"mask_history", config.mask_history},
          {"special_tokens_in_content", int(config.special_tokens_in_content)},
          {"sequence_len", config.sequence_len},
          {"excess_length_strategy", int(config.excess_length_strategy)}};
}

uint64_t bytes_of(const RowSource& source) {
  uint64_t bytes = 0;
  for (const std::string& file : source.files()) bytes += io::ReadFile(file).size();
  return bytes;
}

/// Reads a data set, or takes what it became from the cache.
DatasetReport load_dataset(const Config& config, const DatasetConfig& dataset,
                           const RowEncoder& encoder, SampleList& samples, Console* console) {
  Console silent(false);
  const RowSource source(find_dataset(dataset, console ? *console : silent));
  if (!config.dataset_prepared_path && bytes_of(source) < TokenCache::kWorthwhile) {
    SampleWriter writer;
    DatasetReport report = read_dataset(config, dataset, source, encoder, writer, console);
    samples.append(std::make_shared<const SampleStore>(writer.finish(nullptr)), dataset.weight);
    return report;
  }
  const TokenCache cache(config.dataset_prepared_path);
  const nlohmann::json key = key_of(config, dataset, source, encoder);
  const auto store = cache.get(
      key,
      [&](SampleWriter& out) {
        return to_json(read_dataset(config, dataset, source, encoder, out, console));
      },
      console);
  samples.append(store, dataset.weight);
  DatasetReport report = report_of(store->about());
  report.path = dataset.path;
  report.cached_in = cache.path_of(key);
  return report;
}

}  // namespace

void DatasetCounts::add(const DatasetCounts& other) {
  rows += other.rows;
  samples += other.samples;
  dropped_long += other.dropped_long;
  truncated += other.truncated;
  dropped_empty += other.dropped_empty;
  tokens += other.tokens;
  supervised += other.supervised;
}

std::vector<std::string> Dataset::notes() const {
  std::vector<std::string> notes;
  for (const DatasetReport& report : reports) {
    notes.insert(notes.end(), report.notes.begin(), report.notes.end());
  }
  return notes;
}

bool may_hold(const Config& config, RowType type) {
  const auto may = [&](const DatasetConfig& d) {
    // Prompts and completions may be lists of messages.
    return d.type.value_or(type) == type ||
           (type == RowType::kChatTemplate && d.type == RowType::kPromptCompletion);
  };
  return std::ranges::any_of(config.datasets, may) ||
         std::ranges::any_of(config.test_datasets, may);
}

Dataset load_datasets(const Config& config, const std::vector<DatasetConfig>& datasets,
                      const RowEncoder& encoder, Console* console) {
  Dataset out;
  for (const DatasetConfig& dataset : datasets) {
    DatasetReport report = load_dataset(config, dataset, encoder, out.samples, console);
    out.counts.add(report.counts);
    if (report.type) out.types.insert(*report.type);
    out.reports.push_back(std::move(report));
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
