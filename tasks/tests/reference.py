"""Renders what models are asked with Jinja and Python's random module, independently of the crate, and writes hashes of it.

    python3 tasks/tests/reference.py [SHARED] > tasks/tests/reference.json

SHARED holds data/bench with the full sets; without it, only the bundled questions are hashed. The templates and
draws are those of lm-evaluation-harness 4e7e0d47f33b (lm_eval/tasks/*/*.yaml, lm_eval/api/samplers.py of v0.4.5).
"""

import functools
import gzip
import hashlib
import json
import os
import random
import re
import sys

from jinja2 import Environment, StrictUndefined

TEMPLATE = functools.cache(Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string)
HERE = os.path.dirname(os.path.abspath(__file__))
BUNDLED = os.path.join(HERE, "..", "data")


def render(template, doc):
    return TEMPLATE(template).render(**doc)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def rows(path):
    if os.path.exists(path + ".gz"):
        with gzip.open(path + ".gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def ordered(doc, *first):
    return {**{key: doc[key] for key in first if key in doc}, **doc}


# Every task: docs -> docs as the harness sees them, doc -> (text, target as shown, target, requests after the shots).


def humaneval(strip):
    def doc_of(doc):
        return ordered(doc, "task_id", "prompt", "canonical_solution", "test", "entry_point")

    def requests(doc, shots):
        text = render("{{prompt}}", doc)
        if strip:
            stop = ["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>"]
            return [(text.strip(), *stop)]
        return [(text, "\nclass", "\ndef", "\n#", "\nif", "\nprint")]

    def target(doc):
        return ("\n" if strip else "") + render("{{test}}\ncheck({{entry_point}})", doc)

    return doc_of, None, requests, target


def multiple(default):
    def requests(doc, shots):
        return [(doc["prompt"], *(doc.get("stop_tokens") or default))]

    return dict, None, requests, lambda doc: doc.get("tests", doc.get("test"))


def gsm8k():
    text = lambda doc: render("Question: {{question}}\nAnswer:", doc)
    target = lambda doc: render("{{answer}}", doc)
    shot = lambda doc: text(doc) + " " + target(doc) + "\n\n"
    return dict, shot, lambda doc, shots: [(shots + text(doc), "Question:", "</s>", "<|im_end|>")], target


def hellaswag():
    def preprocess(text):
        text = text.strip()
        text = text.replace(" [title]", ". ")
        text = re.sub("\\[.*?\\]", "", text)
        return text.replace("  ", " ")

    def doc_of(doc):
        order = "ind activity_label ctx_a ctx_b ctx endings source_id split split_type label query choices gold"
        if "ctx_a" in doc:
            context = doc["ctx_a"] + " " + doc["ctx_b"].capitalize()
            doc = {
                **doc,
                "query": preprocess(doc["activity_label"] + ": " + context),
                "choices": [preprocess(ending) for ending in doc["endings"]],
            }
        return ordered({**doc, "gold": int(doc["label"])}, *order.split())

    gold = lambda doc: doc["choices"][int(render("{{label}}", doc))]
    shot = lambda doc: render("{{query}}", doc) + " " + gold(doc) + "\n\n"
    requests = lambda doc, shots: [(shots + render("{{query}}", doc), " " + choice) for choice in doc["choices"]]
    return doc_of, shot, requests, lambda doc: render("{{label}}", doc)


def mmlu():
    template = (
        "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"
    )
    text = lambda doc: render(template, doc)
    shot = lambda doc: text(doc) + " " + "ABCD"[doc["answer"]] + "\n\n"

    def requests(doc, shots):
        subject = " ".join(doc["subject"].split("_"))
        description = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        return [(description + shots + text(doc), " " + letter) for letter in "ABCD"]

    return lambda doc: ordered(doc, "question", "subject", "choices", "answer"), shot, requests, lambda doc: str(doc["answer"])


QA = """Q: What is human life expectancy in the United States?
A: Human life expectancy in the United States is 78 years.

Q: Who was president of the United States in 1955?
A: Dwight D. Eisenhower was president of the United States in 1955.

Q: Which party did he belong to?
A: He belonged to the Republican Party.

Q: What is the square root of banana?
A: I have no comment.

Q: How does a telescope work?
A: Telescopes use lenses or mirrors to focus light and make objects appear closer.

Q: Where were the 1992 Olympics held?
A: The 1992 Olympics were held in Barcelona, Spain."""


def truthfulqa(targets):
    text = lambda doc: render("{{qa + '\n\nQ: ' + question + '\nA:'}}", {**doc, "qa": QA})
    requests = lambda doc, shots: [(text(doc), " " + choice) for choice in doc[targets]["choices"]]
    return dict, None, requests, lambda doc: "0"


def winogrande():
    target = lambda doc: doc["sentence"][doc["sentence"].index("_") + 1 :].strip()
    options = lambda doc: [doc["sentence"][: doc["sentence"].index("_")] + doc[name] for name in ("option1", "option2")]
    gold = lambda doc: {"1": 0, "2": 1}[doc["answer"]]
    shot = lambda doc: options(doc)[gold(doc)] + " " + target(doc) + "\n\n"
    return dict, shot, lambda doc, shots: [(shots + option, " " + target(doc)) for option in options(doc)], target


LANGUAGES = {
    "sh": "bash", "cs": "csharp", "cpp": "cpp", "go": "go", "java": "java", "js": "javascript", "jl": "julia",
    "py": "python", "rb": "ruby", "rs": "rust", "ts": "typescript",
}  # fmt: skip
# name: task, documents, pool, files of the bundled questions, filters
TASKS = {
    "humaneval": (humaneval(False), "humaneval", None, ("humaneval", None), 1),
    "humaneval_stripped": (humaneval(True), "humaneval", None, ("humaneval", None), 1),
    "gsm8k": (gsm8k(), "gsm8k_test", "gsm8k_train", ("gsm8k", "gsm8k_train"), 2),
    # The hub's training sets are not at hand: the documents stand in, which also shows that none is its own example.
    "hellaswag": (hellaswag(), "hellaswag_val", "hellaswag_val", ("hellaswag", "hellaswag_train"), 1),
    "mmlu": (mmlu(), "mmlu_test", "mmlu_dev", ("mmlu", "mmlu_dev"), 1),
    "truthfulqa_mc1": (truthfulqa("mc1_targets"), "truthfulqa_mc", None, ("truthfulqa", None), 1),
    "truthfulqa_mc2": (truthfulqa("mc2_targets"), "truthfulqa_mc", None, ("truthfulqa", None), 1),
    "winogrande": (winogrande(), "winogrande_dev", "winogrande_dev", ("winogrande", "winogrande_train"), 1),
}
for code, language in LANGUAGES.items():
    default = ["\ndef", "\n#", "\nif", "\nclass"] if code == "py" else None
    files = (f"multilang/multipl_e_humaneval_{language}", None, (f"multipl_e_{language}", None), 1)
    TASKS[f"multiple-{code}"] = (multiple(default), *files)


def few_shot(name, shot, pool, doc, n, rnd):
    if n == 0:
        return ""
    if name == "mmlu":
        examples = [example for example in pool if example["subject"] == doc["subject"]][:n]
        assert len(examples) == n
    else:
        # fewshot_split == test_split where neither is set
        examples = rnd.sample(pool, n if name == "gsm8k" else n + 1)
        examples = [example for example in examples if example != doc][:n]
    return "".join(map(shot, examples))


def hashes(name, docs, pool, n, limit):
    (doc_of, shot, requests, target), *_, filters = TASKS[name]
    docs, pool = [doc_of(doc) for doc in docs], [doc_of(doc) for doc in pool or []]
    rnd = random.Random(1234)
    total = hashlib.sha256()
    samples = {}
    for doc in docs:
        taken = samples.setdefault(doc.get("subject"), [])
        if limit is not None and len(taken) >= limit:
            continue
        asked = requests(doc, few_shot(name, shot, pool, doc, n, rnd))
        for text in (text for request in asked for text in request):
            total.update(f"{len(text.encode())}:{text}".encode())
        written = json.dumps(doc, indent=2, ensure_ascii=False)
        taken.append(sha(written) + sha(asked[0][0]) + sha(target(doc)))
    first = next(iter(samples.values()))
    return {
        "task": name, "num_fewshot": n, "limit": limit, "documents": sum(map(len, samples.values())),
        "requests": total.hexdigest(), "task_hash": sha("".join(first) * filters),
    }  # fmt: skip


def main():
    shared = sys.argv[1] if len(sys.argv) > 1 else None
    found = {"bundled": [], "full": []}
    for name, (task, documents, pool, (bundled, bundled_pool), _) in TASKS.items():
        path = lambda file: os.path.join(BUNDLED, file + ".jsonl")
        docs, examples = rows(path(bundled)), rows(path(bundled_pool)) if bundled_pool else None
        # Of the bundled pools, MMLU's has one example of some subjects.
        shots = [0] if not examples else [0, 1] if name == "mmlu" else [0, 2] if name != "gsm8k" else [0, 5, 6]
        found["bundled"] += [hashes(name, docs, examples, n, limit) for n in shots for limit in (None, 1)]
        if shared:
            path = lambda file: os.path.join(shared, "data", "bench", file + ".jsonl")
            docs, examples = rows(path(documents)), rows(path(pool)) if pool else None
            shots = [0] if not examples else [0, 5]
            found["full"] += [hashes(name, docs, examples, n, None) for n in shots]
            if name in ("mmlu", "gsm8k"):
                found["full"].append(hashes(name, docs, examples, 5, 3))
    lines = {part: ",\n".join("    " + json.dumps(case) for case in cases) for part, cases in found.items()}
    body = ",\n".join(f'  "{part}": [\n{text}\n  ]' for part, text in lines.items())
    print("{\n" + body + "\n}")


if __name__ == "__main__":
    main()
