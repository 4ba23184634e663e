#include "launch/commands/generate.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/commands/arguments.h"
#include "launch/config/flags.h"
#include "launch/config/options.h"
#include "launch/data/conversations.h"
#include "launch/data/learned_spans.h"
#include "launch/data/messages.h"
#include "launch/hub/find_model.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "launch/run/adapter_run.h"
#include "launch/run/loaded_model.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "lora/adapter/peft.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kLargestConfig = size_t{1} << 20;

/// Where answers become text: streamed when there is one, else a line of JSON each in input order.
class AnswerPrinter {
 public:
  AnswerPrinter(const Tokenizer& tokenizer, size_t prompts, bool lines)
      : tokenizer_(tokenizer), lines_(lines), texts_(prompts), done_(prompts, false) {
    for (size_t i = 0; i < prompts; ++i) decoders_.emplace_back(tokenizer);
  }

  void token(size_t prompt, int32_t id) {
    // A model may have more rows than its tokenizer has tokens; those have no text.
    if (!tokenizer_.token(id).empty()) add(prompt, decoders_[prompt].push(id));
  }

  void finish(size_t prompt) {
    add(prompt, decoders_[prompt].finish());
    if (!lines_) return write_stdout("\n");
    done_[prompt] = true;
    for (; printed_ < done_.size() && done_[printed_]; ++printed_) {
      write_stdout(json{{"text", texts_[printed_]}}.dump() + "\n");
    }
  }

  size_t printed() const { return printed_; }

 private:
  void add(size_t prompt, const std::string& text) {
    if (!lines_) return write_stdout(text);
    texts_[prompt] += text;
  }

  const Tokenizer& tokenizer_;
  bool lines_;
  std::vector<StreamDecoder> decoders_;
  std::vector<std::string> texts_;
  std::vector<bool> done_;
  size_t printed_ = 0;
};

/// What is asked for, as tokens.
struct Prompts {
  std::vector<std::vector<int32_t>> ids;
  std::optional<ChatTemplate> chat;
  bool lines = false;
};

/// The adapter's run says how conversations become text, unless the user does.
ChatTemplate chat_template(const GenerateOptions& options, const std::optional<AdapterRun>& run,
                           const Tokenizer& tokenizer) {
  const Config config = run && run->base ? *run->base : Config{};
  return ChatTemplate::resolve(options.chat_template.value_or(config.chat_template), tokenizer,
                               config.chat_template_kwargs);
}

Prompts read_prompts(const GenerateOptions& options, const std::optional<AdapterRun>& run,
                     const Tokenizer& tokenizer, Console& console) {
  Prompts prompts;
  if (options.prompt) {
    std::vector<int32_t> ids = tokenizer.encode(*options.prompt);
    const std::vector<int32_t>& prefix = tokenizer.prefix_ids();
    if (!std::equal(prefix.begin(), prefix.end(), ids.begin(),
                    ids.begin() + std::ptrdiff_t(std::min(prefix.size(), ids.size())))) {
      ids.insert(ids.begin(), prefix.begin(), prefix.end());
    }
    prompts.ids.push_back(std::move(ids));
    return prompts;
  }
  Conversations conversations = read_conversations(*options.messages);
  prompts.lines = conversations.lines;
  prompts.chat = chat_template(options, run, tokenizer);
  for (ChatRequest& request : conversations.list) {
    request.add_generation_prompt = !request.continues;
    const jinja::Rendered text = render(request, *prompts.chat, conversations.remarks);
    Encoding encoding = tokenizer.encode(pieces_of(text));
    count_letters(encoding, request.conversation, tokenizer, conversations.remarks);
    prompts.ids.push_back(std::move(encoding.ids));
  }
  for (const std::string& note : conversations.notes()) console.line(note);
  return prompts;
}

