#include "launch/commands/generate.h"

#include <algorithm>

#include "launch/commands/answer_printer.h"
#include "launch/commands/arguments.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "launch/run/answer_file.h"
#include "launch/run/answering_model.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// What all prompts together are, so that faults are found before the model is loaded.
struct PromptSurvey {
  std::vector<uint32_t> hashes;  // of each prompt's tokens
  size_t longest = 0;            // in tokens
};

PromptSurvey survey(PromptReader& prompts, const lora::ModelSpec& model, Console& console) {
  PromptSurvey out;
  while (const auto prompt = prompts.next()) {
    check_prompt(prompt->ids, model, prompt->name);
    out.hashes.push_back(key_part(std::as_bytes(std::span(prompt->ids))));
    out.longest = std::max(out.longest, prompt->ids.size());
    if (out.hashes.size() % 1000 == 0) {
      console.live(fmt::format("reading prompts: {}", format_count(int64_t(out.hashes.size()))));
    }
  }
  for (const std::string& note : prompts.notes()) console.line(note);
  console.live("");
  return out;
}

uint32_t options_key(const GeneratorOptions& how, const std::vector<std::string>& stops) {
  const std::string text = nlohmann::json{how.sampler.temperature,
                                          how.sampler.top_p,
                                          how.sampler.top_k,
                                          how.sampler.seed,
                                          how.max_new_tokens,
                                          how.stop_ids,
                                          stops}
                               .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return key_part(std::as_bytes(std::span(text)));
}

/// The answers of a run that are still to be made, in the order of the prompts.
class Requests {
 public:
  Requests(PromptReader& prompts, uint64_t samples, const std::optional<AnswerFile>& file)
      : prompts_(prompts), samples_(samples), file_(file) {}

  std::optional<AnswerRequest> next() {
    for (;; ++sample_) {
      if (sample_ == samples_ || !prompt_) {
        if (prompt_) ++index_;
        prompt_ = prompts_.next();
        sample_ = 0;
        if (!prompt_) return std::nullopt;
      }
      const uint64_t sequence = sequence_of(index_, sample_);
      if (file_ && file_->has(sequence)) continue;
      ++sample_;
      return AnswerRequest{sequence, prompt_->ids};
    }
  }

 private:
  PromptReader& prompts_;
  uint64_t samples_;
  const std::optional<AnswerFile>& file_;
  std::optional<PromptReader::Prompt> prompt_;
  uint64_t index_ = 0;
  uint64_t sample_ = 0;
};

/// One call of generate().
class GenerateRun {
 public:
  GenerateRun(const GenerateOptions& options, const OpenedModel& opened, PromptReader& prompts,
              Console& console)
      : options_(options),
        opened_(opened),
        prompts_(prompts),
        console_(console),
        survey_(survey(prompts, opened.checkpoint().spec(), console)),
        streams_(!options.output && !options.json && !prompts.lines() && options.samples == 1),
        making_(opened.tokenizer(), options.stops),
        lines_(options.json) {}

  bool run(const GeneratorOptions& how);

 private:
  uint64_t samples() const { return uint64_t(options_.samples); }
  uint64_t answers() const { return survey_.hashes.size() * samples(); }
  uint64_t kept() const;
  void token(uint64_t sequence, int32_t id, AnswerProgress& progress);
  void finish(uint64_t sequence, Finish finish, AnswerProgress& progress);
  bool say_stopped(const AnswerProgress& progress) const;

  const GenerateOptions& options_;
  const OpenedModel& opened_;
  PromptReader& prompts_;
  Console& console_;
  const PromptSurvey survey_;
  const bool streams_;
  std::optional<AnswerFile> file_;
  AnswerKey key_;
  AnswersInMaking making_;
  AnswerLines lines_;
  StreamedAnswer streamed_;
};

/// Answers that are there already, of those that are asked for.
uint64_t GenerateRun::kept() const {
  uint64_t count = 0;
  for (uint64_t i = 0; file_ && i < survey_.hashes.size(); ++i) {
    for (uint64_t s = 0; s < samples(); ++s) count += file_->has(sequence_of(i, s));
  }
  return count;
}

