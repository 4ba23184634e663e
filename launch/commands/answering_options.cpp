#include "launch/commands/answering_options.h"

#include "launch/commands/arguments.h"
#include "launch/config/flags.h"
#include "runtime/core/error.h"

namespace tessera::launch {
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

/// Passed on as settings, so that they are checked as the keys of a config are.
void add_base_options(CLI::App* command, ModelChoice& model) {
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      if (flag.name == "adapter" || !is_of_base(flag.name)) continue;  // --adapter is a folder here
      command
          ->add_option_function<std::string>(
              fmt::format("--{}", flag.name),
              [&model, key = flag.name](const std::string& value) {
                model.base_settings.push_back(fmt::format("{}={}", key, value));
              },
              fmt::format("As the key {} of a config", flag.name))
          ->type_name("VALUE");
    }
  }
}

}  // namespace

void add_answering_options(CLI::App* command, AnsweringOptions& options) {
  add_model_options(command, options.model);
  add_path(command, "--adapter", options.model.adapter, "Adapter folder, as training writes it")
      ->type_name("PATH");
  add_chat_template(command, options.model.chat_template);
  add_number(command, "--max_new_tokens", options.max_new_tokens, IntType{1, int64_t{1} << 31},
             "Longest answer in tokens")
      ->type_name("N");
  command
      ->add_option("--stop", options.stops,
                   "An answer ends before this text; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  add_sampling_options(command, options.sampler);
  add_base_options(command, options.model);
}

void check_answering_options(const AnsweringOptions& options) {
  check_sampler_options(options.sampler);
  for (const std::string& stop : options.stops) {
    if (stop.empty()) fail_usage("--stop is empty, expected a text");
  }
}

GeneratorOptions generator_options(const AnsweringOptions& options, std::vector<int32_t> stop_ids) {
  GeneratorOptions out;
  out.max_new_tokens = options.max_new_tokens;
  out.stop_ids = std::move(stop_ids);
  out.sampler = options.sampler;
  return out;
}

}  // namespace tessera::launch
