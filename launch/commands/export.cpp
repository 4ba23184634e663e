#include "launch/commands/export.h"

#include <fmt/ranges.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/commands/arguments.h"
#include "launch/commands/ollama_modelfile.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "lora/model/gguf_settings.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// Error for an option that would have no effect.
void check_options(const ExportOptions& options) {
  const MergeOptions& merge = options.merge;
  for (const auto& [given, name] :
       {std::pair(options.adapter_only, "--adapter_only"),
        std::pair(merge.into.has_value(), "--merge_into"), std::pair(merge.partial, "--partial")}) {
    if (given && merge.adapter.empty()) fail_usage("{} needs --adapter", name);
  }
  if (!options.adapter_only) return;
  for (const auto& [given, name] :
       {std::pair(merge.into.has_value(), "--merge_into"),
        std::pair(options.tokenizer_pre.has_value(), "--tokenizer_pre")}) {
    if (given) fail_usage("{} has no effect with --adapter_only; leave one of them out", name);
  }
}

/// Error where a file is there that is not to be lost, or where the name is no GGUF file's.
void check_output(const ExportOptions& options) {
  const std::string& output = options.merge.output;
  if (fs::path(output).extension() != ".gguf") {
    fail_usage("--output {} does not end in .gguf, by which programs know such a file", output);
  }
  std::vector<std::string> paths = {output};
  if (options.modelfile) paths.push_back(modelfile_path(output));
  for (const std::string& path : paths) {
    if (io::is_folder(path)) fail_usage("{} is a folder; give a file to write", path);
    if (!options.overwrite && io::exists(path)) {
      fail_usage("{} exists already; choose another output, or give --overwrite", path);
    }
  }
  const fs::path base = options.merge.base_model;
  std::error_code error;
  if (fs::equivalent(output, base, error)) {
    fail_usage("--output {} is the base model; choose another output", output);
  }
}

std::string names_of_types() {
  std::vector<std::string_view> names;
  for (const lora::GgufMix& mix : lora::gguf_mixes()) names.push_back(mix.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

nlohmann::ordered_json json_of(const ExportReport& report, const std::string& output) {
  return {{"path", output},
          {"architecture", report.architecture},
          {"type", report.type},
          {"bytes", report.bytes},
          {"weights", report.weights},
          {"bits_per_weight", report.bits_per_weight()},
          {"tensors", report.tensors},
          {"modelfile", report.modelfile.empty() ? nlohmann::ordered_json()
                                                 : nlohmann::ordered_json(report.modelfile)},
          {"notes", report.notes}};
}

}  // namespace

void check_export_room(const std::string& output, uint64_t bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(io::absolute(output).parent_path(), error);
  if (!error && space.available < bytes) {
    fail("{} needs {}, but its disk has {} free", output, format_bytes(int64_t(bytes)),
         format_bytes(int64_t(space.available)));
  }
}

ExportReport export_gguf(const ExportOptions& given, Console& console) {
  ExportOptions options = given;
  std::string& base = options.merge.base_model;
  if (io::is_folder(base) && !io::exists(fs::path(base) / "config.json")) {
    base = lora::find_gguf(base);  // which has the tokenizer, too
  }
  check_options(options);
  check_output(options);
  const MergeInputs inputs = open_merge(options.merge, console);
  const std::string& output = options.merge.output;
  io::make_folders(io::absolute(output).parent_path());
  ExportReport report = options.adapter_only ? export_adapter(options, inputs)
                                             : export_model(options, inputs, console);
  for (const std::string& note : report.notes) console.line(note);
  if (options.modelfile) {
    report.modelfile = modelfile_path(output);
    write_modelfile(report.modelfile, {.gguf = output,
                                       .base = options.adapter_only ? base : "",
                                       .stops = inputs.checkpoint.spec().eos_ids,
                                       .tokenizer = base});
  }
  return report;
}

std::string describe(const ExportReport& report, const std::string& output) {
  std::vector<std::string> counts;
  for (const auto& [type, count] : report.tensors)
    counts.push_back(fmt::format("{} {}", count, type));
  std::string text = fmt::format(
      "exported    {}, {}: {} tensors\n"
      "size        {}, {} weights, {:.2f} bits each\n"
      "file        {}\n",
      report.architecture, report.type, fmt::join(counts, ", "),
      format_bytes(int64_t(report.bytes)), format_count(report.weights), report.bits_per_weight(),
      output);
  if (!report.modelfile.empty()) text += fmt::format("modelfile   {}\n", report.modelfile);
  return text;
}

void declare_export(CLI::App* command, int&) {
  struct Options : ExportOptions {
    std::optional<const lora::GgufMix*> chosen;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  add_model_options(command, options->merge);
  add_path(command, "--adapter", options->merge.adapter, "Adapter folder, as training writes it")
      ->type_name("PATH");
  add_path(command, "--output", options->merge.output, "The .gguf file to write")
      ->required()
      ->type_name("FILE");
  std::map<std::string, const lora::GgufMix*> types;
  for (const lora::GgufMix& mix : lora::gguf_mixes()) types[std::string(mix.name)] = &mix;
  add_choice<const lora::GgufMix*>(command, "--type", options->chosen, types,
                                   names_of_types() + "; default: the checkpoint's floats");
  add_choice<MergeInto>(
      command, "--merge_into", options->merge.into,
      {{name_of(MergeInto::kDequantized), MergeInto::kDequantized},
       {name_of(MergeInto::kOriginal), MergeInto::kOriginal}},
      "dequantized (the weights trained on; the default of a 4-bit run) or original");
  command->add_flag("--adapter_only", options->adapter_only,
                    "Write the adapter alone, for llama.cpp's --lora; f32, f16 or bf16");
  command
      ->add_option("--tokenizer_pre", options->tokenizer_pre,
                   "How words are cut, as llama.cpp names it; default: by the tokenizer")
      ->type_name("NAME");
  command->add_flag("--modelfile", options->modelfile, "Write a Modelfile for Ollama, too");
  command->add_flag("--overwrite", options->overwrite, "Replace files that are there");
  command->add_flag("--partial", options->merge.partial, "Take the adapter of an unfinished run");
  command->add_flag("--json", options->json, "Print the report as JSON");
  command->footer(
      "\nWithout --adapter, the base alone. The types with a k mix several, as llama.cpp does.\n\n"
      "Example: tessera export --base_model models/smollm2 --adapter runs/first \\\n"
      "           --output first.gguf --type q4_k_m");
  command->callback([options] {
    require_cpu();
    require_alone("export");
    if (options->chosen) options->type = *options->chosen;
    Console console;
    options->merge.base_model = find_model(options->merge.base_model, console);
    const ExportReport report = export_gguf(*options, console);
    const std::string& output = options->merge.output;
    write_stdout(options->json ? json_of(report, output).dump(2) + "\n" : describe(report, output));
  });
}

}  // namespace tessera::launch
