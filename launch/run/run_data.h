// What a run learns from: tokenizer, data sets, validation split and the plan of steps.
#pragma once

#include "launch/config/options.h"
#include "launch/console/progress.h"
#include "launch/data/batches.h"
#include "launch/data/dataset.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

struct RunData {
  /// Reads and tokenizes everything; shows on the console how far it is.
  RunData(const Config& config, int64_t vocab, int ranks, int threads, Console& console);

  /// What is evaluated on: rows that val_set_size holds out, and test_datasets.
  struct EvaluationSet {
    std::string name;  // differs from all others'
    SampleList samples;
    size_t reports_from = 0;  // part p of the samples is of reports[reports_from + p]
  };

  TokenizerFiles tokenizer_files;  // of base_model, to put beside the adapter
  DatasetCounts counts;            // of the data sets to train on, rows held out among them
  SampleList training;
  std::vector<EvaluationSet> evaluation;
  std::vector<DatasetReport> reports;  // of datasets, then of test_datasets
  std::vector<std::string> notes;      // lines of text on the tokenizer and the template
  BatchOptions options;
  /// judged_by() of the config; empty where the run does not ask for it.
  std::optional<size_t> judged;

  /// Of `evaluation`, which is not empty, the one whose loss metric_for_best_model names. Error
  /// (usage) where it names none.
  size_t judged_by(const Config& config) const;
  /// Those of `evaluation`; where there are none, one of all samples to train on, named "all".
  std::vector<EvaluationSet> sets_to_evaluate() const;
  /// What a user should know of the data, a line each.
  void print_notes(Console& console) const;
  /// "20 held out, 100 in gsm8k_test", with `rows` behind each number.
  std::string describe_evaluation(std::string_view rows = "") const;

 private:
  void read(const Config& config, int64_t vocab, int threads, Console& console);
  void take_evaluation_sets(const Config& config, const RowEncoder& encoder, Console& console);
};

}  // namespace tessera::launch
