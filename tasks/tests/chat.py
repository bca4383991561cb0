"""Renders conversations with Jinja as transformers does, and documents as lm-evaluation-harness does under a template.

    python3 tasks/tests/chat.py [SHARED] > tasks/tests/chat.json

SHARED holds data/bench with the full sets. The environment is that of transformers 5.18
(utils/chat_template_utils.py), the turns those of lm-evaluation-harness 4e7e0d47f33b (lm_eval/api/task.py,
lm_eval/api/utils.py, lm_eval/models/huggingface.py) with fewshot_as_multiturn false. The templates were written for
this test in the formats of the models that they are named after.
"""

import datetime
import hashlib
import json
import os
import random
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import reference

# 2024-12-05, 08:09:07 UTC
NOW = 1733386147


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller):
        return caller()


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(format)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = strftime_now
    return made


ENVIRONMENT = environment()

LLAMA2 = """\
{% if messages[0]['role'] == 'system' %}
    {% set rules = '<<SYS>>\\n' ~ messages[0]['content'] ~ '\\n<</SYS>>\\n\\n' %}
    {% set turns = messages[1:] %}
{% else %}
    {% set rules, turns = '', messages %}
{% endif %}
{% for turn in turns %}
    {% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Turns have to go from user to assistant and back.') }}
    {% endif %}
    {% set said = rules + turn['content'] if loop.first else turn['content'] %}
    {%- if turn['role'] == 'user' -%}
        {{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}
    {%- elif turn['role'] == 'assistant' -%}
        {{ ' ' + said.strip() + ' ' + eos_token }}
    {%- endif -%}
{% endfor %}
"""

CODE_LLAMA = """\
{%- set ns = namespace(rules='', asked=0) -%}
{%- for turn in messages if turn.role == 'system' -%}
  {%- set ns.rules = ns.rules ~ turn.content|trim ~ '\\n' -%}
{%- endfor -%}
{%- for turn in messages|rejectattr('role', 'equalto', 'system') -%}
  {%- if turn.role == 'user' -%}
    {%- set ns.asked = ns.asked + 1 -%}
    {{- bos_token }}[INST] {% if ns.asked == 1 and ns.rules %}<<SYS>>
{{ ns.rules }}<</SYS>>

{% endif %}{{ turn.content.rstrip() }} [/INST]
  {%- else -%}
    {{- ' ' ~ turn.content|trim ~ ' ' ~ eos_token -}}
  {%- endif -%}
{%- endfor -%}
"""

LLAMA31 = """\
{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set rules = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
    {%- endfor %}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- rules }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("Only one call at a time.") }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

LLAMA32 = LLAMA31.replace(
    """    {%- set date_string = strftime_now("%d %b %Y") %}
""",
    """    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
