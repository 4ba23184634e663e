#include "launch/run/generator.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>

#include "launch/machine/device.h"
#include "launch/machine/signals.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// Tokens that a sequence is fed at most: all but an answer's last.
int64_t fed_tokens(int64_t prompt, const lora::ModelSpec& model, int64_t new_tokens) {
  return std::min(prompt + new_tokens - 1, position_limit(model));
}

/// Half of what is free where the decoder runs is for keys and values, the rest for activations and
/// whatever else there is.
int64_t slots_for(const lora::GenerationStep& step, Device device, const lora::CacheSize& most) {
  const auto bytes = int64_t(step.cache_bytes({1, most.capacity, most.most_fed}));
  return std::clamp<int64_t>(free_bytes(device) / 2 / bytes, 1, most.sequences);
}

int64_t checked_new_tokens(int64_t tokens) {
  if (tokens < 1) fail_usage("--max_new_tokens is {}, expected 1 or more", tokens);
  return tokens;
}

bool depends_on_length(const lora::ModelSpec& model) {
  return std::ranges::any_of(model.ropes,
                             [](const Rope& rope) { return rope.scaling.depends_on_length(); });
}

}  // namespace

int64_t position_limit(const lora::ModelSpec& model) {
  const bool stretches = std::ranges::any_of(model.ropes, [](const Rope& rope) {
    return rope.scaling.kind == RopeScaling::Kind::kDynamic;
  });
  return stretches ? lora::SpecLimits::kPosition : model.max_position;
}

std::vector<StopToken> stop_tokens(const lora::Checkpoint& model) {
  std::vector<StopToken> stops;
  for (const int32_t id : model.spec().eos_ids) {
    stops.push_back({id, model.path() + "/config.json"});
  }
  return stops;
}

std::vector<std::string> missing_stops(std::span<const StopToken> stops, int64_t vocab) {
  std::map<int32_t, std::vector<std::string>> missing;  // and what names each
  for (const StopToken& stop : stops) {
    if (stop.id < 0 || stop.id >= vocab) missing[stop.id].push_back(stop.source);
  }
  std::vector<std::string> warnings;
  for (const auto& [id, sources] : missing) {
    warnings.push_back(fmt::format(
        "warning: {} {} token {} as an end of text; the model has only {} tokens, so it "
        "is ignored",
        fmt::join(sources, " and "), sources.size() == 1 ? "names" : "name", id, vocab));
  }
  return warnings;
}

void check_prompt(std::span<const int32_t> prompt, const lora::ModelSpec& model,
                  const std::string& name) {
  if (prompt.empty()) fail("{} is empty; give at least one token", name);
  if (int64_t(prompt.size()) > position_limit(model)) {
    fail("{} has {} tokens, more than the model's {} positions; shorten it", name, prompt.size(),
         position_limit(model));
  }
  for (const int32_t id : prompt) {
    if (id >= 0 && id < model.vocab) continue;
    fail("{} holds token {}, but the model has {}; does the tokenizer belong to it?", name, id,
         model.vocab);
  }
}

Generator::Generator(lora::Decoder& decoder, const GeneratorOptions& options, const Room& most)
    : decoder_(decoder),
      step_(decoder),
      options_(options),
      capacity_(fed_tokens(most.prompt_tokens, decoder.spec(),
                           checked_new_tokens(options.max_new_tokens))),
      prefill_(std::min(options.prefill_tokens, capacity_)),
      slots_(size_t(
          slots_for(step_, decoder.context().device(), {most.sequences, capacity_, prefill_}))),
      cache_(step_.make_cache({int64_t(slots_.size()), capacity_, prefill_})),
      sampler_(options.sampler) {
  // At most prefill_ tokens of prompts, and a token of every sequence that reads none.
  step_.plan(prefill_ + int64_t(slots_.size()) - 1, cache_);
  decoder_.allocate();
}

bool Generator::run(NextRequest next, const AnswerEvents& events) {
  for (Slot& slot : slots_) slot.busy = false;  // what a signal has left
  for (bool more = true;;) {
    more = more && fill_slots(next);
    gather_feeds();
    if (feeds_.empty()) return true;
    if (options_.heeds_signals && StopSignals::received()) return false;
    const std::vector<float> logits = step_.run(cache_, feeds_);
    const size_t vocab = logits.size() / feeds_.size();
    for (size_t i = 0; i < feeds_.size(); ++i) {
      advance(feeds_[i].sequence, std::span(logits).subspan(i * vocab, vocab), events);
    }
  }
}

