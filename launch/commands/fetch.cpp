// `tessera fetch`: a model or a data set of the Hugging Face hub into the cache of this machine.
#include <fnmatch.h>

#include <algorithm>

#include "launch/commands/arguments.h"
#include "launch/hub/model_files.h"
#include "launch/hub/snapshot.h"
#include "launch/machine/ranks.h"

namespace tessera::launch {
namespace {

using Names = std::vector<std::string>;

struct FetchOptions {
  std::string name;
  bool dataset = false;
  std::string revision;
  Names include;
  Names exclude;
};

HubName fetched(const FetchOptions& options) {
  const std::string prefix = options.name.starts_with("hf:") ? "" : "hf:";
  auto name =
      hub_name(prefix + options.name, options.dataset ? HubKind::kDataset : HubKind::kModel);
  if (!name) {
    fail_usage("expected a name of the Hugging Face hub such as org/name, got {}",
               shown(options.name));
  }
  if (!options.revision.empty()) {
    if (options.name.find('@') != std::string::npos) {
      fail_usage("{} has a revision already; leave out --revision", shown(options.name));
    }
    auto at = hub_name(prefix + options.name + "@" + options.revision, name->kind);
    if (!at)
      fail_usage("--revision: expected a branch, tag or commit, got {}", shown(options.revision));
    name = at;
  }
  if (!name->file.empty() && !(options.include.empty() && options.exclude.empty())) {
    fail_usage("{} names a file; leave out --include and --exclude", shown(options.name));
  }
  return *name;
}

/// Python's fnmatch: '*' is also for slashes, and a folder is all that is in it.
bool matches(const Names& globs, const std::string& file) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    const std::string pattern = glob.ends_with('/') ? glob + "*" : glob;
    return ::fnmatch(pattern.c_str(), file.c_str(), FNM_NOESCAPE) == 0;
  });
}

Names chosen_of(const FetchOptions& options, const HubName& name, const Names& all) {
  const bool needed = options.include.empty() && name.kind == HubKind::kModel;
  Names chosen = needed ? files_of_model(name, all) : all;
  std::erase_if(chosen, [&](const std::string& file) {
    return (!options.include.empty() && !matches(options.include, file)) ||
           matches(options.exclude, file);
  });
  if (chosen.empty()) fail("{} has no such files", describe(name));
  return chosen;
}

}  // namespace

void declare_fetch(CLI::App* command, int&) {
  auto options = std::make_shared<FetchOptions>();
  command
      ->add_option("name", options->name,
                   "org/name, org/name@revision, or a model's org/name/file.gguf")
      ->required();
  command->add_flag("--dataset", options->dataset, "It is a data set, not a model");
  command->add_option("--revision", options->revision, "Branch, tag or commit; default: main")
      ->type_name("NAME");
  command
      ->add_option("--include", options->include,
                   "These files, instead of those that a model needs (of a data set: all)")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command->add_option("--exclude", options->exclude, "But not these")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command->footer(
      "\nFetches what the cache of the Hugging Face hub on this machine lacks, and prints the "
      "folder in\nit. What is interrupted goes on when it is run again. HF_TOKEN is for models "
      "that need an\naccount (docs/hub.md).\n\n"
      "Example: tessera fetch meta-llama/Llama-3.2-1B");
  command->callback([options] {
    require_alone("fetch");
    const HubName name = fetched(*options);
    Console console;
    const std::string folder = hub_snapshot_of(
        name, [&](const Names& all) { return chosen_of(*options, name, all); }, console);
    write_stdout((name.file.empty() ? folder : folder + "/" + name.file) + "\n");
  });
}

}  // namespace tessera::launch