/// The special token that follows an assistant's words; nothing where a template has none, or does
/// not take so simple a conversation.
std::optional<int32_t> end_of_turn(const Tokenizer& tokenizer, const ChatTemplate& chat,
                                   std::span<const int32_t> ends) {
  Conversation turn;
  turn.messages = {{{"role", "user"}, {"content", "a"}}, {{"role", "assistant"}, {"content", "b"}}};
  try {
    const LearnedText text = learned_text(chat, turn, LearnedTurns{}, tokenizer, ends);
    const auto& [begin, end] = text.learned.at(0);
    const std::vector<int32_t> ids = tokenizer.encode(text.text.text.substr(begin, end - begin));
    if (!ids.empty() && tokenizer.is_special(ids.back())) return ids.back();
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

GenerationConfig read_generation_config(const std::string& base_model) {
  // Keys that are used, or that change nothing here.
  static constexpr std::array<std::string_view, 6> kQuiet = {
      "eos_token_id",         "bos_token_id",       "pad_token_id",
      "transformers_version", "_from_model_config", "use_cache"};
  const fs::path path = fs::path(base_model) / "generation_config.json";
  GenerationConfig out;
  if (!io::exists(path)) return out;
  const json config = io::read_json_file(path.string(), kLargestConfig);
  out.stop_ids = end_token_ids(config, path.string());
  std::vector<std::string> unused;
  for (const auto& [key, value] : config.items()) {
    if (value.is_null() || value == json(false)) continue;
    if (std::ranges::find(kQuiet, key) == kQuiet.end()) unused.push_back(io::printable(key));
  }
  if (!unused.empty()) {
    out.notes.push_back(fmt::format("{}: not used: {}; generate samples as its own options say",
                                    path.string(), fmt::join(unused, ", ")));
  }
  return out;
}

std::vector<StopToken> stop_tokens(const lora::Checkpoint& model,
                                   const GenerationConfig& generation, const Tokenizer& tokenizer,
                                   const ChatTemplate* chat) {
  std::vector<StopToken> stops = stop_tokens(model);
  for (const int32_t id : generation.stop_ids) {
    stops.push_back({id, model.path() + "/generation_config.json"});
  }
  if (const auto id = tokenizer.eos_id()) {
    stops.push_back({*id, "the tokenizer of " + model.path()});
  }
  if (!chat) return stops;
  std::vector<int32_t> ends;
  for (const StopToken& stop : stops) ends.push_back(stop.id);
  if (const auto id = end_of_turn(tokenizer, *chat, ends))
    stops.push_back({*id, "the chat template"});
  return stops;
}

void generate(const GenerateOptions& options) {
  if (options.prompt.has_value() == options.messages.has_value()) {
    fail_usage("give either --prompt TEXT or --messages FILE");
  }
  check_sampler_options(options.sampler);
  Console console;
  // What is cheap to find wrong comes before the model is loaded.
  Config base = base_config(options.adapter, options.base_settings);
  base.base_model = options.base_model;
  const Device device = choose_device(base.device, console);
  const DType compute = compute_dtype(base, device);
  const auto adapter = open_adapter(options.adapter, console);
  const Tokenizer tokenizer = Tokenizer::load(options.base_model);
  for (const std::string& note : tokenizer.notes()) console.line(note);
  const GenerationConfig generation = read_generation_config(options.base_model);
  for (const std::string& note : generation.notes) console.line(note);
  std::optional<AdapterRun> run;
  if (options.adapter) run = AdapterRun::of(*options.adapter, {});
  const Prompts prompts = read_prompts(options, run, tokenizer, console);

  const lora::Checkpoint checkpoint = lora::Checkpoint::open(options.base_model);
  check_prompts(prompts.ids, checkpoint.spec());
  // Where nothing says how the base is held, it is as stored.
  const bool said = std::ranges::any_of(options.base_settings, [](const std::string& setting) {
    return setting.starts_with("load_in_4bit=");
  });
  const lora::BaseFormat stored = lora::checkpoint_format(checkpoint);
  if (said || base.adapter == AdapterKind::kQlora) base = with_stored_format(base, stored);
  if (run) {
    const std::string warning = other_base_warning(*run, options.base_model, stored);
    if (!warning.empty()) console.line(warning);
  }

  const StopSignals signals;
  parallel::SelfCommunicator alone;
  Context ctx(device, thread_count(options.threads), options.sampler.seed);
  ctx.set_compute_dtype(compute);
  LoadedModel model(ctx, checkpoint, quantization(base), {alone, {}}, console);
  auto adapters = load_adapter(ctx, adapter, model.spec());
  lora::Decoder decoder(ctx, model.base(), model.scheduler(), adapters ? &*adapters : nullptr);

  GeneratorOptions how;
  how.max_new_tokens = options.max_new_tokens;
  how.sampler = options.sampler;
  const std::vector<StopToken> stops =
      stop_tokens(checkpoint, generation, tokenizer, prompts.chat ? &*prompts.chat : nullptr);
  for (const StopToken& stop : stops) how.stop_ids.push_back(stop.id);
  for (const std::string& line : missing_stops(stops, model.spec().vocab)) console.line(line);
  AnswerPrinter printer(tokenizer, prompts.ids.size(), prompts.lines);
  const bool all =
      generate_answers(decoder, prompts.ids, how,
                       {[&](size_t prompt, int32_t id) { printer.token(prompt, id); },
                        [&](size_t prompt, Finish finish) {
                          printer.finish(prompt);
                          if (finish == Finish::kContext) {
                            console.line(fmt::format("answer {} ends at the model's {} positions",
                                                     prompt + 1, position_limit(model.spec())));
                          }
                        }});
  if (all) return;
  if (!prompts.lines) {
    write_stdout("\n");
    fail("stopped by a signal");
  }
  fail("stopped by a signal; {} of {} answers are printed", printer.printed(), prompts.ids.size());
}

namespace {

void add_sampling_options(CLI::App* command, SamplerOptions& sampler) {
  add_number(command, "--temperature", sampler.temperature, RealType{},
             "0: always the most likely token; 1: as the model has learned")
      ->type_name("X");
  add_number(command, "--top_p", sampler.top_p, RealType{.high = 1, .above = true},
             "Draw from the fewest likely tokens with this probability together")
      ->type_name("X");
  add_number(command, "--top_k", sampler.top_k, IntType{},
             "Draw from the k most likely tokens; 0: all")
      ->type_name("N");
  add_number(command, "--seed", sampler.seed, IntType{}, "Key of every random choice")
      ->type_name("N");
}

}  // namespace

void declare_generate(CLI::App* command, int&) {
  auto options = std::make_shared<GenerateOptions>();
  add_model_options(command, *options);
  add_path(command, "--adapter", options->adapter, "Adapter folder, as training writes it")
      ->type_name("PATH");
  command->add_option("--prompt", options->prompt, "Text to go on with, as it is")
      ->type_name("TEXT");
  add_path(command, "--messages", options->messages,
           "Conversations to answer: JSON, or JSON lines, answered together")
      ->type_name("FILE");
  add_chat_template(command, options->chat_template);
  add_number(command, "--max_new_tokens", options->max_new_tokens, IntType{1, int64_t{1} << 31},
             "Longest answer in tokens")
      ->type_name("N");
  add_sampling_options(command, options->sampler);
  // Passed on as settings, so that they are checked as the keys of a config are.
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      if (flag.name == "adapter" || !is_of_base(flag.name)) continue;  // --adapter is a folder here
      command
          ->add_option_function<std::string>(
              fmt::format("--{}", flag.name),
              [options, key = flag.name](const std::string& value) {
                options->base_settings.push_back(fmt::format("{}={}", key, value));
              },
              fmt::format("As the key {} of a config", flag.name))
          ->type_name("VALUE");
    }
  }
  command->footer(
      "\nWrites the new text alone to stdout. --messages FILE is a list of {\"role\", \"content\"} "
      "or\n{\"messages\": [...]}; with one of them on each line (.jsonl) every answer is a line "
      "{\"text\": ...}.\nThe base is held as the run beside the adapter had it (qlora: 4-bit), "
      "without an adapter as\nstored; --load_in_4bit and the bnb_4bit options say otherwise.\n\n"
      "Example: tessera generate --base_model models/smollm2 --adapter runs/first "
      "--messages chat.json");
  command->callback([options] {
    require_cpu();
    require_alone("generate");
    Console console;
    options->base_model = find_model(options->base_model, console);
    generate(*options);
  });
}

}  // namespace tessera::launch