bool Generator::fill_slots(NextRequest next) {
  for (auto free = std::ranges::count(slots_, false, &Slot::busy); free > 0; --free) {
    std::optional<AnswerRequest> request = next();
    if (!request) return false;
    start(std::move(*request));
  }
  return true;
}

void Generator::start(AnswerRequest request) {
  int64_t best = -1, most = -1;
  for (int64_t i = 0; i < int64_t(slots_.size()); ++i) {
    if (slots_[size_t(i)].busy || reusable(i, request) <= most) continue;
    best = i;
    most = reusable(i, request);
  }
  cache_.keep(best, most);
  const auto prompt = int64_t(request.prompt.size());
  slots_[size_t(best)] = {true, request.sequence, std::move(request.prompt), prompt,
                          fed_tokens(prompt, decoder_.spec(), options_.max_new_tokens)};
}

int64_t Generator::reusable(int64_t index, const AnswerRequest& request) const {
  const Slot& slot = slots_[size_t(index)];
  const auto tokens = int64_t(request.prompt.size());
  const int64_t length = fed_tokens(tokens, decoder_.spec(), options_.max_new_tokens);
  if (length != slot.length && depends_on_length(decoder_.spec())) return 0;
  // The last token of a prompt is always fed: the logits behind it are needed.
  const auto most = size_t(std::min(cache_.length(index), tokens - 1));
  const auto held = std::span(slot.ids).first(most);
  return std::ranges::mismatch(held, request.prompt).in1 - held.begin();
}

void Generator::gather_feeds() {
  feeds_.clear();
  int64_t room = prefill_;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (!slot.busy) continue;
    const int64_t cached = cache_.length(int64_t(i));
    const auto unread = std::span(slot.ids).subspan(size_t(cached));
    const bool reads = cached < slot.prompt;
    const int64_t count = reads ? std::min(room, int64_t(unread.size())) : 1;
    if (count == 0) continue;
    feeds_.push_back({int64_t(i), unread.first(size_t(count)), slot.length});
    if (reads) room -= count;
  }
}

void Generator::advance(int64_t index, std::span<const float> logits, const AnswerEvents& events) {
  Slot& slot = slots_[size_t(index)];
  if (cache_.length(index) < slot.prompt) return;
  const int32_t token = sampler_.pick(logits, slot.sequence, uint64_t(cache_.length(index)));
  std::optional<Finish> finish;
  if (std::ranges::find(options_.stop_ids, token) != options_.stop_ids.end()) {
    finish = Finish::kStop;
  } else {
    slot.ids.push_back(token);
    events.token(slot.sequence, token);
    finish = finish_of(index, events);
  }
  if (!finish) return;
  slot.busy = false;
  events.finish(slot.sequence, *finish);
}

std::optional<Finish> Generator::finish_of(int64_t index, const AnswerEvents& events) const {
  const Slot& slot = slots_[size_t(index)];
  if (events.ended(slot.sequence)) return Finish::kStopText;
  if (int64_t(slot.ids.size()) - slot.prompt == options_.max_new_tokens) return Finish::kLength;
  if (cache_.length(index) == position_limit(decoder_.spec())) return Finish::kContext;
  return std::nullopt;
}

bool generate_answers(lora::Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                      const GeneratorOptions& options, const AnswerEvents& events) {
  checked_new_tokens(options.max_new_tokens);
  size_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    check_prompt(prompts[i], decoder.spec(),
                 prompts.size() == 1 ? "the prompt" : fmt::format("prompt {}", i + 1));
    longest = std::max(longest, prompts[i].size());
  }
  if (prompts.empty()) return true;
  const auto together = std::min(options.most_together, int64_t(prompts.size()));
  Generator generator(decoder, options, {together, int64_t(longest)});
  size_t given = 0;
  const auto next = [&]() -> std::optional<AnswerRequest> {
    if (given == prompts.size()) return std::nullopt;
    const size_t i = given++;
    return AnswerRequest{i, prompts[i]};
  };
  return generator.run(next, events);
}

}  // namespace tessera::launch
