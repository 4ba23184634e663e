// How other trainers say where their data are, in our datasets: LLaMA-Factory by names in its
// dataset_info.json, TRL by the name of one data set. See foreign_keys.h.
#include <nlohmann/json.hpp>

#include "launch/config/flags_types.h"
#include "launch/config/translation.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLargestInfo = size_t{16} << 20;

YamlNode node_of(YamlNode::Kind kind, const Given& given) {
  YamlNode node = scalar_at(given, "");
  node.kind = kind;
  return node;
}

void put(YamlNode& map, const Given& given, std::string_view key, YamlNode value) {
  map.entries.push_back({std::string(key), given.place, std::move(value)});
}

/// JSON as if it had been written where `given` is.
YamlNode yaml_of(const Json& json, const Given& given) {
  if (json.is_null()) return node_of(YamlNode::Kind::kNull, given);
  if (json.is_string()) {
    YamlNode text = scalar_at(given, json.get_ref<const std::string&>());
    text.quoted = true;
    return text;
  }
  if (!json.is_structured()) return scalar_at(given, json.dump());
  const bool is_map = json.is_object();
  YamlNode node = node_of(is_map ? YamlNode::Kind::kMap : YamlNode::Kind::kList, given);
  for (const auto& [key, value] : json.items()) {
    if (is_map) {
      put(node, given, key, yaml_of(value, given));
    } else {
      node.items.push_back(yaml_of(value, given));
    }
  }
  return node;
}

/// One entry of dataset_info.json as one of ours. The hub goes before a file.
YamlNode dataset_of(const Json& info, const std::string& folder, const Given& given) {
  YamlNode dataset = node_of(YamlNode::Kind::kMap, given);
  const bool on_hub = info.contains("hf_hub_url");
  if (on_hub) put(dataset, given, "path", yaml_of(info["hf_hub_url"], given));
  if (!info.contains("formatting")) put(dataset, given, "formatting", scalar_at(given, "alpaca"));
  for (const auto& [key, value] : info.items()) {
    const bool other_hub = key == "ms_hub_url" || key == "om_hub_url" || key == "script_url";
    if (key == "hf_hub_url" || (on_hub && (other_hub || key == "file_name"))) continue;
    if (key == "file_name" && value.is_string()) {
      const std::string path = folder + "/" + value.get<std::string>();
      put(dataset, given, "path", yaml_of(path, given));
    } else {
      put(dataset, given, key, yaml_of(value, given));
    }
  }
  return dataset;
}

/// The names in a list, or in text with commas.
std::vector<std::string> names_in(const Given& given) {
  std::vector<std::string> names;
  const auto add = [&](std::string_view text) {
    while (!text.empty()) {
      const std::string_view name = text.substr(0, text.find(','));
      if (!trimmed(name).empty()) names.push_back(trimmed(name));
      text.remove_prefix(std::min(text.size(), name.size() + 1));
    }
  };
  add(text_of(given));
  for (const YamlNode& item : given.value.items) add(item.text);
  return names;
}

/// What dataset_info.json holds. Error where it cannot be read.
Json read_info(const std::string& path) {
  Json info = Json::parse(io::read_file(path, kLargestInfo), nullptr, /*allow_exceptions=*/false);
  if (!info.is_object()) fail("{}: expected a JSON object of data sets", path);
  return info;
}

/// LLaMA-Factory's names of data sets, as our `list`.
void named_datasets(Translation& to, const Given& given, std::string_view list) {
  const Given* dir = to.theirs("dataset_dir");
  const std::string folder = dir == nullptr ? "data" : std::string(text_of(*dir));
  const std::string path = folder + "/dataset_info.json";
  YamlNode datasets = node_of(YamlNode::Kind::kList, given);
  Json info = Json::object();
  try {
    if (folder != "ONLINE") info = read_info(path);
  } catch (const Error& error) {
    to.faults().doubt(list);
    return to.refuse(given, fmt::format("it is looked for in {}: {}", path, error.what()));
  }
  const auto refuse = [&](const std::string& cure) {
    to.refuse(given, cure);
    to.faults().doubt(list);
  };
  for (const std::string& name : names_in(given)) {
    if (folder == "ONLINE") {
      datasets.items.push_back(dataset_of({{"hf_hub_url", name}}, folder, given));
    } else if (info.contains(name) && info[name].is_object()) {
      datasets.items.push_back(dataset_of(info[name], folder, given));
    } else {
      refuse(fmt::format("{} has no {}", path, shown(name)));
    }
  }
  if (datasets.items.empty()) return;
  if (to.ours(list) != nullptr) {
    return refuse(fmt::format("{} is given beside it; keep one", list));
  }
  to.means(given, list, std::move(datasets));
}

