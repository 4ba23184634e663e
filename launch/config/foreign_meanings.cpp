// Keys of other trainers that mean something in ours, but for those of data sets, which are in
// foreign_data.cpp. See foreign_keys.h. How transformers, TRL, axolotl and LLaMA-Factory read each
// is what counts.
#include <algorithm>

#include "launch/config/translation.h"

namespace tessera::launch {

namespace {

constexpr std::string_view kComputeDtype = "bnb_4bit_compute_dtype";

/// Half precision speeds a GPU up. A CPU has float32, which is nearer to exact, for the same time.
void bf16(Translation& to, const Given& given) {
  const std::string_view text = text_of(given);
  if (text == "auto" || text == "full" || bool_of(given) == true) {
    return to.means(given, kComputeDtype, "auto");
  }
  if (bool_of(given) == false) return to.implies(given, kComputeDtype, "float32");
  to.refuse(given, "set bnb_4bit_compute_dtype: auto, float32, bfloat16 or float16");
}

void fp16(Translation& to, const Given& given) {
  if (bool_of(given) == true) return to.means(given, kComputeDtype, "float16");
  if (bool_of(given) == false) return;
  to.refuse(given, "set bnb_4bit_compute_dtype: auto, float32, bfloat16 or float16");
}

/// Of the weights as they are loaded, which says how to compute where no other key does.
void torch_dtype(Translation& to, const Given& given) {
  std::string_view text = text_of(given);
  if (text.starts_with("torch.")) text.remove_prefix(std::string_view("torch.").size());
  if (text == "auto") return to.not_needed(given, "bnb_4bit_compute_dtype is auto");
  if (text == "bfloat16") return to.implies(given, kComputeDtype, "auto");
  if (text == "float16" || text == "float32") return to.implies(given, kComputeDtype, text);
  to.refuse(given, "set bnb_4bit_compute_dtype: auto, float32, bfloat16 or float16");
}

void finetuning_type(Translation& to, const Given& given) {
  if (text_of(given) != "lora") {
    return to.refuse(given, "only adapters are trained; set adapter: qlora or lora");
  }
  to.means(given, "adapter", to.has_four_bits() ? "qlora" : "lora");
}

void use_peft(Translation& to, const Given& given) {
  if (bool_of(given) != true) return to.refuse(given, "only adapters are trained; remove it");
  to.means(given, "adapter", to.has_four_bits() ? "qlora" : "lora");
}

void quantization_method(Translation& to, const Given& given) {
  const std::string_view text = text_of(given);
  if (text == "bnb" || text == "bitsandbytes") {
    return to.not_needed(given, "the 4-bit codes are those of bitsandbytes");
  }
  to.refuse(given, "the 4-bit codes are those of bitsandbytes (bnb)");
}

/// axolotl's map of keys of bitsandbytes.
void bnb_config(Translation& to, const Given& given) {
  if (given.value.kind != YamlNode::Kind::kMap) return to.refuse(given, "expected a map");
  for (const YamlEntry& entry : given.value.entries) {
    const Given inner = {fmt::format("{}.{}", given.spelling, entry.key), entry.place, entry.value};
    if (entry.key == "bnb_4bit_quant_type" || entry.key == "bnb_4bit_use_double_quant" ||
        entry.key == kComputeDtype) {
      to.means(inner, entry.key, entry.value);
    } else if (entry.key == "bnb_4bit_quant_storage" || entry.key.starts_with("llm_int8_")) {
      to.not_needed(inner, "it changes no 4-bit number");
    } else if (entry.key != "load_in_4bit" && entry.value.kind != YamlNode::Kind::kNull) {
      to.refuse(inner, "set the keys of the group Quantization");
    }
  }
}

/// A tokenizer or a config of its own, which is the checkpoint's if it has the same name.
void of_the_checkpoint(Translation& to, const Given& given) {
  const Given* model = to.ours("base_model");
  if (model != nullptr && text_of(*model) == text_of(given)) {
    return to.not_needed(given, "it is the checkpoint's own");
  }
  to.refuse(given, "the checkpoint's own is used; put the files you want into its folder");
}

/// TRL's name for one of the tokenizer's tokens.
void eos_token(Translation& to, const Given& given) {
  YamlNode map = scalar_at(given, "");
  map.kind = YamlNode::Kind::kMap;
  map.entries.push_back({"eos_token", given.place, given.value});
  to.means(given, "special_tokens", std::move(map));
}

struct Templated {
  std::vector<std::string_view> names;
  std::string_view ours;
};

/// "default" of LLaMA-Factory.
constexpr std::string_view kDefaultTemplate =
    "{% for message in messages %}{% if message.role == 'system' %}"
    "{{ 'System: ' + message.content + eos_token + '\\n' }}{% elif message.role == 'user' %}"
    "{{ 'Human: ' + message.content + eos_token + '\\nAssistant:' }}{% else %}"
    "{{ message.content + eos_token + '\\n' }}{% endif %}{% endfor %}";

const std::vector<Templated>& llama_factory_templates() {
  static const std::vector<Templated> templates = {
      {{"default"}, kDefaultTemplate},
      {{"llama3"}, "llama3"},
      {{"chatml"}, "chatml"},
      {{"alpaca"}, "alpaca"},
      {{"gemma", "gemma2", "gemma3"}, "gemma"},
      {{"mistral"}, "mistral"},
      {{"phi"}, "phi_3"},
      {{"vicuna"}, "vicuna"},
      {{"zephyr"}, "zephyr"},
      // Those of one family of models, whose checkpoints bring it.
      {{"qwen",          "qwen3",    "qwen3_nothink", "deepseek3", "deepseekr1", "glm4",
        "glm4_moe",      "gpt_oss",  "granite3",      "granite4",  "phi4",       "phi4_mini",
        "olmo",          "cohere",   "exaone",        "falcon_h1", "llama4",     "ministral",
        "mistral_small", "seed_oss", "smollm",        "smollm2",   "hunyuan",    "mimo",
        "gemma3n",       "gemma4",   "lfm2",          "yi",        "intern2",    "llama2"},
       "tokenizer_default"},
  };
  return templates;
}

void chat_template(Translation& to, const Given& given) {
  for (const auto& [names, ours] : llama_factory_templates()) {
    if (std::ranges::count(names, text_of(given)) > 0) {
      return to.means(given, "chat_template", ours);
    }
  }
  to.refuse(given, "set chat_template to tokenizer_default, a name, a Jinja file or a Jinja text");
}

/// axolotl's: chat_template is jinja then, or left out.
void chat_template_jinja(Translation& to, const Given& given) {
  const Given* name = to.ours("chat_template");
  if (name != nullptr && text_of(*name) == "jinja") to.overrides(given, "chat_template");
  to.means(given, "chat_template", given.value);
}

void enable_thinking(Translation& to, const Given& given) {
  YamlNode map = scalar_at(given, "");
  map.kind = YamlNode::Kind::kMap;
  map.entries.push_back({"enable_thinking", given.place, given.value});
  to.means(given, "chat_template_kwargs", std::move(map));
}

/// Whether the loss is taken on answers alone.
void answers_only(Translation& to, const Given& given) {
  if (!bool_of(given)) return to.refuse(given, "set train_on_inputs");
  to.means(given, "train_on_inputs", *bool_of(given) ? "false" : "true");
}

struct Cadenced {
  std::string_view steps, per_epoch;
};

/// What transformers makes of a strategy: it decides, and the steps beside it count for "steps".
void strategy(Translation& to, const Given& given, const Cadenced& ours,
              std::string_view usual_steps) {
  const std::string_view text = text_of(given);
  if (text == "no" || bool_of(given) == false) {
    to.overrides(given, ours.steps);
    to.overrides(given, ours.per_epoch);
  } else if (text == "epoch") {
    if (to.overrides(given, ours.steps)) to.means(given, ours.per_epoch, "1");
  } else if (text == "steps") {
    if (to.ours(ours.per_epoch) == nullptr) to.implies(given, ours.steps, usual_steps);
  } else {
    to.refuse(given, fmt::format("set {} or {}", ours.steps, ours.per_epoch));
  }
}

void save_strategy(Translation& to, const Given& given) {
  if (text_of(given) == "best") return to.refuse(given, "set load_best_model_at_end: true");
  strategy(to, given, {"save_steps", "saves_per_epoch"}, "500");
}

/// "steps" without their number means those of logging_steps.
void eval_strategy(Translation& to, const Given& given) {
  const Given* logging = to.ours("logging_steps");
  const std::string usual(logging == nullptr ? "500" : text_of(*logging));
  strategy(to, given, {"eval_steps", "evals_per_epoch"}, usual);
}

/// Of a key that asks for something by true, and for nothing by false.
bool says_yes(Translation& to, const Given& given) {
  if (!bool_of(given)) to.refuse(given, "expected true or false");
  return bool_of(given) == true;
}

void disable_checkpointing(Translation& to, const Given& given) {
  if (says_yes(to, given)) to.means(given, "gradient_checkpointing", "false");
}

void unsloth_checkpointing(Translation& to, const Given& given) {
  if (says_yes(to, given)) to.means(given, "gradient_checkpointing", "offload");
}

void auto_resume(Translation& to, const Given& given) {
  if (says_yes(to, given)) to.means(given, "resume_from_checkpoint", "auto");
}

void on_cpu(Translation& to, const Given& given) {
  if (says_yes(to, given)) to.means(given, "device", "cpu");
}

void tensorboard(Translation& to, const Given& given) {
  if (says_yes(to, given)) to.means(given, "report_to", "tensorboard");
}

/// axolotl's for fused kernels; others change what is trained.
void plugins(Translation& to, const Given& given) {
  for (const YamlNode& item : given.value.items) {
    const bool kernels = item.text.find("liger.LigerPlugin") != item.text.npos ||
                         item.text.find("CutCrossEntropyPlugin") != item.text.npos;
    if (!kernels) return to.refuse(given, "only plugins for kernels are not needed; remove it");
  }
  to.not_needed(given, "the kernels are built in; the numbers do not depend on them");
}

}  // namespace

std::vector<ForeignKey> keys_with_meaning() {
  std::vector<ForeignKey> all = {
      means({"finetuning_type"}, "lora: adapter: qlora with quantization_bit: 4, else lora",
            finetuning_type),
      means({"use_peft"}, "true: adapter: qlora with load_in_4bit: true, else lora", use_peft),
      means({"quantization_method"}, "bnb is not needed; others are errors", quantization_method),
      means({"bnb_config_kwargs"}, "its keys are ours", bnb_config),
      means({"fp16", "float16"}, "true: bnb_4bit_compute_dtype: float16", fp16),
      means({"bf16", "bfloat16", "pure_bf16"},
            "true and auto: bnb_4bit_compute_dtype: auto; false: float32, where nothing else says "
            "it",
            bf16),
      means({"torch_dtype", "dtype", "model_dtype"},
            "bnb_4bit_compute_dtype, where nothing else says it; bfloat16 is auto", torch_dtype),
      means({"tokenizer_config", "base_model_config", "tokenizer_name_or_path"},
            "base_model, which it must be", of_the_checkpoint),
      means({"eos_token"}, "special_tokens.eos_token", eos_token),
      means({"template"}, "chat_template", chat_template),
      means({"chat_template_jinja"}, "chat_template", chat_template_jinja),
      means({"enable_thinking"}, "chat_template_kwargs: {enable_thinking: ...}", enable_thinking),
      means({"assistant_only_loss", "completion_only_loss"}, "train_on_inputs, the other way round",
            answers_only),
      means({"eval_strategy", "evaluation_strategy"},
            "no: neither eval_steps nor evals_per_epoch; epoch: evals_per_epoch: 1; steps: "
            "eval_steps, or logging_steps where they are left out",
            eval_strategy),
      means({"save_strategy"},
            "no: neither save_steps nor saves_per_epoch; epoch: saves_per_epoch: 1; steps: "
            "save_steps, or 500 where they are left out",
            save_strategy),
      means({"disable_gradient_checkpointing"}, "true: gradient_checkpointing: false",
            disable_checkpointing),
      means({"use_unsloth_gc"}, "true: gradient_checkpointing: offload", unsloth_checkpointing),
      means({"auto_resume_from_checkpoints"}, "true: resume_from_checkpoint: auto", auto_resume),
      means({"use_cpu", "no_cuda"}, "true: device: cpu", on_cpu),
      means({"use_tensorboard"}, "true: report_to: tensorboard", tensorboard),
      means({"plugins"}, "those of Liger and Cut Cross Entropy are not needed; others are errors",
            plugins),
  };
  const std::vector<ForeignKey> data = keys_of_data();
  all.insert(all.end(), data.begin(), data.end());
  return all;
}

const std::vector<ForeignValue>& foreign_values() {
  static constexpr std::string_view kTrackers =
      "metrics.jsonl in output_dir holds the numbers; tensorboard gives files that it reads";
  static constexpr std::string_view kOwnTemplate = "it is the checkpoint's own";
  static const std::vector<ForeignValue> values = {
      {"max_steps", {"-1"}, "null", ""},
      {"logging_dir", {"none"}, "null", ""},
      {"report_to",
       {"all", "wandb", "mlflow", "comet_ml", "swanlab", "trackio", "clearml", "neptune", "dvclive",
        "azure_ml", "codecarbon", "flyte", "dagshub"},
       "none",
       kTrackers},
      {"optimizer",
       {"adamw_torch_4bit", "ao_adamw_4bit"},
       "adamw_8bit",
       "its state is nearer to exact"},
      {"optimizer", {"ao_adamw_8bit"}, "adamw_8bit", ""},
      {"optimizer",
       {"adamw_apex_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_anyprecision",
        "ao_adamw_fp8"},
       "adamw",
       "its state is float32"},
      {"chat_template",
       {"tokenizer_default_fallback_chatml", "tokenizer_default_fallback_alpaca",
        "tokenizer_default_fallback_gemma", "tokenizer_default_fallback_llama3",
        "tokenizer_default_fallback_mistral_v1", "tokenizer_default_fallback_mistral_v2v3",
        "tokenizer_default_fallback_phi_3", "tokenizer_default_fallback_phi_35"},
       "tokenizer_default",
       "a checkpoint without a template is an error"},
      {"chat_template",
       {"gemma2",
        "gemma3",
        "gemma3n",
        "gemma4",
        "qwen_25",
        "qwen3",
        "qwen3_5",
        "mistral_v1",
        "mistral_v2v3",
        "mistral_v3_tekken",
        "mistral_v7_tekken",
        "llama3_2_vision",
        "llama4",
        "phi_35",
        "phi_4",
        "deepseek_v2",
        "deepseek_v3",
        "cohere",
        "command_a",
        "command_a_tool_use",
        "command_a_rag",
        "jamba",
        "exaone",
        "exaone4",
        "falcon_h1",
        "aya",
        "granite",
        "granitemoe",
        "olmo",
        "smollm3"},
       "tokenizer_default",
       kOwnTemplate},
  };
  return values;
}

}  // namespace tessera::launch
