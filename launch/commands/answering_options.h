// The options that the commands share which make a model answer.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "launch/run/answering_model.h"
#include "launch/run/generator.h"

namespace tessera::launch {

struct AnsweringOptions {
  ModelChoice model;
  int64_t max_new_tokens = 256;
  SamplerOptions sampler;
  std::vector<std::string> stops;  // texts that end an answer
};

/// `options` outlives the command.
void add_answering_options(CLI::App* command, AnsweringOptions& options);

/// Error (usage) for what the options alone tell to be wrong.
void check_answering_options(const AnsweringOptions& options);

/// What the generator is told. The ids are those of OpenedModel::stop_ids().
GeneratorOptions generator_options(const AnsweringOptions& options, std::vector<int32_t> stop_ids);

}  // namespace tessera::launch
