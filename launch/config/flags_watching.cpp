// The part of the flag table that says when a run stops by itself, what it shows, and how runs are
// compared. See flags_training.h.
#include "launch/config/cadence.h"
#include "launch/config/flags_training.h"
#include "lora/adapter/adapter.h"

namespace tessera::launch {

std::vector<Flag> stopping_flags() {
  const auto no_patience = [](const Config& c) { return !c.early_stopping_patience; };
  const auto no_watchdog = [](const Config& c) { return !c.loss_watchdog_threshold; };
  return {
      flag("eval_on_start", &Config::eval_on_start, BoolType{},
           "Evaluate before the first step, too. It does not count for the best model.")
          .ruled_out_by(
              "val_set_size",
              [](const Config& c) { return c.eval_on_start && evaluates_nothing(c); }, kNoRowsCure),
      flag("early_stopping_patience", &Config::early_stopping_patience,
           OptionalType<IntType>{{1, kMostSteps}},
           "Stop after so many evaluations in a row whose loss did not gain on the best before.")
          .ruled_out_by("val_set_size", evaluates_nothing, kNoRowsCure)
          .ruled_out_by(
              "eval_steps",
              [](const Config& c) { return eval_cadence(c).kind == Cadence::Kind::kNever; },
              "without it there is one evaluation, at the end; set eval_steps, e.g. 50"),
      flag("early_stopping_threshold", &Config::early_stopping_threshold, RealType{},
           "By how much a loss must be lower to be a gain.")
          .ruled_out_by("early_stopping_patience", no_patience, "set it, e.g. to 3"),
      flag("load_best_model_at_end", &Config::load_best_model_at_end,
           OptionalType<BoolType>{{}, "auto"},
           "Make the adapter of the best evaluation the run's. Its checkpoint is saved when it is "
           "found and kept beside save_total_limit's. auto is true with early_stopping_patience.")
          .ruled_out_by(
              "val_set_size",
              [](const Config& c) {
                return c.load_best_model_at_end.value_or(false) && evaluates_nothing(c);
              },
              kNoRowsCure),
      flag(
          "metric_for_best_model", &Config::metric_for_best_model, TextType{},
          "The loss that is compared: loss or eval_loss, or with several sets that of one of them, "
          "eval_NAME_loss. Lower is better."),
      flag("loss_watchdog_threshold", &Config::loss_watchdog_threshold,
           OptionalType<RealType>{{.low = 0, .above = true}},
           "End the run with an error when the loss of training has been above this for "
           "loss_watchdog_patience steps in a row. (A loss that is not finite always ends it.)"),
      flag("loss_watchdog_patience", &Config::loss_watchdog_patience, IntType{1, kMostSteps},
           "See loss_watchdog_threshold.")
          .ruled_out_by("loss_watchdog_threshold", no_watchdog, "set it, e.g. to 5.0"),
  };
}

std::vector<Flag> watching_flags() {
  const auto no_samples = [](const Config& c) { return c.sample_prompts.empty(); };
  const std::string_view prompts_cure = "name what to answer there, or remove this key";
  return {
      flag("report_to", &Config::report_to,
           ChoiceType<ReportTo>{
               {{ReportTo::kNone, "none"}, {ReportTo::kTensorBoard, "tensorboard"}}},
           "Where the numbers go beside metrics.jsonl: TensorBoard's event files, or nowhere."),
      flag("logging_dir", &Config::logging_dir, OptionalType<PathType>{},
           "Folder of TensorBoard's event files; left out, tensorboard in output_dir.")
          .ruled_out_by(
              "report_to", [](const Config& c) { return c.report_to == ReportTo::kNone; },
              "set it to tensorboard"),
      flag("log_format", &Config::log_format,
           ChoiceType<LogFormat>{{{LogFormat::kText, "text"}, {LogFormat::kJson, "json"}}},
           "The lines of a run on stderr: text for people, or a JSON object each."),
      flag("sample_prompts", &Config::sample_prompts, TextsType{},
           "Prompts that are answered while training, to see what the model has learned: each a "
           "user's message where the model has a chat template, else a text to go on with.")
          .such_as("['Why is the sky blue?']"),
      flag("sample_steps", &Config::sample_steps, OptionalType<IntType>{{1, kMostSteps}},
           "Steps between answers to sample_prompts; left out, they are answered at the end.")
          .ruled_out_by("sample_prompts", no_samples, prompts_cure),
      flag("sample_max_new_tokens", &Config::sample_max_new_tokens, IntType{1, 1 << 20},
           "Longest of these answers in tokens.")
          .ruled_out_by("sample_prompts", no_samples, prompts_cure),
      flag("profile", &Config::profile, BoolType{},
           "Measure three steps, the second to the fourth: a table of what their time went to, and "
           "profile-rankN.json in output_dir, a trace that Perfetto and chrome://tracing open. "
           "Changes no number, and slows these steps a little."),
  };
}

std::vector<Flag> search_flags() {
  return {
      flag("search_ranks", &Config::search_ranks, ListType<IntType>{{1, lora::kMaxRank}},
           "Ranks that `tessera search` compares, each with the lora_alpha that keeps lora_alpha / "
           "lora_r (with use_rslora, lora_alpha itself). Left out, and where no other key has a "
           "list of values: [4, 8, 16, 32, 64].")
          .ruled_out_by(
              "lora_rank_pattern",
              [](const Config& c) {
                return !c.search_ranks.empty() && !c.lora_rank_pattern.empty();
              },
              "its modules would keep their ranks; remove one")
          .ruled_out_by(
              "lora_model_dir",
              [](const Config& c) { return !c.search_ranks.empty() && c.lora_model_dir; },
              "that adapter has its rank already; remove one"),
      flag("search_steps", &Config::search_steps, StepsType{},
           "Steps that `tessera search` trains each candidate before it compares them, or their "
           "share of all steps. They are the first steps of the whole run."),
      flag("search_tolerance", &Config::search_tolerance, RealType{.low = 0, .high = 1},
           "`tessera search` takes the smallest candidate whose loss is at most this share above "
           "the best one's."),
  };
}

}  // namespace tessera::launch
