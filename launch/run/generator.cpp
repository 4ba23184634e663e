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

using Prompts = std::span<const std::vector<int32_t>>;

/// Tokens that a sequence is fed at most: all but an answer's last.
int64_t fed_tokens(const std::vector<int32_t>& prompt, const lora::ModelSpec& model,
                   int64_t new_tokens) {
  return std::min(int64_t(prompt.size()) + new_tokens - 1, position_limit(model));
}

int64_t cache_capacity(Prompts prompts, const lora::ModelSpec& model, int64_t new_tokens) {
  int64_t longest = 0;
  for (const auto& ids : prompts) longest = std::max(longest, fed_tokens(ids, model, new_tokens));
  return longest;
}

/// Half of what is free where the decoder runs is for keys and values, the rest for activations and
/// whatever else there is.
int64_t slots_for(const lora::GenerationStep& step, Device device, const lora::CacheSize& most) {
  const auto bytes = int64_t(step.cache_bytes({1, most.capacity, most.most_fed}));
  return std::clamp<int64_t>(free_bytes(device) / 2 / bytes, 1, most.sequences);
}

/// A place in the cache and the answer that is being made there.
struct Slot {
  std::optional<size_t> prompt;
  std::span<const int32_t> unread;  // the rest of the prompt
  int32_t last = 0;                 // the newest token, once the prompt is read
  int64_t made = 0;                 // tokens of the answer
};

class Generation {
 public:
  Generation(lora::Decoder& decoder, Prompts prompts, const GeneratorOptions& options,
             const AnswerEvents& events)
      : decoder_(decoder),
        step_(decoder),
        prompts_(prompts),
        options_(options),
        events_(events),
        capacity_(cache_capacity(prompts, decoder.spec(), options.max_new_tokens)),
        prefill_(std::min(options.prefill_tokens, capacity_)),
        slots_(size_t(slots_for(step_, decoder.context().device(),
                                {std::min<int64_t>(options.most_together, int64_t(prompts.size())),
                                 capacity_, prefill_}))),
        cache_(step_.make_cache({int64_t(slots_.size()), capacity_, prefill_})),
        sampler_(options.sampler) {
    // At most prefill_ tokens of prompts, and a token of every sequence that reads none.
    step_.plan(prefill_ + int64_t(slots_.size()) - 1, cache_);
    decoder_.allocate();
  }

  bool loop() {
    while (true) {
      fill_slots();
      gather_feeds();
      if (feeds_.empty()) return true;
      if (StopSignals::received()) return false;
      const std::vector<float> logits = step_.run(cache_, feeds_);
      const size_t vocab = logits.size() / feeds_.size();
      for (size_t i = 0; i < feeds_.size(); ++i) {
        advance(feeds_[i].sequence, std::span(logits).subspan(i * vocab, vocab));
      }
    }
  }

 private:
  void fill_slots() {
    for (Slot& slot : slots_) {
      if (slot.prompt || waiting_ == prompts_.size()) continue;
      slot = {waiting_, prompts_[waiting_], 0, 0};
      ++waiting_;
    }
  }

  void gather_feeds() {
    feeds_.clear();
    int64_t room = prefill_;
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (!slot.prompt) continue;
      const int64_t length =
          fed_tokens(prompts_[*slot.prompt], decoder_.spec(), options_.max_new_tokens);
      if (slot.unread.empty()) {
        feeds_.push_back({int64_t(i), {&slot.last, 1}, length});
      } else if (const int64_t n = std::min(room, int64_t(slot.unread.size())); n > 0) {
        feeds_.push_back({int64_t(i), slot.unread.first(size_t(n)), length});
        slot.unread = slot.unread.subspan(size_t(n));
        room -= n;
      }
    }
  }

  void advance(int64_t index, std::span<const float> logits) {
    Slot& slot = slots_[size_t(index)];
    if (!slot.unread.empty()) return;
    const size_t prompt = *slot.prompt;
    slot.last = sampler_.pick(logits, prompt, uint64_t(cache_.length(index)));
    const auto& stops = options_.stop_ids;
    if (std::find(stops.begin(), stops.end(), slot.last) != stops.end()) {
      return end(index, Finish::kStop);
    }
    events_.token(prompt, slot.last);
    if (++slot.made == options_.max_new_tokens) return end(index, Finish::kLength);
    if (cache_.length(index) == position_limit(decoder_.spec())) end(index, Finish::kContext);
  }

  void end(int64_t index, Finish finish) {
    Slot& slot = slots_[size_t(index)];
    const size_t prompt = *slot.prompt;
    slot = {};
    cache_.clear(index);
    events_.finish(prompt, finish);
  }

  lora::Decoder& decoder_;
  lora::GenerationStep step_;
  Prompts prompts_;
  const GeneratorOptions& options_;
  const AnswerEvents& events_;
  int64_t capacity_;
  int64_t prefill_;
  std::vector<Slot> slots_;
  lora::KvCache cache_;
  Sampler sampler_;
  std::vector<lora::Feed> feeds_;
  size_t waiting_ = 0;  // the next prompt without a slot
};

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

void check_prompts(Prompts prompts, const lora::ModelSpec& model) {
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<int32_t>& ids = prompts[i];
    const std::string name = prompts.size() == 1 ? "the prompt" : fmt::format("prompt {}", i + 1);
    if (ids.empty()) fail("{} is empty; give at least one token", name);
    if (int64_t(ids.size()) > position_limit(model)) {
      fail("{} has {} tokens, more than the model's {} positions; shorten it", name, ids.size(),
           position_limit(model));
    }
    for (int32_t id : ids) {
      if (id >= 0 && id < model.vocab) continue;
      fail("{} holds token {}, but the model has {}; does the tokenizer belong to it?", name, id,
           model.vocab);
    }
  }
}

bool generate_answers(lora::Decoder& decoder, Prompts prompts, const GeneratorOptions& options,
                      const AnswerEvents& events) {
  if (options.max_new_tokens < 1) {
    fail_usage("--max_new_tokens is {}, expected 1 or more", options.max_new_tokens);
  }
  check_prompts(prompts, decoder.spec());
  if (prompts.empty()) return true;
  return Generation(decoder, prompts, options, events).loop();
}

}  // namespace tessera::launch