void dataset(Translation& to, const Given& given) { named_datasets(to, given, "datasets"); }
void eval_dataset(Translation& to, const Given& given) {
  named_datasets(to, given, "test_datasets");
}

/// The data set that TRL's script loads, by its split for training or for evaluation.
YamlNode trl_dataset(const Translation& to, const Given& given, std::string_view split_key,
                     std::string_view split) {
  YamlNode list = node_of(YamlNode::Kind::kList, given);
  list.items.push_back(node_of(YamlNode::Kind::kMap, given));
  put(list.items.back(), given, "path", given.value);
  for (const std::string_view subset : {"dataset_config", "dataset_config_name"}) {
    if (const Given* name = to.theirs(subset)) put(list.items.back(), *name, "name", name->value);
  }
  const Given* said = to.theirs(split_key);
  put(list.items.back(), given, "split", said != nullptr ? said->value : scalar_at(given, split));
  return list;
}

void dataset_name(Translation& to, const Given& given) {
  if (to.ours("datasets") != nullptr) {
    return to.refuse(given, "datasets is given beside it; keep one");
  }
  to.means(given, "datasets", trl_dataset(to, given, "dataset_train_split", "train"));
  const Given* strategy = to.theirs("eval_strategy");
  const bool evaluates = strategy != nullptr && text_of(*strategy) != "no";
  if (!evaluates || to.ours("test_datasets") != nullptr) return;
  const Given* val = to.ours("val_set_size");
  if (val != nullptr && text_of(*val) != "0") return;
  to.means(given, "test_datasets", trl_dataset(to, given, "dataset_test_split", "test"));
}

/// Keys that others of the table read.
void beside(Translation& to, const Given& given) {
  const bool read = to.theirs("dataset") != nullptr || to.theirs("eval_dataset") != nullptr ||
                    to.theirs("dataset_name") != nullptr;
  if (!read) to.not_needed(given, "there is no dataset, eval_dataset or dataset_name beside it");
}

void max_samples(Translation& to, const Given& given) {
  to.means_for_datasets(given, "max_samples", {"num_samples", "samples"});
}

void default_system(Translation& to, const Given& given) {
  to.means_for_datasets(given, "system_prompt", {});
}

void text_field(Translation& to, const Given& given) {
  if (text_of(given) == "text") return to.not_needed(given, "text is the usual column");
  to.means_for_datasets(given, "field", {"text_column"});
}

}  // namespace

std::vector<ForeignKey> keys_of_data() {
  return {
      means({"dataset"}, "datasets, as the dataset_info.json in dataset_dir (data) describes them",
            dataset),
      means({"eval_dataset"}, "test_datasets, likewise", eval_dataset),
      means({"dataset_name"},
            "datasets: path, with dataset_config as name and dataset_train_split as split; with an "
            "eval_strategy, test_datasets too, by dataset_test_split",
            dataset_name),
      means({"dataset_dir", "dataset_config", "dataset_config_name", "dataset_train_split",
             "dataset_test_split"},
            "belongs to dataset or dataset_name", beside),
      means({"max_samples", "max_train_samples"}, "max_samples of each data set", max_samples),
      means({"default_system", "default_system_message"}, "system_prompt of each data set",
            default_system),
      means({"dataset_text_field"}, "field of each data set", text_field),
  };
}

}  // namespace tessera::launch
