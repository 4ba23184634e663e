#include "launch/text/chat_template_texts.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kChatMl =
    R"({% for message in messages %}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}
)";

constexpr std::string_view kLlama3 =
    R"({{ bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
{{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
)";

/// The wording of the Stanford Alpaca release. A system message takes the place of the first
/// paragraph.
constexpr std::string_view kAlpaca =
    R"({% if messages[0].role == 'system' %}
{{ messages[0].content }}
{%- else %}
Below is an instruction that describes a task. Write a response that appropriately completes the request.
{%- endif %}
{% for message in messages %}
{% if message.role == 'user' %}
{{- '\n\n### Instruction:\n' + message.content }}
{%- elif message.role == 'assistant' %}
{{- '\n\n### Response:\n' + message.content + eos_token }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{- '\n\n### Response:\n' }}
{%- endif %}
)";

constexpr std::string_view kGemma =
    R"({{ bos_token }}
{%- if messages[0].role == 'system' %}
{%- set opening = messages[0].content | trim + '\n\n' %}
{%- set turns = messages[1:] %}
{%- else %}
{%- set opening = '' %}
{%- set turns = messages %}
{%- endif %}
{%- for message in turns %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('gemma has user and assistant in turns, and system first') }}
{%- endif %}
{%- set role = 'model' if message.role == 'assistant' else message.role %}
{{- '<start_of_turn>' + role + '\n' + (opening if loop.first else '') }}
{{- message.content | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<start_of_turn>model\n' }}
{%- endif %}
)";

constexpr std::string_view kMistral =
    R"({{ bos_token }}
{%- if messages[0].role == 'system' %}
{%- set opening = messages[0].content + '\n\n' %}
{%- set turns = messages[1:] %}
{%- else %}
{%- set opening = '' %}
{%- set turns = messages %}
{%- endif %}
{%- for message in turns %}
{%- if message.role == 'user' and loop.index0 % 2 == 0 %}
{{- '[INST] ' + (opening if loop.last or loop.index0 == turns | length - 2 else '') }}
{{- message.content + '[/INST]' }}
{%- elif message.role == 'assistant' and loop.index0 % 2 == 1 %}
{{- ' ' + message.content + eos_token }}
{%- else %}
{{- raise_exception('mistral has user and assistant in turns, and system first') }}
{%- endif %}
{%- endfor %}
)";

constexpr std::string_view kPhi3 =
    R"({% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}
)";

constexpr std::string_view kZephyr =
    R"({% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}
)";

constexpr std::string_view kVicuna =
    R"({% if messages[0].role == 'system' %}
{{ messages[0].content + ' ' }}
{%- else %}
{{ "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. " }}
{%- endif %}
{% for message in messages %}
{% if message.role == 'user' %}
{{- 'USER: ' + message.content + ' ' }}
{%- elif message.role == 'assistant' %}
{{- 'ASSISTANT: ' + message.content + eos_token }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{- 'ASSISTANT:' }}
{%- endif %}
)";

constexpr NamedTemplate kNamed[] = {
    {"chatml", kChatMl, {"<|im_start|>", "<|im_end|>"}},
    {"llama3", kLlama3, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, true},
    {"alpaca", kAlpaca, {}, false, true, true},
    {"gemma", kGemma, {"<start_of_turn>", "<end_of_turn>"}, true},
    {"mistral", kMistral, {}, true, true},
    {"phi_3", kPhi3, {"<|user|>", "<|assistant|>", "<|end|>"}},
    {"zephyr", kZephyr, {}, false, true},
    {"vicuna", kVicuna, {}, false, true, true},
};

}  // namespace

std::span<const NamedTemplate> named_templates() { return kNamed; }

}  // namespace tessera::launch
