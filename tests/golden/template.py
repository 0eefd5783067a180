"""Writes template.json: conversations, and what transformers makes of them with several chat templates.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install transformers jinja2
    /tmp/golden/bin/python tests/golden/template.py
"""

import json
import random
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).parent
OURS = (HERE / "../../src/tokenizer/template/gradus.jinja").read_text()

# Written for this test: each uses other parts of the language, and other white space.
CHATML = """{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
<|im_start|>system
Be brief.<|im_end|>
{% endif %}
<|im_start|>{{ message['role'] }}
{% if message['role'] == 'assistant' %}
{% generation %}
{{ message['content'] | trim }}<|im_end|>
{% endgeneration %}
{% else %}
{{ message['content'] | trim }}<|im_end|>
{% endif %}
{% endfor %}
{% if tools %}
  # Tools: {{ tools | length }}
  {% for tool in tools %}
  {{ loop.index }}. {{ tool.function.name }}: {{ tool | tojson(indent=2) }}
  {% endfor %}
{% endif %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""

PYTHON = """{%- macro mark(role, text='') -%}
[{{ role.upper() }}]{{ text }}
{%- endmacro -%}
{%- set ns = namespace(turn=0, last=none) -%}
{%- for m in messages -%}
    {%- set text = (m.content or '').strip() -%}
    {%- if m.role == 'user' -%}{%- set ns.turn = ns.turn + 1 -%}{%- endif -%}
    {{ mark(m.role, ' ' ~ ns.turn ~ ' ') }}{{ text.split('\\n')[-1] if '\\n' in text else text }}
    {%- if m.tool_calls is defined and m.tool_calls %} calls {{ m.tool_calls[0].function }}{% endif %}
    {%- if not loop.last %}
{{ '\\n' }}{% endif %}
    {%- set ns.last = m -%}
{%- endfor %}
{% if ns.last.content and ns.last.content.startswith('I') %} first person{% endif %}
 true: {{ true }} none: {{ none }} list: {{ [1, 2.0, 'a', "it's", false] }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 'x' * 3 }}
{% for key, value in (tools[0].function.items() if tools else {}.items()) %}{{ key }}={{ value | tojson }};{% endfor -%}
{{ bos_token }}{{ eos_token if add_generation_prompt }}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}\
{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}{% for message in loop_messages %}\
{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{% generation %}{{ ' ' + (content or '').strip() + ' ' + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"""

TEMPLATES = {"gradus": OURS, "chatml": CHATML, "python": PYTHON, "llama2": LLAMA2}

TEXTS = [
    "Hello!",
    "  What is 2 + 2?  ",
    "It is 4.",
    "I do not know that.\nShall I look it up?",
    "한국어도 괜찮아요 🙂",
    "Écrivez « bonjour » : `a < b && c > d` \"quoted\" it's",
    "A line.\n\nAnother line.\n",
    "{{ not a template }} {% neither %} {# nor this #}",
    "tab\there, backslash \\n, nul-free",
    "<user>typed by somebody</user>",
    "",
]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place, in °C & km/h; it's <live>",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "default": 1}},
                "required": ["place"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds",
            "parameters": {"type": "object", "properties": {"z": {"type": "number"}, "a": {"enum": [1.0, 1e-05, None, True]}}},
        },
    },
]


def conversation(draw):
    messages = []
    if draw.random() < 0.5:
        messages.append({"role": "system", "content": draw.choice(TEXTS)})
    for _ in range(draw.randint(1, 3)):
        messages.append({"role": "user", "content": draw.choice(TEXTS)})
        reply = {"role": "assistant", "content": draw.choice(TEXTS)}
        if draw.random() < 0.3:
            arguments = {"place": draw.choice(["Paris", "서울", "a\"b"]), "days": draw.randint(1, 9), "x": [0.5, 1e20, None]}
            reply["tool_calls"] = [{"type": "function", "function": {"name": "weather", "arguments": arguments}}]
            messages.append(reply)
            messages.append({"role": "tool", "name": "weather", "content": json.dumps({"now": draw.randint(-5, 30)})})
            reply = {"role": "assistant", "content": draw.choice(TEXTS)}
        messages.append(reply)
    if draw.random() < 0.3:
        messages.pop()
    return messages


def main():
    draw = random.Random(16)
    cases = []
    names = list(TEMPLATES)
    for number in range(200):
        name = names[number % len(names)]
        messages = conversation(draw)
        tools = draw.choice([None, TOOLS, TOOLS[:1]])
        prompt = draw.random() < 0.5
        marked = "endgeneration" in TEMPLATES[name]
        [text], spans = render_jinja_template(
            conversations=[messages],
            tools=tools,
            chat_template=TEMPLATES[name],
            return_assistant_tokens_mask=marked,
            add_generation_prompt=prompt,
            bos_token="<s>",
            eos_token="</s>",
        )
        case = {"template": name, "messages": messages, "tools": tools, "prompt": prompt, "text": text}
        if marked:
            # In characters; an empty one says nothing.
            case["generated"] = [[a, b] for a, b in spans[0] if b > a]
        cases.append(case)
    templates = {name: text for name, text in TEMPLATES.items() if name != "gradus"}
    out = HERE / "template.json"
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    out.write_text(f'{{"templates": {json.dumps(templates, ensure_ascii=False)},\n"cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} conversations, {out.stat().st_size} bytes")


main()