""",
)

QWEN2 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' ~ tools|tojson ~ '<|im_end|>\\n' }}
{%- elif messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role }}{{ '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

MISTRAL = """\
{{ bos_token }}{% for message in messages %}{% if message['role'] not in ['user', 'assistant'] %}\
{{ raise_exception('There are no ' ~ message['role'] ~ ' turns.') }}{% endif %}\
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}
"""

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# What templates in use do here and there, one thing a line.
IDIOMS = {
    "generation": "{% for m in messages %}\n  {% generation %}\n{% set x = m.content %}{{ x }}\n"
    "  {%- endgeneration -%}\n {{ x is defined }}\n{% endfor %}",
    "loop controls": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
    "{% if m.role == 'assistant' %}{% break %}{% endif %}{% endfor %}",
    "json": "{{ messages|tojson }}{{ messages[0]|tojson(indent=2) }}{{ {'b': [1, 2.5, 1e20, none, true, '<&>\\'é\\u2028'],"
    " 'a': {}, 'c': [], '1': 0.1}|tojson }}",
    "json options": "{{ {'b': 'é😀\\x7f', 'a': [1, {'x': -0.0}]}|tojson(sort_keys=true, ensure_ascii=true, "
    "separators=(',', ':')) }}{{ [1, [], [2, {}]]|tojson(indent=3) }}{{ 'é'|tojson(true) }}",
    "macros": "{% macro turn(m, close=true) -%}\n<{{ m.role }}>{{ m.content }}{% if close %}</{{ m.role }}>{% endif %}\n"
    "{%- endmacro %}{% for m in messages %}{{ turn(m, close=not loop.last) }}{% endfor %}",
    "namespace": "{% set ns = namespace(last=-1, said=[], found=false) %}{% for m in messages[::-1] %}"
    "{% set ns.said = ns.said + [m.content] %}{% if not ns.found and m.role == 'user' %}"
    "{% set ns.found = true %}{% set ns.last = messages|length - 1 - loop.index0 %}{% endif %}{% endfor %}"
    "{{ ns.last }} {{ ns.said|join('/') }} {{ ns.said }}",
    "strings": "{% set s = '  A</think>b </think> c ' %}{{ s.split('</think>')[-1].lstrip() }}|{{ s.strip() }}|{{ s|trim }}|"
    "{{ s.replace('b', 'é') }}|{{ s.startswith('  A') }}|{{ s.upper()|lower }}|{{ s[2:5] }}|{{ s|length }}|{{ 'some user'.title() }}|"
    "{{ 'x' * 3 }}|{{ '\\x1c a \\x1f'.strip() }}|{{ '\\x1c a'|trim }}|{{ 'ab'.strip('b') }}|{{ '{}-{:>4}'.format(1, 'a') }}",
    "values": "{{ none }} {{ true }} {{ 1.0 }} {{ 7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 }} {{ [1, 'a', none] }} {{ {'a': 1} }} "
    "{{ (1, 'b') }} {{ missing }} {{ missing is defined }} {{ tools is none }} {{ documents is none }} "
    "{{ 'a' in 'abc' }} {{ 'role' in messages[0] }} {{ messages[0].get('x', 'none such') }}",
    "tests": "{{ 'a' is string }} {{ {} is mapping }} {{ [] is iterable }} {{ [] is sequence }} {{ 1 is number }} "
    "{{ true is boolean }} {{ none is none }} {{ 2 is even }} {{ 'x' is not string }} {{ 1 is integer }} {{ false is false }}",
    "filters": "{{ messages|map(attribute='role')|list }} {{ messages|selectattr('role', 'eq', 'user')|list|length }} "
    "{{ [3, 1, 2]|sort|join(',') }} {{ {'b': 1, 'a': 2}|dictsort }} {{ 'x'|default('y') }} {{ missing|default('y') }} "
    "{{ [1, 2]|first }} {{ [1, 2]|last }} {{ 'a\\nb'|indent(2) }} {{ 'a\\nb'|indent(width=1, first=true) }} {{ ' a\\n\\nb\\n'|indent(1, false, true) }}{{ 'a\\n\\nb'|indent }} "
    "{{ {'a': 1}.items()|list }} {{ {'a': 1}|items|list }} {{ '5'|int + 1 }} {{ [1, 1]|unique|list }} {{ 'a'|string }}",
    "dates": "{{ strftime_now('%Y-%m-%d %H:%M:%S|%a %A %w %b %B %y %I %p %f %j %U %W %G %u %V|%z%Z|%%|%c|%x|%X') }}"
    "|{{ strftime_now('%-d %-m %e %D %F %T %R %h %n%t%C %_d %k %l %Q % 100%') }}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ additional_special_tokens }}{{ unk_token }}",
    "loop": "{% for m in messages %}{{ loop.index }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}"
    "{{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem.role if loop.nextitem is defined }}"
    "{% set outer = loop %}{% for c in 'ab' %}{{ outer.index0 }}{{ outer.cycle('p', 'q') }}{{ c }}{{ loop.cycle('x', 'y') }}{% endfor %}{% else %}none{% endfor %}",
    "white space": "a  \n  {% if true %}  \n  b\n  {%- endif %}\n\n{{ 'c' }}\n  {#- d #}\n  {# e #}\ne\r\n{%+ if true %} f {% endif +%}\n g\n\n",
    "raw": "{% raw %}{{ bos_token }} {% generation %}{% endraw %}{{ '{% set a = 1 %}' }}{# {{ #}{{ \"'}}\" }}",
    "blocks": "{% filter upper %}a{{ messages[0].role }}{% endfilter %}{% set x %}b{{ eos_token }}{% endset %}{{ x }}"
    "{% set y | trim %} c {% endset %}{{ y }}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}"
    "{% macro wrap() %}<{{ caller('in') }}>{% endmacro %}{% set f = wrap %}{% call(x) f() %}{{ x }}{% endcall %}",
    "tuples": "{% set a, b = 1, (2, 3) %}{{ a }}{{ b }}{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}{{ v }}{% endfor %}"
    "{% set d = {'a': [1, (2,)]} %}{{ d }}{{ d.a[1][0] }}{{ range(3)|list }}{% set r = range(3) %}{{ r|list }}{{ r|sum }}",
    "raises": "{{ bos_token }}{% if messages|length > 1 %}{{ raise_exception('Only ' ~ 1 ~ ' turn') }}{% endif %}ok",
    "undefined attribute": "{{ messages[0].name.first }}",
    "undefined sum": "{{ 'a' + missing }}",
    "sandbox": "{{ ''.__class__.__mro__ }}",
}

TEMPLATES = {
    "llama2": LLAMA2, "codellama": CODE_LLAMA, "llama3.1": LLAMA31, "llama3.2": LLAMA32, "qwen2": QWEN2,
    "mistral": MISTRAL, "chatml": CHATML, **IDIOMS,
}  # fmt: skip

TOKENS = {
    "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "additional_special_tokens": ["<a>", "<b>"],
}  # fmt: skip

CONVERSATIONS = [
    [("user", "Write a sum in Rust.")],
    [("system", "  Be brief.\n"), ("user", " What is 2 + 2? \n")],
    [("system", "Ärger & <tags>"), ("user", "a"), ("assistant", " b "), ("user", "{{ c }} '\"\\ 😀")],
    [("user", "x"), ("assistant", "y")],
]


def render(template, messages, add_generation_prompt=True):
    variables = {**TOKENS, "messages": messages, "tools": None, "documents": None}
    return ENVIRONMENT.from_string(template).render(**variables, add_generation_prompt=add_generation_prompt)


def rendered(template, messages, add_generation_prompt):
    try:
        return {"text": render(template, messages, add_generation_prompt)}
    except jinja2.exceptions.SecurityError:
        return {"error": "failed"}
    except jinja2.exceptions.UndefinedError:
        return {"error": "failed"}
    except jinja2.exceptions.TemplateError as error:
        return {"error": "raised", "message": str(error)}


def conversations():
    for name, template in TEMPLATES.items():
        for turns in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in turns]
            for prompt in (False, True):
                yield {
                    "template": name, "messages": turns, "add_generation_prompt": prompt,
                    **rendered(template, messages, prompt),
                }  # fmt: skip


# lm-evaluation-harness with a template


def apply_chat_template(template, history):
    try:
        return render(template, history)
    except jinja2.exceptions.TemplateError:
        return render(template, [message for message in history if message["role"] != "system"])


def singleturn(template, description, shots, question):
    history = [{"role": "system", "content": description}] if description else []
    return apply_chat_template(template, [*history, {"role": "user", "content": shots + question}])


def chat_requests(name, template, requests, doc, shots):
    """`requests` gives (context, *rest) as without a template; the context begins with description and examples."""
    description = ""
    if name == "mmlu":
        subject = " ".join(doc["subject"].split("_"))
        description = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    for context, *rest in requests(doc, shots):
        assert context.startswith(description + shots)
        question = context[len(description + shots) :]
        if name not in GENERATED:
            # target_delimiter is "" under a template
            (continuation,) = rest
            assert continuation.startswith(" ")
            rest = [continuation[1:]]
        yield singleturn(template, description, shots, question), *rest


GENERATED = {"humaneval", "humaneval_stripped", "gsm8k"} | {name for name in reference.TASKS if name.startswith("multiple-")}


def hashes(name, template, docs, pool, n, limit):
    (doc_of, shot, requests, _), *_ = reference.TASKS[name]
    docs, pool = [doc_of(doc) for doc in docs], [doc_of(doc) for doc in pool or []]
    rnd = random.Random(1234)
    total = hashlib.sha256()
    taken = {}
    for doc in docs:
        subject = doc.get("subject")
        if limit is not None and taken.get(subject, 0) >= limit:
            continue
        taken[subject] = taken.get(subject, 0) + 1
        shots = reference.few_shot(name, shot, pool, doc, n, rnd)
        for request in chat_requests(name, TEMPLATES[template], requests, doc, shots):
            for text in request:
                total.update(f"{len(text.encode())}:{text}".encode())
    return {
        "task": name, "template": template, "num_fewshot": n, "limit": limit, "documents": sum(taken.values()),
        "requests": total.hexdigest(),
    }  # fmt: skip


def main():
    shared = sys.argv[1] if len(sys.argv) > 1 else None
    found = {"conversations": list(conversations()), "bundled": [], "full": []}
    for name, (task, documents, pool, (bundled, bundled_pool), _) in reference.TASKS.items():
        path = lambda file: os.path.join(reference.BUNDLED, file + ".jsonl")
        docs, examples = reference.rows(path(bundled)), reference.rows(path(bundled_pool)) if bundled_pool else None
        shots = [0] if not examples else [0, 1]
        # Mistral's takes no system message, so that MMLU's description is left out.
        for template in ("llama2", "llama3.1", "mistral"):
            found["bundled"] += [hashes(name, template, docs, examples, n, None) for n in shots]
        if shared and not name.startswith("multiple-"):
            path = lambda file: os.path.join(shared, "data", "bench", file + ".jsonl")
            docs, examples = reference.rows(path(documents)), reference.rows(path(pool)) if pool else None
            found["full"].append(hashes(name, "llama3.1", docs, examples, 2 if examples else 0, 20))
    lines = {part: ",\n".join("    " + json.dumps(case) for case in cases) for part, cases in found.items()}
    templates = json.dumps(TEMPLATES, indent=2).replace("\n", "\n  ")
    body = ",\n".join(f'  "{part}": [\n{text}\n  ]' for part, text in lines.items())
    print("{\n" + f'  "now": {NOW},\n  "templates": {templates},\n  "tokens": {json.dumps(TOKENS)},\n' + body + "\n}")


if __name__ == "__main__":
    main()
