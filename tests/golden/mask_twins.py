"""Chat templates with {% generation %} marks, made from published ones by replacing some of their
text, so that the twin renders the same. A mark holds what the author of the template has the model
say: all that follows the generation prompt, up to the token at which generation stops."""

BEGIN, END = "{% generation %}", "{% endgeneration %}"
TRIM_BEGIN, TRIM_END = "{%- generation %}", "{%- endgeneration %}"


def marked(text):
    return BEGIN + text + END


def trimmed(text):
    return TRIM_BEGIN + text + TRIM_END


def of_assistant(role, header, body, after=""):
    """A statement that prints header, body and `after`: expressions, the same for every role."""
    rest = f"{{{{- {after} }}}}" if after else ""
    return (f"{{{{- {header} }}}}{{%- if {role} == 'assistant' %}}" + trimmed(f"{{{{- {body} }}}}")
            + f"{{%- else %}}{{{{- {body} }}}}{{%- endif %}}" + rest)


ROLE = "message['role']"
IM_HEADER = "'<|im_start|>' + message.role + '\\n'"
LLAMA3_TURN = ("{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
               "message['content'] | trim + '<|eot_id|>' }}")
LLAMA3_CALL_HEADER = "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}"
# The calls of the Qwen family begin with the line end that the generation prompt already gave.
QWEN_CALLS = [
    ("{{- '\\n<tool_call>\\n{\"name\": \"' }}",
     "{{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n{\"name\": \"' }}"),
    ("{{- '}\\n</tool_call>' }}\n        {%- endfor %}\n        {{- '<|im_end|>\\n' }}",
     "{{- '}\\n</tool_call>' }}\n        {%- endfor %}\n        {{- '<|im_end|>' }}"
     + TRIM_END + "{{- '\\n' }}"),
]
MISTRAL_CALLS = [
    ('{{- "[TOOL_CALLS] [" }}', TRIM_BEGIN + '{{- "[TOOL_CALLS] [" }}'),
    ('{{- "]" + eos_token }}\n            {%- endif %}\n        {%- endfor %}',
     '{{- "]" + eos_token }}\n            {%- endif %}\n        {%- endfor %}' + TRIM_END),
]


def glm_next(token):
    """A token that ends the turn before it where that is the assistant's."""
    return ("{%- if loop.previtem and loop.previtem.role == 'assistant' %}"
            + trimmed(f"{{{{- '{token}' }}}}") + f"{{%- else %}}{{{{- '{token}' }}}}{{%- endif %}}")


V31_END = "<｜end▁of▁sentence｜>"

