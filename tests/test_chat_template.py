"""Chat templates: the texts are those of transformers, and no template hangs or breaks out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from step_llm.models.pretrained.chat_template import (
    ChatTemplate,
    ChatTemplateError,
    chat_template_from_pretrained,
    end_ids_from_pretrained,
)
from step_llm.models.weights import CheckpointError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "golden" / "chat"
GOLDEN = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module", params=TEMPLATES)
def golden(request):
    source = (FOLDER / f"{request.param}.jinja").read_text(encoding="utf-8")
    return request.param, ChatTemplate(source, GOLDEN["tokens"], timeout=60)


def test_every_golden_text_is_compared():
    names = {f"{template}: {name}" for template in TEMPLATES for name in GOLDEN["conversations"]}
    assert names == set(GOLDEN["texts"])
    assert len(TEMPLATES) == 3


@pytest.mark.parametrize("name", GOLDEN["conversations"])
def test_the_text_is_that_of_transformers(golden, name):
    title, template = golden
    assert template.render(**GOLDEN["conversations"][name]) == GOLDEN["texts"][f"{title}: {name}"]


def test_golden_texts_can_be_made_again():
    pythons = [".venv-golden/bin/python", ".venv-golden/Scripts/python.exe"]
    python = next((str(ROOT / name) for name in pythons if (ROOT / name).exists()), None)
    if python is None:
        if not importlib.util.find_spec("transformers"):
            pytest.skip("transformers is not installed, and .venv-golden is not there")
        python = sys.executable
    command = [python, str(FOLDER.parent / "make_chat.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


# Bad templates


def failure(source, messages=HELLO, timeout=30.0, **options):
    with pytest.raises(ChatTemplateError) as error:
        ChatTemplate(source, timeout=timeout).render(messages, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ ''.__class__ }}", "reads the attribute '__class__' of a str, which is not allowed"),
        ("{{ messages.__class__.__mro__ }}", "reads the attribute '__class__' of a list"),
        ("{{ ''|attr('__class__') }}", "reads the attribute '__class__' of a str"),
        ("{{ raise_exception.__globals__ }}", "reads the attribute '__globals__' of a function"),
        ("{{ cycler.__init__.__globals__.os }}", "reads the attribute '__init__'"),
        ("{{ '{0.__class__}'.format('') }}", "reads the attribute '__class__' of a str"),
        ("{{ messages.append(1) }}", "reads the attribute 'append' of a list"),
        ("{{ messages[0].update(a=1) }}", "reads the attribute 'update' of a dict"),
        ("{{ range(10 ** 9) }}", "Range too big"),
        ("{{ 'x' * 10 ** 10 }}", "it takes too much memory"),
        ("{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "writes more than 4194304"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without end"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ raise_exception('No, not so.') }}", "No, not so."),
        ("{{ nobody.knows }}", "'nobody' is undefined"),
        ("{{ messages[0].content + 1 }}", "can only concatenate str"),
        ("{% for %}", "TemplateSyntaxError: Expected an expression"),
        ("{{ messages", "TemplateSyntaxError: "),
        ("{{ " + "(" * 500 + ")" * 500 + " }}", "nested too deeply"),
    ],
)
def test_what_a_template_must_not_do(source, told):
    message = failure(source)
    assert message.startswith("the chat template fails: ")
    assert told in message
    assert "\n" not in message


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("source", [ENDLESS, "{{ 9 ** (9 ** 9) }}"], ids=["loops", "power"])
def test_a_template_without_end_is_stopped(source):
    started = time.monotonic()
    assert "did not finish within 2 s; it may loop without end" in failure(source, timeout=2)
    assert time.monotonic() - started < 30


def test_after_a_failure_the_next_one_is_rendered():
    template = ChatTemplate(f"{{% if messages[0].content %}}{ENDLESS}{{% endif %}}ok", timeout=2)
    with pytest.raises(ChatTemplateError, match="did not finish"):
        template.render(HELLO)
    template.timeout = 30
    assert template.render([{"role": "user", "content": ""}]) == "ok"
    with pytest.raises(ChatTemplateError, match="as JSON"):
        template.render([{"role": "user", "content": {1, 2}}])
    template._process.kill()
    with pytest.raises(ChatTemplateError, match="the process of the chat template ended"):
        template.render([{"role": "user", "content": ""}])
    assert template.render([{"role": "user", "content": ""}]) == "ok"


def test_no_process_is_left():
    template = ChatTemplate("")
    process = template._process
    assert process.poll() is None
    del template
    assert process.poll() is not None


def test_messages_that_are_none():
    template = ChatTemplate("")
    for wrong in (["Hello"], [{"content": "x"}], [{"role": 1, "content": "x"}]):
        with pytest.raises(ChatTemplateError, match="expected an object with a text as role"):
            template.render(wrong)


def test_the_date():
    template = ChatTemplate("{{ strftime_now('%Y') }}")
    assert 2020 < int(template.render(HELLO)) < 2200


# Folders


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, content in files.items():
            name = {"jinja": "chat_template.jinja"}.get(name, f"{name}.json")
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_where_a_folder_has_its_template(folder):
    tokens = {"eos_token": {"content": "<end>"}, "bos_token": None, "pad_token": "<pad>"}
    template = "{{ messages[0].content }}{{ bos_token }}{{ eos_token }}{{ pad_token }}"
    path = folder(tokenizer_config={**tokens, "chat_template": template})
    assert chat_template_from_pretrained(path).render(HELLO) == "Hello<end><pad>"
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": template}]
    path = folder(tokenizer_config={**tokens, "chat_template": named})
    assert chat_template_from_pretrained(path).render(HELLO) == "Hello<end><pad>"
    path = folder(jinja="the file{{ eos_token }}")  # it is the newer place
    assert chat_template_from_pretrained(path).render(HELLO) == "the file<end>"


def test_folders_without_a_template_or_with_a_bad_one(folder):
    assert chat_template_from_pretrained(folder()) is None
    assert chat_template_from_pretrained(folder(tokenizer_config={})) is None
    for wrong in (3, {"default": ""}, [{"name": "other", "template": "x"}], [3]):
        path = folder(tokenizer_config={"chat_template": wrong})
        with pytest.raises(CheckpointError, match="expected a text, or a list of objects"):
            chat_template_from_pretrained(path)
    with pytest.raises(CheckpointError, match="eos_token is 3; expected a text, or an object"):
        chat_template_from_pretrained(folder(tokenizer_config={"eos_token": 3}))
    with pytest.raises(CheckpointError, match="cannot read"):
        chat_template_from_pretrained(folder(tokenizer_config="{"))
    with pytest.raises(ChatTemplateError, match="has 1048577 characters; expected at most 1048576"):
        chat_template_from_pretrained(folder(tokenizer_config={}, jinja="x" * (2**20 + 1)))


def test_what_ends_a_text(folder):
    assert end_ids_from_pretrained(folder()) == ()
    assert end_ids_from_pretrained(folder(config={"eos_token_id": 7})) == (7,)
    assert end_ids_from_pretrained(folder(generation_config={})) == (7,)
    assert end_ids_from_pretrained(folder(generation_config={"eos_token_id": [5, 7]})) == (5, 7)
    for wrong in ("</s>", [1, "x"], True, [[1]]):
        with pytest.raises(CheckpointError, match="; expected a token id"):
            end_ids_from_pretrained(folder(generation_config={"eos_token_id": wrong}))


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot read"):
        chat_template_from_pretrained(tmp_path)
