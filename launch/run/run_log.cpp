#include "launch/run/run_log.h"

#include <algorithm>

#include "launch/config/yaml.h"
#include "launch/report/run_files.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

void RunLog::begin(int64_t first_step, int64_t total, bool leads) {
  const std::string folder = config_.output_dir + "/";
  if (leads) metrics_.emplace(folder + std::string(kMetricsFile), first_step);
  if (leads && !config_.sample_prompts.empty()) {
    samples_.emplace(folder + std::string(kSamplesFile), first_step);
  }
  if (leads && config_.report_to == ReportTo::kTensorBoard) {
    board_.emplace(config_.logging_dir.value_or(folder + "tensorboard"), first_step);
  }
  first_step_ = first_step;
  total_ = total;
  clock_ = Stopwatch();
}

void RunLog::step(const StepMetrics& m) {
  if (metrics_) note_lost_line(metrics_->path(), metrics_->write(m));
  to_board("train/loss", m.step, m.loss);
  to_board("train/grad_norm", m.step, m.grad_norm);
  to_board("train/learning_rate", m.step, m.learning_rate);
  to_board("train/epoch", m.step, m.epoch);
  to_board("train/tokens_per_second", m.step, m.tokens_per_second);
  if (!first_loss_) first_loss_ = m.loss;
  last_loss_ = m.loss;
  const double eta = clock_.seconds() / double(m.step - first_step_) * double(total_ - m.step);
  const bool due = m.step % config_.logging_steps == 0 || m.step == total_;
  if (console_.is_terminal()) return console_.live(describe(m, eta));
  if (!due) return;
  if (!console_.is_json()) return console_.line(describe(m, eta));
  nlohmann::ordered_json members = to_json(m);
  members["steps"] = total_;
  members["eta_seconds"] = eta;
  console_.event("step", members);
}

std::string RunLog::describe(const StepMetrics& m, double eta) const {
  return fmt::format(
      "step {:>{}}/{}  epoch {:.2f}  loss {:.4f}  grad {:.3f}  lr {:.2e}  {:.0f} tok/s  {}  ETA {}",
      m.step, std::to_string(total_).size(), total_, m.epoch, m.loss, m.grad_norm, m.learning_rate,
      m.tokens_per_second, format_bytes(m.memory), format_duration(eta));
}

void RunLog::evaluation(int64_t step, const std::string& set, const std::string& shown,
                        const Evaluation& e) {
  if (metrics_)
    note_lost_line(metrics_->path(), metrics_->write_evaluation(step, set, e.loss, e.tokens));
  to_board(set.empty() ? "eval/loss" : fmt::format("eval/{}_loss", set), step, e.loss);
  if (console_.is_json()) {
    return console_.event("evaluation", {{"step", step},
                                         {"set", shown},
                                         {"loss", e.loss},
                                         {"perplexity", e.perplexity()},
                                         {"tokens", e.tokens}});
  }
  console_.line(fmt::format("step {}: {} loss {:.4f}, perplexity {:.2f} ({} tokens)", step, shown,
                            e.loss, e.perplexity(), format_count(e.tokens)));
}

void RunLog::sample(int64_t step, const std::string& prompt, const std::string& text) {
  const nlohmann::ordered_json line = {{"step", step}, {"prompt", prompt}, {"text", text}};
  if (samples_) note_lost_line(samples_->path(), samples_->write_line(line));
  if (board_) {
    note_lost_line(board_->path(), board_->text("samples/" + io::printable(prompt), step, text));
  }
  if (console_.is_json()) return console_.event("sample", line);
  console_.line(fmt::format("step {}: {}", step, shown(prompt)));
  // A text of several lines stays one block.
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    console_.line("    " + io::printable(text.substr(begin, end - begin), text.size()));
    begin = end + 1;
  }
}

void RunLog::to_board(std::string_view tag, int64_t step, double value) {
  if (board_) note_lost_line(board_->path(), board_->scalar(tag, step, value));
}

void RunLog::note_lost_line(const std::string& path, bool written) {
  if (written || lines_lost_) return;
  lines_lost_ = true;
  console_.line(fmt::format(
      "warning: {} cannot be written; its lines are lost until there is room again", path));
}

std::string RunLog::summary(int64_t step, double waited) const {
  const int64_t ran = step - first_step_;
  if (ran == 0) return ", none of them now";
  const double seconds = clock_.seconds();
  std::string text = first_step_ > 0 ? fmt::format(", {} of them now,", ran) : "";
  text += fmt::format(" in {}", format_duration(seconds));
  if (waited > 0) {
    text += fmt::format(", {:.1f} % of it waiting for layers", 100 * waited / seconds);
  }
  text += "; loss ";
  if (ran > 1) text += fmt::format("{:.4f} -> ", *first_loss_);
  return text + fmt::format("{:.4f}", *last_loss_);
}

}  // namespace tessera::launch