# template: (old, new) in the order in which they are made
TWINS = {
    "chatml": [
        ("{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
         of_assistant(ROLE, "'<|im_start|>' + message['role'] + '\n'",
                      "message['content'] + '<|im_end|>'", "'\n'"))],
    "HuggingFaceH4-zephyr-7b-beta": [
        ("{{ '<|assistant|>\n'  + message['content'] + eos_token }}",
         "{{ '<|assistant|>\n' }}" + marked("{{ message['content'] + eos_token }}")
         + "{{ '' }}")],
    "mistralai-Mistral-7B-Instruct-v0.1": [
        ("{{ message['content'] + eos_token}}", marked("{{ message['content'] + eos_token}}"))],
    "mistralai-Mistral-7B-Instruct-v0.3": MISTRAL_CALLS + [
        ('{{- " " + content|trim + eos_token }}',
         trimmed('{{- " " + content|trim + eos_token }}'))],
    "mistralai-Mistral-Nemo-Instruct-2407": [
        (old.replace("] [", "]["), new.replace("] [", "][")) for old, new in MISTRAL_CALLS] + [
        ('{{- message["content"] + eos_token}}', trimmed('{{- message["content"] + eos_token}}'))],
    "mistralai-Mistral-Small-24B-Instruct-2501": [
        ("{{- message['content'] + eos_token }}",
         trimmed("{{- message['content'] + eos_token }}"))],
    "mistralai-Mistral-Small-3.2-24B-Instruct-2506": [
        ("{%- for tool_call in message.tool_calls %}",
         TRIM_BEGIN + "{%- for tool_call in message.tool_calls %}"),
        ("{%- endfor %}\n            {{- eos_token }}\n        {%- elif",
         "{%- endfor %}\n            {{- eos_token }}" + TRIM_END + "\n        {%- elif"),
        ("{{- message['content'] + eos_token }}",
         trimmed("{{- message['content'] + eos_token }}"))],
    "microsoft-phi-4": [
        ("{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}",
         "{{'<|im_start|>assistant<|im_sep|>'}}"
         + marked("{{message['content'] + '<|im_end|>'}}"))],
    "microsoft-Phi-4-mini-instruct": [
        ("{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}",
         "{% else %}" + of_assistant(ROLE, "'<|' + message['role'] + '|>'",
                                     "message['content'] + '<|end|>'"))],
    "meta-llama-Llama-2-7b-chat-hf": [
        ("{{ ' '  + content.strip() + ' ' + eos_token }}",
         marked("{{ ' '  + content.strip() + ' ' + eos_token }}"))],
    "meta-llama-Llama-3.1-8B-Instruct": [
        (LLAMA3_TURN, of_assistant(
            ROLE, "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'",
            "message['content'] | trim + '<|eot_id|>'")),
        ("{%- if builtin_tools is defined and tool_call.name in builtin_tools %}\n            "
         + LLAMA3_CALL_HEADER,
         LLAMA3_CALL_HEADER + TRIM_BEGIN
         + "{%- if builtin_tools is defined and tool_call.name in builtin_tools %}"),
        ("{%- else  %}\n            " + LLAMA3_CALL_HEADER, "{%- else  %}"),
        ("{%- else %}\n            {{- \"<|eot_id|>\" }}\n        {%- endif %}",
         "{%- else %}\n            {{- \"<|eot_id|>\" }}\n        {%- endif %}" + TRIM_END)],
    "meta-llama-Llama-3.2-3B-Instruct": [
        (LLAMA3_TURN, of_assistant(
            ROLE, "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'",
            "message['content'] | trim + '<|eot_id|>'")),
        (LLAMA3_CALL_HEADER, LLAMA3_CALL_HEADER + TRIM_BEGIN),
        ('{{- "}" }}\n        {{- "<|eot_id|>" }}', '{{- "}<|eot_id|>" }}' + TRIM_END)],
    # A turn ends with the token that begins the next one.
    "zai-org-GLM-4.6": [
        ("{%- if m.role == 'user' -%}<|user|>\n", "{%- if m.role == 'user' -%}"
         + glm_next("<|user|>") + "{{- '\\n' }}"),
        ("    {{- '<|observation|>' }}", "    " + glm_next("<|observation|>")),
        ("<|assistant|>\n{%- set reasoning_content = '' %}",
         "<|assistant|>\n{%- set reasoning_content = '' %}" + TRIM_BEGIN),
        ("</tool_call>{% endfor %}\n{% endif %}",
         "</tool_call>{% endfor %}\n{% endif %}" + TRIM_END),
    ],
    "ibm-granite-granite-3.3-2b-instruct": [
        ("{{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + "
         "'<|end_of_text|>\n' }}",
         of_assistant(ROLE, "'<|start_of_role|>' + message['role'] + '<|end_of_role|>'",
                      "message['content'] + '<|end_of_text|>'", "'\n'"))],
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": [
        ("{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}",
         of_assistant("message.role", IM_HEADER, "message.content + '<|im_end|>'", "'\\n'")),
        ("{{- '<|im_start|>' + message.role }}\n    {%- for",
         "{{- " + IM_HEADER + " }}" + TRIM_BEGIN + "{%- for"),
        ("{{- '\n<tool_call>\n' }}", "{{- ('' if loop.first else '\\n') + '<tool_call>\\n' }}"),
        ("{{- '<|im_end|>\n' }}\n    {%- elif",
         "{{- '<|im_end|>' }}" + TRIM_END + "{{- '\\n' }}\n    {%- elif")],
    "deepseek-ai-DeepSeek-V3.1": [
        ("{{message['content'] + '" + V31_END + "'}}",
         trimmed("{{message['content'] + '" + V31_END + "'}}")),
        ("{{content + '" + V31_END + "'}}", trimmed("{{content + '" + V31_END + "'}}")),
        ("{%- for tool in message['tool_calls'] %}",
         TRIM_BEGIN + "{%- for tool in message['tool_calls'] %}"),
        ("{{'<｜tool▁calls▁end｜>" + V31_END + "'}}",
         "{{'<｜tool▁calls▁end｜>" + V31_END + "'}}" + TRIM_END)],
    "openchat-openchat-3.5": [
        ("{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + "
         "'<|end_of_turn|>'}}",
         of_assistant(ROLE, "'GPT4 Correct ' + message['role'].title() + ':'",
                      "' ' + message['content'] + '<|end_of_turn|>'"))],
    # The generation prompt opens the thought that some answers begin with.
    "Qwen-QwQ-32B": [
        ("{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}",
         "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"),
        ("{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}",
         "{{- " + IM_HEADER + " }}{%- set opened = content.startswith('<think>\\n') %}"
         "{{- '<think>\\n' if opened else '' }}"
         + trimmed("{{- (content[8:] if opened else content) + '<|im_end|>' }}") + "{{- '\\n' }}"),
        ("{{- '<|im_start|>' + message.role }}\n        {%- if message.content %}\n"
         "            {{- '\\n' + content }}",
         "{{- " + IM_HEADER + " }}" + TRIM_BEGIN + "\n        {%- if message.content %}\n"
         "            {{- content }}"),
    ] + QWEN_CALLS,
    "Qwen-Qwen3-Coder-30B-A3B-Instruct": [
        ("message.tool_calls | length > 0 %}\n        {{- '<|im_start|>' + message.role }}",
         "message.tool_calls | length > 0 %}\n        {{- " + IM_HEADER + " }}" + TRIM_BEGIN
         + "{%- set says = message.content is defined and message.content is string and "
         "message.content | trim | length > 0 %}"),
        ("{{- '\\n' + message.content | trim + '\\n' }}",
         "{{- message.content | trim + '\\n' }}"),
        ("{{- '\\n<tool_call>\\n<function=' + tool_call.name + '>\\n' }}",
         "{{- ('\\n' if says or not loop.first else '') + '<tool_call>\\n<function=' + "
         "tool_call.name + '>\\n' }}"),
        ("{%- endfor %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"user\"",
         "{%- endfor %}\n        {{- '<|im_end|>' }}" + TRIM_END
         + "{{- '\\n' }}\n    {%- elif message.role == \"user\""),
        ("message.role == \"assistant\" %}\n        {{- '<|im_start|>' + message.role + '\\n' + "
         "message.content + '<|im_end|>' + '\\n' }}",
         "message.role == \"assistant\" %}\n        "
         + of_assistant("message.role", IM_HEADER, "message.content + '<|im_end|>'", "'\\n'"))],
    "bigcode-starcoder2-15b-instruct": [
        ("{{'### Response\n' + message['content'] + eos_token + '\n\n'}}",
         "{{'### Response\n'}}" + marked("{{ message['content'] + eos_token }}") + "{{'\n\n'}}")],
    "upstage-SOLAR-10.7B-Instruct": [
        ("{{'### Assistant:\n'  + message['content']}}",
         "{{'### Assistant:\n'}}" + marked("{{ message['content'] }}"))],
    "meetkai-functionary-medium-v3.1": [
        ("'<|end_header_id|>\\n\\n'}}\n        {%- if message['content'] -%}",
         "'<|end_header_id|>\\n\\n'}}{%- generation -%}{%- if message['content'] -%}"),
        ("{{ '<|eot_id|>' }}\n        {%- endif -%}",
         "{{ '<|eot_id|>' }}\n        {%- endif -%}{%- endgeneration -%}")],
    "mistralai-Ministral-3-14B-Reasoning-2512": [
        ("{%- if message['content'] is string and message['content'] != '' %}\n            "
         "{{- message['content'] }}\n        {%- elif message['content'] | length > 0 %}\n"
         "            {%- for block in message['content'] %}\n                "
         "{%- if block['type'] == 'text' %}\n                    {{- block['text'] }}\n"
         "                {%- elif block['type'] == 'thinking' %}",
         TRIM_BEGIN + "{%- if message['content'] is string %}{{- message['content'] }}"
         "{%- elif message['content'] | length > 0 %}{%- for block in message['content'] %}"
         "{%- if block['type'] == 'text' %}{{- block['text'] }}"
         "{%- elif block['type'] == 'thinking' %}"),
        ("{{- eos_token }}", "{{- eos_token }}" + TRIM_END)],
    "nvidia-Nemotron-Nano-9B-v2": [
        ("{{- '<SPECIAL_11>Assistant\n' + ((content | default('', true)).strip() if content is not "
         "none else '') }}",
         "{{- '<SPECIAL_11>Assistant\n' }}" + TRIM_BEGIN
         + "{{- (content | default('', true)).strip() if content is not none else '' }}"),
        ("{{- '\n<SPECIAL_12>\n' -}}\n  {%- endif -%}\n{%- endfor -%}",
         "{{- '\n<SPECIAL_12>' -}}{%- endgeneration -%}{{- '\n' -}}\n  {%- endif -%}\n{%- endfor -%}"),
        ("{{- ns.last_turn_assistant_content -}}\n    {%- if continue_final_message is defined -%}",
         "{%- generation -%}{{- ns.last_turn_assistant_content -}}\n"
         "    {%- if continue_final_message is defined -%}"),
        ("{%- else -%}\n      {{- '\n<SPECIAL_12>\n' -}}\n    {%- endif -%}",
         "{%- else -%}{{- '\n<SPECIAL_12>' -}}{%- endif -%}{%- endgeneration -%}{{- '\n' -}}"),
        ("{{- '<TOOLCALL>[' -}}\n    {%- for call in ns.last_turn_assistant_tool_calls -%}",
         "{%- generation -%}{{- '<TOOLCALL>[' -}}\n"
         "    {%- for call in ns.last_turn_assistant_tool_calls -%}"),
        ("{{- '<SPECIAL_12>\n\n' -}}",
         "{{- '<SPECIAL_12>' -}}{%- endgeneration -%}{{- '\n\n' -}}")],
    "deepseek-ai-deepseek-coder-6.7b-instruct": [
        ("{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}",
         "{{'### Response:\\n'}}" + marked("{{ message['content'] + '\\n<|EOT|>'}}")
         + "{{'\\n'}}")],
    "mistral-common-v13": [
        ("{%- if message['content'] %}\n            {{- render_content(content=message['content'], "
         "context_name='assistant message contents') -}}",
         TRIM_BEGIN + "{%- if message['content'] %}{{- render_content("
         "content=message['content'], context_name='assistant message contents') -}}"),
        ("{{- eos_token }}", "{{- eos_token }}" + TRIM_END)],
    # A turn ends with the token that begins the next one.
    "zai-org-chatglm": [
        ("[gMASK]sop<|{{ message['role'] }}|>\n {{ message['content'] }}{% else %}"
         "<|{{ message['role'] }}|>\n {{ message['content'] }}{% endif %}",
         "[gMASK]sop{% endif %}" + glm_next("<|' + message['role'] + '|>")
         + "{%- if message['role'] == 'assistant' %}" + trimmed("{{- '\n ' + message['content'] }}")
         + "{%- else %}{{- '\n ' + message['content'] }}{%- endif %}")],
    "moonshotai-Kimi-K2-Instruct": [
        ("{%- if message['role'] == 'assistant' and message.get('tool_calls') -%}",
         "{%- set body -%}{%- if message['role'] == 'assistant' and message.get('tool_calls') -%}"),
        ("    {%- endfor -%}\n  {%- endif -%}\n  <|im_end|>",
         "    {%- endfor -%}\n  {%- endif -%}{%- endset -%}{%- if message['role'] == 'assistant' "
         "-%}{% generation %}{{ body + '<|im_end|>' }}{% endgeneration %}{%- else -%}"
         "{{ body + '<|im_end|>' }}{%- endif -%}")],
}


def twin_of(name, text):
    """The template with marks. ValueError where the text is not the one that was patched."""
    text = text.replace("\r\n", "\n")
    for old, new in TWINS[name]:
        if text.count(old) != 1:
            raise ValueError(f"{name}: {text.count(old)} times {old!r}")
        text = text.replace(old, new)
    return text
