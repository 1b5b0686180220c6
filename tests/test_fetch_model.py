"""``fetch-model`` against a web server that answers as ModelScope, Hugging Face, or neither.

With wget, and by Python alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from step_llm.cli import commands
from step_llm.models import published
from step_llm.models.published import FetchError, fetch_model, model_folder, places
from step_llm.runtime import download
from step_llm.runtime.download import Downloader
from tests.support.web_server import Source


def is_wget_1():
    """Some systems call wget2 wget: it fetches too, but does not say why it failed."""
    wget = shutil.which("wget")
    said = wget and subprocess.run([wget, "--version"], capture_output=True, text=True).stdout
    return bool(wget) and "GNU Wget 1" in said


ONLY_WGET = pytest.mark.skipif(not is_wget_1(), reason="no GNU wget 1.x")
NAME = "somebody/tiny-1.0"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def numbers(seed, count=20_000):
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


SMALL = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{"version": "1.0"}',
    "chat_template.jinja": b"{{ messages }}",
}
WHOLE = {**SMALL, WEIGHTS: save({"w": numbers(0)})}
OTHER = {"README.md": b"of no use", "pytorch_model.bin": b"a pickle", ".gitattributes": b"x"}
PARTS = {
    **SMALL,
    SHARDS[0]: save({"a": numbers(1)}),
    SHARDS[1]: save({"b": numbers(2)}),
    INDEX: json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}).encode(),
}


def listed(files, kind):
    """The list of files as one of the two services sends it; the weights are large files."""
    if kind == "modelscope":
        entries = [
            {"Path": name, "Name": name, "Type": "blob", "Size": len(content),
             "Sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ]  # fmt: skip
        entries.append({"Path": "onnx", "Name": "onnx", "Type": "tree", "Size": 0})
        return json.dumps({"Code": 200, "Data": {"Files": entries}}).encode()
    entries = [{"type": "directory", "oid": "0", "size": 0, "path": "onnx"}]
    for name, content in files.items():
        entry = {"type": "file", "path": name, "size": len(content)}
        entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if name.endswith((".safetensors", ".bin")):
            oid = hashlib.sha256(content).hexdigest()
            entry.update(oid="0" * 40, lfs={"oid": oid, "size": len(content), "pointerSize": 135})
        entries.append(entry)
    return json.dumps(entries).encode()


LIST = {
    "modelscope": f"api/v1/models/{NAME}/repo/files?Revision=master&Recursive=False",
    "huggingface": f"api/models/{NAME}/tree/main",
}
START = {"modelscope": f"models/{NAME}/resolve/master/", "huggingface": f"{NAME}/resolve/main/"}


def site(files, kind="huggingface", sent=None):
    """What a server holds: the list of these files, and the files, or what is sent in place of
    some."""
    content = {**files, **(sent or {})}
    return {
        LIST[kind]: listed(files, kind),
        **{START[kind] + name: content[name] for name in content if content[name] is not None},
    }


@pytest.fixture
def serve():
    sources = []

    def start(files, behave=None, tls=None):
        sources.append(Source(files, behave, tls))
        return sources[-1]

    yield start
    for source in sources:
        source.close()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No public place, and no proxy between wget and the server of these tests."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "STEP_LLM_MODEL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("STEP_LLM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(places, "SOURCES", ())


@pytest.fixture(params=[pytest.param("wget", marks=ONLY_WGET), "python"])
def fetch(tmp_path, request, monkeypatch):
    """Fetches into ``fetch.out``; ``fetch.said`` has the lines for the user."""

    def run(mirror=None, name=NAME, out=None, timeout=1.0):
        downloader = Downloader(timeout, tries=2, say=run.said.append)
        return fetch_model(name, out or run.out, mirror, downloader)

    if request.param == "python":
        monkeypatch.setattr(download, "has_wget", lambda: False)
    run.out, run.said = tmp_path / "a folder" / "model", []
    return run


def refused(fetch, *arguments, **options):
    with pytest.raises(FetchError) as error:
        fetch(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_whole(folder, files=WHOLE):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def paths(source):
    return [path.rpartition("/")[2] for path, _ in source.requests]


# A good day


@pytest.mark.parametrize("kind", ["modelscope", "huggingface"])
@pytest.mark.parametrize("files", [WHOLE, PARTS], ids=["one file", "shards"])
def test_what_is_needed_comes_and_nothing_else(serve, fetch, monkeypatch, kind, files):
    source = serve(site({**files, **OTHER}, kind))
    monkeypatch.setattr(places, "SOURCES", ((kind, source.url),))
    assert fetch() == fetch.out
    assert_whole(fetch.out, files)
    assert not set(OTHER) & set(paths(source))
    assert f"{WEIGHTS if files is WHOLE else SHARDS[0]}" in "".join(fetch.said)
    assert "the hash agrees" in fetch.said[-1]

    before = {path: path.stat().st_mtime_ns for path in fetch.out.iterdir()}
    source.requests.clear()
    fetch(kind)
    assert len(source.requests) == 1  # the list
    assert before == {path: path.stat().st_mtime_ns for path in fetch.out.iterdir()}


def test_only_what_is_missing_or_different_is_fetched(serve, fetch):
    source = serve(site(PARTS))
    fetch(source.url)
    source.requests.clear()
    (fetch.out / SHARDS[1]).unlink()
    (fetch.out / "config.json").write_bytes(b"{}")
    fetch(source.url)
    assert_whole(fetch.out, PARTS)
    assert paths(source)[1:] == ["config.json", SHARDS[1]]


@pytest.mark.parametrize("inside", ["", "tiny-1.0/", f"{NAME}/"])
@pytest.mark.parametrize("files", [WHOLE, PARTS], ids=["one file", "shards"])
def test_a_web_server_that_lists_nothing(serve, fetch, inside, files):
    source = serve({inside + name: content for name, content in files.items()})
    fetch(source.url + "/")
    assert_whole(fetch.out, files)
    source.requests.clear()
    fetch(source.url)
    assert WEIGHTS not in paths(source) or files is PARTS
    assert not set(SHARDS) & set(paths(source))


@pytest.mark.parametrize("inside", ["", "tiny-1.0", NAME])
def test_a_folder(fetch, tmp_path, inside):
    folder = tmp_path / "disk" / inside
    folder.mkdir(parents=True)
    for name, content in {**PARTS, **OTHER}.items():
        (folder / name).write_bytes(content)
    fetch(str(tmp_path / "disk"))
    assert_whole(fetch.out, PARTS)
    # The same length, but other content.
    (fetch.out / "config.json").write_bytes(b"x" * len(PARTS["config.json"]))
    fetch(f"file://{tmp_path / 'disk'}")
    assert_whole(fetch.out, PARTS)


def test_the_next_place_serves_where_the_first_fails(serve, fetch, monkeypatch):
    bad, good = serve({}), serve(site(WHOLE))
    monkeypatch.setattr(places, "SOURCES", (("modelscope", bad.url), ("huggingface", good.url)))
    fetch()
    assert_whole(fetch.out)
    assert "HTTP 404" in fetch.said[0]


def test_the_mirror_that_the_environment_names(serve, fetch, monkeypatch):
    monkeypatch.setenv("STEP_LLM_MODEL_MIRROR", serve(site(WHOLE)).url)
    fetch()
    assert_whole(fetch.out)


def test_names(tmp_path):
    assert model_folder("gpt-2") == model_folder("GPT2") == tmp_path / "data" / "models" / "GPT-2"
    assert model_folder("QWEN2.5-0.5b").name == "Qwen2.5-0.5B"
    assert model_folder(NAME).name == "tiny-1.0"
    assert all(len(places) == 2 for places in published.KNOWN.values())


def test_the_command(serve, capsys, tmp_path):
    mirror = serve(site(WHOLE)).url
    assert commands.main(["fetch-model", NAME, "--mirror", mirror]) == 0
    assert_whole(tmp_path / "data" / "models" / "tiny-1.0")
    placed, following = capsys.readouterr().out.splitlines()[-2:]
    folder = tmp_path / "data" / "models" / "tiny-1.0"
    assert placed == f"{NAME} is in place in {folder}"
    kind = json.loads((folder / "config.json").read_text()).get("model_type")
    assert (f"step_llm chat {folder}" in following) == (kind in ("gpt2", "llama", "qwen2", "qwen3"))
    assert following.startswith("next: ")
    out = str(tmp_path / "other")
    assert commands.main(["fetch-model", NAME, "--mirror", str(tmp_path), "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("step_llm: error: somebody/tiny-1.0 was not fetched.")
    assert error.count("\n") == 1
    assert not (tmp_path / "other").exists()


# A bad day


def cut(source, name, times=1):
    """The file of that name is cut off after a quarter, the first times that it is asked for."""
    left = [times]

    def behave(path, handler):
        if not path.endswith(f"/{name}") or not left[0]:
            return False
        left[0] -= 1
        source().serve(handler, keep=len(source().body(path)) // 4)
        handler.close_connection = True
        return True

    return behave


def test_a_download_that_is_cut_goes_on(serve, fetch):
    source = serve(site(WHOLE), cut(lambda: source, WEIGHTS))
    fetch(source.url)
    assert_whole(fetch.out)
    ranges = [asked for path, asked in source.requests if path.endswith(WEIGHTS)]
    assert ranges[0] is None
    assert ranges[1].startswith("bytes=")
    assert any("cut off" in line for line in fetch.said)


def test_the_next_run_goes_on_where_a_hash_can_prove_it(serve, fetch):
    source = serve(site(WHOLE), cut(lambda: source, WEIGHTS, times=2))
    assert "cut off" in refused(fetch, source.url)
    part = fetch.out / ".partial" / f"{WEIGHTS}.part"
    assert 0 < part.stat().st_size < len(WHOLE[WEIGHTS])
    assert not (fetch.out / WEIGHTS).exists()
    source.requests.clear()
    fetch(source.url)
    assert_whole(fetch.out)
    assert source.requests[-1][1].startswith("bytes=")


def test_a_half_of_another_file_is_thrown_away(serve, fetch):
    source = serve(site(WHOLE))
    part = fetch.out / ".partial" / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    fetch(source.url)
    assert_whole(fetch.out)
    assert any("once more from the beginning" in line for line in fetch.said)


def test_a_server_that_cannot_go_on(serve, fetch):
    def behave(path, handler):
        source.serve(handler, ranges=False)
        return True

    source = serve(site(WHOLE), behave)
    part = fetch.out / ".partial" / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(WHOLE[WEIGHTS][:1000])
    fetch(source.url)
    assert_whole(fetch.out)


@pytest.mark.parametrize("kind", ["modelscope", "huggingface"])
@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_other_bytes_than_the_hash_says(serve, fetch, monkeypatch, kind, name):
    wrong = b"y" * len(WHOLE[name])
    source = serve(site(WHOLE, kind, {name: wrong}))
    monkeypatch.setattr(places, "SOURCES", ((kind, source.url),))
    error = refused(fetch)
    assert f"{name}: wrong bytes: expected {len(wrong)} of them, with the hash " in error
    assert not (fetch.out / name).exists()


def test_more_bytes_than_announced(serve, fetch):
    source = serve(site(WHOLE, sent={"config.json": b"{}" + b" " * 10**6}))
    assert f"more than the {len(WHOLE['config.json'])} bytes expected" in refused(fetch, source.url)


def test_a_small_file_that_is_large(serve, fetch, monkeypatch):
    monkeypatch.setattr("step_llm.models.published.fetch.SMALL", 1000)
    big = {**WHOLE, "tokenizer.json": b"{" + b" " * 2000 + b"}"}
    error = refused(fetch, serve(site(big)).url)
    assert "tokenizer.json has 2002 bytes; expected at most 1000" in error
    error = refused(fetch, serve({f"tiny-1.0/{name}": data for name, data in big.items()}).url)
    assert "sends more than the 1000 bytes expected" in error


def test_a_model_that_is_not_there(serve, fetch):
    source = serve({})
    assert f"{source.url} holds no {NAME}" in refused(fetch, source.url)
    assert not fetch.out.exists()


def test_one_that_asks_for_a_login(serve, fetch, monkeypatch):
    def behave(path, handler):
        handler.send_error(401)
        return True

    monkeypatch.setattr(places, "SOURCES", (("huggingface", serve({}, behave).url),))
    error = refused(fetch)
    assert "HTTP 401 Unauthorized: no such model there, or only for those who log in" in error


def test_a_file_that_is_listed_but_missing(serve, fetch):
    error = refused(fetch, serve(site(PARTS, sent={SHARDS[1]: None})).url)
    assert f"{SHARDS[1]}: " in error
    assert "answered HTTP 404" in error
    assert (fetch.out / SHARDS[0]).is_file()


def test_a_shard_that_no_list_names(serve, fetch, tmp_path):
    lacking = {name: data for name, data in PARTS.items() if name != SHARDS[0]}
    error = refused(fetch, serve(site(lacking)).url)
    assert f"lacks {SHARDS[0]}, one of 2 in its {INDEX}" in error
    error = refused(fetch, serve({f"tiny-1.0/{n}": data for n, data in lacking.items()}).url)
    assert f"lacks {SHARDS[0]}" in error


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "..\\b.safetensors",
     ".hidden.safetensors", "model.bin", "C:b.safetensors", "-O.safetensors"],
)  # fmt: skip
def test_an_index_that_names_a_file_elsewhere(serve, fetch, name):
    files = {**PARTS, INDEX: json.dumps({"weight_map": {"a": SHARDS[0], "b": name}}).encode()}
    error = refused(fetch, serve(site(files)).url)
    assert f"names the file {name!r}; expected the names of safetensors files" in error
    assert not list(fetch.out.parent.rglob("*.safetensors"))


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": [1]}, {"weight_map": 3}])
def test_an_index_without_files(serve, fetch, index):
    files = {**PARTS, INDEX: json.dumps(index).encode()}
    assert "expected the names of safetensors files" in refused(fetch, serve(site(files)).url)


def test_pickles_only(serve, fetch, tmp_path):
    error = refused(fetch, serve(site({**SMALL, **OTHER})).url)
    assert "holds pytorch_model.bin, but no model.safetensors. Pickles are not fetched" in error
    assert "save_pretrained" in error
    assert not (fetch.out / "pytorch_model.bin").exists()


def test_no_weights_at_all(serve, fetch):
    assert f"holds no {WEIGHTS}, and no {INDEX}" in refused(fetch, serve(site(SMALL)).url)


def test_a_pointer_in_place_of_the_weights(fetch, tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name, content in {**SMALL, WEIGHTS: pointer}.items():
        (folder / name).write_bytes(content)
    assert f"{WEIGHTS} of {folder} is a pointer of Git LFS" in refused(fetch, str(folder))


def test_a_page_in_place_of_a_file(serve, fetch):
    page = b"<html>Please log in</html>"
    error = refused(fetch, serve({"tiny-1.0/config.json": page, "tiny-1.0/x": b""}).url)
    assert "config.json" in error
    assert "is no JSON object" in error
    assert "is no list of files; expected JSON" in refused(
        fetch, serve({LIST["huggingface"]: page}).url
    )


@pytest.mark.parametrize("entries", [{}, [{"type": "file"}], [3], {"Data": {"Files": [{}]}}])
@pytest.mark.parametrize("kind", ["modelscope", "huggingface"])
def test_a_list_of_another_make(serve, fetch, monkeypatch, kind, entries):
    source = serve({LIST[kind]: json.dumps(entries).encode()})
    monkeypatch.setattr(places, "SOURCES", ((kind, source.url),))
    error = refused(fetch)
    assert "sent no list of files" in error or "holds no config.json" in error


def silent(source, path, handler, start=b""):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(start)
    source().closing.wait(20)
    return True


def test_a_silent_server(serve, fetch):
    source = serve({}, lambda path, handler: silent(lambda: source, path, handler))
    assert "did not answer, or fell silent, for 0.5 s" in refused(fetch, source.url, timeout=0.5)
    assert len(source.requests) == 2


def test_a_server_that_drips(serve, fetch):
    def behave(path, handler):
        if path.endswith(WEIGHTS):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(WHOLE[WEIGHTS])))
            handler.end_headers()
            while not source.closing.wait(0.1):
                handler.wfile.write(b"x")
        return False

    source = serve(site(WHOLE), behave)
    assert "fell silent, for 0.5 s" in refused(fetch, source.url, timeout=0.5)


def test_nobody_at_the_port(fetch):
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{port.getsockname()[1]}"
    assert "refused the connection" in refused(fetch, address)


def test_a_busy_server_is_asked_again(serve, fetch):
    answers = [503, 429]

    def behave(path, handler):
        if not path.endswith("config.json") or not answers:
            return False
        handler.send_error(answers.pop())
        return True

    source = serve(site(WHOLE), behave)
    assert "HTTP 503" in refused(fetch, source.url)
    fetch(source.url)
    assert_whole(fetch.out)


def test_a_disk_that_is_too_small(serve, fetch, monkeypatch):
    space = functools.partial(shutil._ntuple_diskusage, 10, 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: space(5))
    assert "config.json needs 23 bytes, but the disk of" in refused(fetch, serve(site(WHOLE)).url)


def test_what_is_no_model_or_mirror(fetch, tmp_path):
    for name in ("Qwen9", "../x", "a/b/c", "a/..", "a/b?c", "-o/x", "http://a/b", "a/ b"):
        assert "expected OWNER/NAME, or one of Qwen2.5-0.5B" in refused(fetch, name=name)
    assert "expected modelscope, huggingface, an address" in refused(fetch, "ftp://host/x")
    assert "there is no folder" in refused(fetch, str(tmp_path / "nothing"))
    (tmp_path / "file").write_text("")
    assert "is no folder; name another with --out" in refused(fetch, out=tmp_path / "file")
    for wrong in ({"timeout": 0}, {"timeout": float("nan")}, {"tries": 0}):
        with pytest.raises(ValueError, match="expected"):
            Downloader(**wrong)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """One that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = Path(tmp_path_factory.mktemp("certificate"))
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -days 9".split()
    files = folder / "pem", folder / "key"
    command += ["-out", files[0], "-keyout", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    return files


def test_a_certificate_that_cannot_be_verified(serve, fetch, certificate):
    """Hashes from there would prove nothing; a file whose hash came otherwise is taken."""
    source = serve(site(WHOLE), tls=certificate)
    error = refused(fetch, source.url)
    assert f"the certificate of {source.host} could not be verified" in error
    assert "--mirror" in error
    other = serve({LIST["huggingface"]: listed(WHOLE, "huggingface")}, to_other(source))
    fetch(other.url)
    assert_whole(fetch.out)
    assert any("the hash of the file decides" in line for line in fetch.said)


def to_other(source):
    """Files are sent from another host, as both services do."""

    def behave(path, handler):
        if "/resolve/" not in path:
            return False
        handler.send_response(302)
        handler.send_header("Location", source.url + path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return behave