bool GenerateRun::run(const GeneratorOptions& how) {
  if (options_.output) {
    file_.emplace(*options_.output, options_.resume);
    key_.options = options_key(how, options_.stops);
    file_->check_prompts(survey_.hashes);
    file_->check_options(key_.options);
  }
  const StopSignals signals;
  AnsweringModel model(opened_, options_.sampler.seed, console_);
  if (file_) {
    const uint64_t print = model.fingerprint();
    key_.model = key_part(std::as_bytes(std::span(&print, 1)));
    file_->check_model(key_.model);
    file_->open();
  }
  AnswerProgress progress(console_, answers(), kept());
  bool all = progress.done() == answers();
  if (!all) {
    const auto together = std::min<uint64_t>(uint64_t(how.most_together), answers());
    Generator generator(model.decoder(), how, {int64_t(together), int64_t(survey_.longest)});
    Requests requests(prompts_, samples(), file_);
    const auto next = [&] {
      std::optional<AnswerRequest> request = requests.next();
      if (request) making_.begin(request->sequence, request->prompt.size());
      return request;
    };
    all = generator.run(next,
                        {[&](uint64_t sequence, int32_t id) { token(sequence, id, progress); },
                         [&](uint64_t sequence, Finish end) { finish(sequence, end, progress); },
                         [&](uint64_t sequence) { return making_.stopped(sequence); }});
  }
  if (!all) return say_stopped(progress);
  if (file_) console_.line(fmt::format("{}: {}", file_->path(), progress.line()));
  return true;
}

void GenerateRun::token(uint64_t sequence, int32_t id, AnswerProgress& progress) {
  making_.token(sequence, id);
  if (streams_) return streamed_.print(making_.text(sequence));
  progress.token();
}

void GenerateRun::finish(uint64_t sequence, Finish end, AnswerProgress& progress) {
  const Answer answer = making_.finish(sequence, end);
  progress.answer();
  if (streams_) {
    streamed_.print(answer.text);
    streamed_.end();
  } else if (file_) {
    file_->append(answer, {key_.model, key_.options, survey_.hashes[answer.index]});
  } else {
    console_.live("");
    lines_.add(answer.index * samples() + answer.sample, answer);
  }
  if (end != Finish::kContext) return;
  console_.line(fmt::format("answer {} ends at the model's {} positions", answer.index + 1,
                            position_limit(opened_.checkpoint().spec())));
}

bool GenerateRun::say_stopped(const AnswerProgress& progress) const {
  console_.live("");
  if (file_) {
    console_.line(
        fmt::format("stopped by a signal; {} of {} answers are in {}; the same command "
                    "with --resume goes on",
                    progress.done(), answers(), file_->path()));
    return false;
  }
  if (streams_) {
    write_stdout("\n");
    fail("stopped by a signal");
  }
  fail("stopped by a signal; {} of {} answers are printed", lines_.printed(), answers());
}

}  // namespace

bool generate(const GenerateOptions& options) {
  check_prompt_choice(options.from);
  check_answering_options(options);
  if (options.resume && !options.output) fail_usage("--resume needs --output FILE");
  if (options.samples > 1 && options.sampler.temperature == 0) {
    fail_usage("--samples {} needs a --temperature above 0: without, all are the same",
               options.samples);
  }
  Console console;
  const OpenedModel opened(options.model, console);
  std::optional<ChatTemplate> chat;
  if (options.from.messages) chat = opened.chat_template();
  PromptReader prompts(options.from, opened.tokenizer(), chat ? &*chat : nullptr);
  GenerateRun run(options, opened, prompts, console);
  return run.run(generator_options(options, opened.stop_ids(chat ? &*chat : nullptr, console)));
}

void declare_generate(CLI::App* command, int& exit_code) {
  auto options = std::make_shared<GenerateOptions>();
  add_answering_options(command, *options);
  command->add_option("--prompt", options->from.prompt, "Text to go on with, as it is")
      ->type_name("TEXT");
  add_path(command, "--prompts", options->from.prompts,
           "Such texts: .txt with one on each line, or .jsonl with {\"prompt\": ...}")
      ->type_name("FILE");
  add_path(command, "--messages", options->from.messages,
           "Conversations to answer: JSON, or JSON lines, answered together")
      ->type_name("FILE");
  add_number(command, "--samples", options->samples, IntType{1, int64_t{1} << 20},
             "Answers to each prompt, which need a --temperature above 0 to differ")
      ->type_name("N");
  command->add_flag("--json", options->json, "Print all that is known of each answer, a line each");
  add_path(command, "--output", options->output, "Write such lines to a file, as answers are done")
      ->type_name("FILE");
  command->add_flag("--resume", options->resume, "Go on with an --output that was interrupted");
  command->footer(
      "\nWrites the new text alone to stdout. --messages FILE is a list of {\"role\", \"content\"} "
      "or\n{\"messages\": [...]}; with one of them on each line (.jsonl) every answer is a line "
      "{\"text\": ...}.\nThe base is held as the run beside the adapter had it (qlora: 4-bit), "
      "without an adapter as\nstored; --load_in_4bit and the bnb_4bit options say otherwise "
      "(docs/generate.md).\n\n"
      "Example: tessera generate --base_model models/smollm2 --adapter runs/first "
      "--messages chat.json");
  command->callback([options, &exit_code] {
    require_cpu();
    require_alone("generate");
    Console console;
    options->model.base_model = find_model(options->model.base_model, console);
    if (!generate(*options)) exit_code = 3;
  });
}

}  // namespace tessera::launch
