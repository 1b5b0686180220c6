"""The fetcher of Multi30k against a real HTTP server that behaves as sources do on a bad day.

There are two, the script with wget and the one in Python, and what is said here holds for both.
They are given six tiny texts and their checksums, so nothing here needs the data set or a network,
but for one test that reads the folder ../shared/multi30k where it exists.
"""

import gzip
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.web_server import Source

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "data" / "fetch_multi30k.sh"
REAL_MIRROR = ROOT.parent / "shared" / "multi30k"
FILES = ("train.de", "train.en", "val.de", "val.en", "test.de", "test.en")


def is_wget_1():
    """Some systems call wget2 wget: it fetches too, but does not resume or say why it failed."""
    wget = shutil.which("wget")
    return (
        bool(wget)
        and "GNU Wget 1"
        in subprocess.run([wget, "--version"], capture_output=True, text=True).stdout
    )


HAS_SCRIPT = shutil.which("bash") and os.name != "nt" and is_wget_1()
ONLY_SCRIPT = pytest.mark.skipif(not HAS_SCRIPT, reason="no bash, or no GNU wget 1.x")
PROGRAMS = {
    "wget": ["bash", str(SCRIPT)],
    "python": [sys.executable, "-m", "step_llm.data.multi30k"],
}


def original_name(file):
    return file.replace("test.", "test_2016_flickr.")


# Random words, so that the .gz is about as long as the text and half of it is a real half.
TEXTS = {
    file: "".join(
        hashlib.sha512(f"{file} {i}".encode()).hexdigest() + "\n" for i in range(200)
    ).encode()
    for file in FILES
}
RAW = {f"{original_name(file)}.gz": gzip.compress(text, mtime=0) for file, text in TEXTS.items()}


def archive(split, texts=TEXTS, folder=""):
    """A .tar.gz of a split; its texts end in one empty line more, as the published ones do."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for language in ("de", "en"):
            data = texts[f"{split}.{language}"] + b"\n"
            member = tarfile.TarInfo(f"{folder}{split}.{language}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def serve():
    sources = []

    def start(files=RAW, behave=None, tls=None):
        sources.append(Source(files, behave, tls))
        return sources[-1]

    yield start
    for source in sources:
        source.close()


@pytest.fixture(params=[pytest.param("wget", marks=ONLY_SCRIPT), "python"])
def fetch(tmp_path, request):
    """Runs a fetcher into ``tmp_path/"a folder"/multi30k`` and returns the finished process."""
    sums = tmp_path / "sums"
    sums.write_text("".join(f"{hashlib.sha256(TEXTS[f]).hexdigest()}  {f}\n" for f in FILES))

    def run(
        *options,
        sources=(),
        out=None,
        env=None,
        timeout=2,
        tries=2,
        cwd=tmp_path,
        real=False,
        start=False,
        stderr=subprocess.PIPE,
        before=(),
    ):
        command = [*before, *PROGRAMS[request.param]]
        command += ["--out", str(out or tmp_path / "a folder" / "multi30k")]
        command += ["--timeout", str(timeout), "--tries", str(tries)]
        command += [] if real else ["--checksums", str(sums)]
        # No proxy may stand between the script and the server of these tests.
        clean = {
            k: v
            for k, v in os.environ.items()
            if "proxy" not in k.lower() and not k.startswith("MULTI30K")
        }
        clean["MULTI30K_SOURCES"] = " ".join(sources)
        clean["PYTHONPATH"] = str(ROOT)
        process = subprocess.Popen(
            command + [str(option) for option in options],
            cwd=cwd,
            env=clean | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        if start:
            return process
        try:
            stdout, errors = process.communicate(timeout=50)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, errors)

    run.out = tmp_path / "a folder" / "multi30k"
    run.program = request.param
    return run


def assert_whole(result, out, texts=TEXTS):
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in out.iterdir()) == sorted(
        FILES
    )  # and nothing else, .partial included
    for file in FILES:
        assert (out / file).read_bytes() == texts[file]


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def full_port():
    """A port whose queue is full: as behind a firewall, a new connection gets no answer."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(s.getsockname())
        yield s.getsockname()[1]
        for client in waiting:
            client.close()


@contextmanager
def deaf_port():
    """A port that takes connections and never says a word."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(64)
        yield s.getsockname()[1]


# --------------------------------------------------------------------------------------- a good day


def test_progress_is_told_in_chinese_where_the_reader_wants_it(serve, fetch):
    """Both programs say the same; what goes wrong is told in English, as everywhere."""
    good, url = serve(), serve({"train.de.gz": b""}).url
    result = fetch(sources=[url, good.url], env={"STEP_LLM_LANGUAGE": "zh"})
    assert_whole(result, fetch.out)
    *taken, ready = result.stdout.splitlines()
    assert taken == [
        f"{file}：{len(TEXTS[file])} 字节，取自 {good.url}/{original_name(file)}.gz，SHA-256 一致"
        for file in FILES
    ]
    assert ready == f"Multi30k 已经就绪，在 {fetch.out} 中。"
    assert f"train.en: {url}: HTTP 404" in result.stderr


def test_whole_answer(serve, fetch):
    source = serve()
    result = fetch(sources=[source.url])
    assert_whole(result, fetch.out)
    assert [path for path, _ in source.requests] == [f"/{original_name(file)}.gz" for file in FILES]
    for file in FILES:
        assert f"{file}: {len(TEXTS[file])} bytes" in result.stdout
    assert result.stderr == ""


def test_second_run_does_nothing(serve, fetch):
    source = serve()
    fetch(sources=[source.url])
    before = {p: p.stat() for p in [fetch.out, *fetch.out.iterdir()]}
    source.requests.clear()
    result = fetch(sources=[source.url])
    assert result.returncode == 0
    assert "is in place" in result.stdout
    assert source.requests == []
    assert {p: (s.st_mtime_ns, s.st_ino) for p, s in before.items()} == {
        p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in [fetch.out, *fetch.out.iterdir()]
    }


def test_only_what_is_missing_or_different_is_fetched(serve, fetch):
    source = serve()
    fetch(sources=[source.url])
    kept = (fetch.out / "train.de").stat().st_mtime_ns
    (fetch.out / "val.en").unlink()
    (fetch.out / "test.de").write_text("something else\n")
    source.requests.clear()
    assert_whole(fetch(sources=[source.url]), fetch.out)
    assert [path for path, _ in source.requests] == ["/val.en.gz", "/test_2016_flickr.de.gz"]
    assert (fetch.out / "train.de").stat().st_mtime_ns == kept


def test_quiet_says_nothing_on_a_good_day(serve, fetch):
    result = fetch("--quiet", sources=[serve().url])
    assert_whole(result, fetch.out)
    assert (result.stdout, result.stderr) == ("", "")


def test_bar_in_a_terminal(serve, fetch):
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    reader, writer = pty.openpty()
    run = fetch(sources=[serve().url], start=True, stderr=writer)
    run.communicate(timeout=30)
    os.close(writer)
    shown = os.read(reader, 4000).decode()
    os.close(reader)
    assert run.returncode == 0
    assert "train.de.gz" in shown
    assert ("100%[" if fetch.program == "wget" else "100% ") in shown


def test_relative_out_and_another_working_directory(serve, fetch, tmp_path):
    (tmp_path / "else where").mkdir()
    result = fetch(sources=[serve().url], out="the data/m30k", cwd=tmp_path / "else where")
    assert_whole(result, tmp_path / "else where" / "the data" / "m30k")


def test_two_runs_at_once(serve, fetch):
    def unhurried(path, handler):
        time.sleep(0.05)
        return False

    source = serve(behave=unhurried)
    runs = [fetch(sources=[source.url], start=True) for _ in range(2)]
    for run in runs:
        _, stderr = run.communicate(timeout=30)
        assert run.returncode == 0, stderr
    assert sorted(p.name for p in fetch.out.iterdir()) == sorted(FILES)
    assert all((fetch.out / file).read_bytes() == TEXTS[file] for file in FILES)


# ------------------------------------------------------------------------------------------ cut off


def cut_once(source, name, ranges=True):
    """The file of that name is cut off half-way the first time it is asked for."""
    seen = set()

    def behave(path, handler):
        if path != f"/{name}":
            return False
        source().serve(handler, keep=None if seen else len(source().body(path)) // 2, ranges=ranges)
        seen.add(path)
        return True

    return behave


def test_cut_off_is_resumed(serve, fetch):
    source = serve(behave=cut_once(lambda: source, "train.de.gz"))
    result = fetch(sources=[source.url])
    assert_whole(result, fetch.out)
    half = len(RAW["train.de.gz"]) // 2
    assert source.requests[:2] == [("/train.de.gz", None), ("/train.de.gz", f"bytes={half}-")]
    assert f"cut off at {half} bytes; try 2 of 2" in result.stderr


def test_cut_off_and_the_server_cannot_resume(serve, fetch):
    source = serve(behave=cut_once(lambda: source, "train.de.gz", ranges=False))
    assert_whole(fetch(sources=[source.url]), fetch.out)


def test_always_cut_off(serve, fetch):
    def behave(path, handler):
        if path.startswith("/train"):
            source.serve(handler, keep=100)
            return True
        return False

    source = serve(behave=behave)
    result = fetch(sources=[source.url])
    assert result.returncode == 1
    assert f"{source.url}: the download was cut off at 200 bytes" in result.stderr
    assert len([r for r in source.requests if r[0] == "/train.de.gz"]) == 2
    assert not (fetch.out / "train.de").exists()
    assert not (fetch.out / "train.en").exists()
    # What came is kept, and the next run goes on from there, even at another source.
    healthy = serve()
    assert_whole(fetch(sources=[healthy.url]), fetch.out)
    assert healthy.requests[0] == ("/train.de.gz", "bytes=200-")


def test_resumed_from_wrong_bytes_starts_again(serve, fetch):
    partial = fetch.out / ".partial"
    partial.mkdir(parents=True)
    (partial / "train.de.gz.part").write_bytes(b"\x1f\x8b not the beginning of this file")
    (partial / "val.de.gz.part").write_bytes(
        bytes(10 * len(RAW["val.de.gz"]))
    )  # longer than the file
    source = serve()
    result = fetch(sources=[source.url])
    assert_whole(result, fetch.out)
    assert [r[1] is None for r in source.requests if r[0] == "/train.de.gz"] == [False, True]
    assert "once more from the beginning" in result.stderr


def test_interrupted_run_leaves_no_debris_and_is_resumed(serve, fetch):
    def behave(path, handler):
        if path == "/train.en.gz" and not handler.headers.get("Range"):
            source.serve(handler, keep=5000)
            handler.wfile.flush()
            source.closing.wait(10)
            return True
        return False

    source = serve(behave=behave)
    run = fetch(sources=[source.url], timeout=20, start=True)
    part = fetch.out / ".partial" / "train.en.gz.part"
    deadline = time.monotonic() + 10
    while not (part.exists() and part.stat().st_size >= 5000) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=10)
    assert run.returncode == 143
    assert sorted(p.name for p in (fetch.out / ".partial").iterdir()) == ["train.en.gz.part"]
    assert sorted(p.name for p in fetch.out.iterdir()) == [".partial", "train.de"]
    assert_whole(fetch(sources=[source.url]), fetch.out)
    assert ("/train.en.gz", "bytes=5000-") in source.requests


def test_lock_of_a_killed_run_is_taken_over(serve, fetch):
    dead = subprocess.Popen(["true"])
    dead.wait()
    partial = fetch.out / ".partial"
    (partial / "lock").mkdir(parents=True)
    (partial / "lock" / "pid").write_text(f"{dead.pid}\n")
    (partial / f"run.{dead.pid}").mkdir()
    (partial / f"run.{dead.pid}" / "text").write_text("left over")
    assert_whole(fetch(sources=[serve().url]), fetch.out)


@pytest.mark.parametrize("pid", [None, ""])
def test_lock_that_names_no_run_is_taken_over(serve, fetch, pid):
    """As a run leaves it that was killed, or stood on a full disk, before it wrote its number."""
    partial = fetch.out / ".partial"
    (partial / "lock").mkdir(parents=True)
    if pid is not None:
        (partial / "lock" / "pid").write_text(pid)
    (partial / "train.de.gz.part").write_bytes(RAW["train.de.gz"][:3000])
    source = serve()
    assert_whole(fetch(sources=[source.url]), fetch.out)
    assert source.requests[0] == ("/train.de.gz", "bytes=3000-")


def test_second_run_takes_away_what_the_first_one_left(serve, fetch):
    """The first is killed while it downloads; the second, at work all the time, ends well."""
    asked, second_is_there = threading.Event(), threading.Event()

    def behave(path, handler):
        if len(source.requests) > 1:
            second_is_there.set()
            time.sleep(0.05)
            return False
        source.serve(handler, keep=3000)
        handler.wfile.flush()
        asked.set()
        source.closing.wait(10)
        return True

    source = serve(behave=behave)
    first = fetch(sources=[source.url], timeout=20, start=True)
    assert asked.wait(10)
    second = fetch(sources=[source.url], start=True)
    assert second_is_there.wait(10)
    assert len(list((fetch.out / ".partial").glob("run.*"))) == 2
    first.kill()
    first.wait()
    stdout, stderr = second.communicate(timeout=30)
    finished = subprocess.CompletedProcess(second.args, second.returncode, stdout, stderr)
    assert_whole(finished, fetch.out)
    source.closing.set()  # and with it the download of the first, which outlives it
    first.communicate()


def test_linked_part_is_not_written_through(serve, fetch, tmp_path):
    (tmp_path / "precious").write_bytes(b"keep me")
    partial = fetch.out / ".partial"
    partial.mkdir(parents=True)
    (partial / "train.de.gz.part").symlink_to(tmp_path / "precious")
    assert_whole(fetch(sources=[serve().url]), fetch.out)
    assert (tmp_path / "precious").read_bytes() == b"keep me"


# -------------------------------------------------------------------------------------- bad answers


def test_wrong_bytes_go_on_to_the_next_source(serve, fetch):
    wrong = serve({name: gzip.compress(b"another text\n") for name in RAW})
    right = serve()
    result = fetch(sources=[wrong.url, right.url])
    assert_whole(result, fetch.out)
    assert f"train.de: {wrong.url}: wrong bytes: the SHA-256 of the text is" in result.stderr
    assert len(wrong.requests) == len(right.requests) == len(FILES)


def test_wrong_bytes_everywhere_leave_what_was_there(serve, fetch):
    fetch.out.mkdir(parents=True)
    (fetch.out / "train.de").write_bytes(b"an older text\n")
    (fetch.out / "val.de").write_bytes(TEXTS["val.de"])
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in fetch.out.iterdir()}
    page = serve(dict.fromkeys(RAW, b"<html>Please log in</html>"))
    empty = serve(dict.fromkeys(RAW, b""), behave=lambda path, handler: reply_empty(handler))
    result = fetch(sources=[page.url, empty.url])
    assert result.returncode == 1
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in fetch.out.iterdir()} == before
    assert "not fetched: train.de train.en val.en test.de test.en" in result.stderr
    assert f"{page.url}: wrong bytes" in result.stderr
    assert f"{empty.url}: an empty file" in result.stderr


def reply_empty(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


def test_not_found(serve, fetch):
    source = serve({})
    result = fetch(sources=[source.url])
    assert result.returncode == 1
    assert f"{source.url}: HTTP 404" in result.stderr
    assert len(source.requests) == len(FILES)  # a 404 is not worth a second try
    assert not fetch.out.exists()


def test_busy_server_is_tried_again(serve, fetch):
    seen = set()

    def behave(path, handler):
        if path in seen or path != "/train.de.gz":
            return False
        seen.add(path)
        handler.send_error(503)
        return True

    source = serve(behave=behave)
    assert_whole(fetch(sources=[source.url]), fetch.out)


def test_what_was_unpacked_on_the_way_is_accepted(serve, fetch):
    source = serve({f"{original_name(file)}.gz": text for file, text in TEXTS.items()})
    assert_whole(fetch(sources=[source.url]), fetch.out)


def test_answer_is_never_an_order_to_the_terminal(serve, fetch):
    def behave(path, handler):
        handler.wfile.write(b"HTTP/1.1 404 a\x1b[2J\tb\x07\r\nContent-Length: 0\r\n\r\n")
        return True

    source = serve(behave=behave)
    result = fetch(sources=[source.url])
    assert result.returncode == 1
    assert f"{source.url}: HTTP 404" in result.stderr
    assert all(character.isprintable() for character in result.stderr.replace("\n", ""))


# ------------------------------------------------------------------------------------------ silence


def test_trickle_hits_the_timeout(serve, fetch):
    def trickle(path, handler):
        body = source.body(path)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for i in range(300):
            handler.wfile.write(body[i : i + 1])
            handler.wfile.flush()
            if source.closing.wait(0.1):
                break
        return True

    source = serve(behave=trickle)
    right = serve()
    started = time.monotonic()
    result = fetch(sources=[source.url, right.url], timeout=1, tries=2)
    assert time.monotonic() - started < 12
    assert_whole(result, fetch.out)
    assert f"{source.host} was too slow or fell silent for 1 s" in result.stderr
    assert f"{source.host} did not answer before" in result.stderr
    assert {path for path, _ in source.requests} == {"/train.de.gz"}


def test_falls_silent_half_way_and_is_resumed(serve, fetch):
    def behave(path, handler):
        if path != "/train.de.gz" or handler.headers.get("Range"):
            return False
        source.serve(handler, keep=3000)
        handler.wfile.flush()
        source.closing.wait(10)
        return True

    source = serve(behave=behave)
    assert_whole(fetch(sources=[source.url], timeout=1), fetch.out)
    assert ("/train.de.gz", "bytes=3000-") in source.requests


def test_never_answers(fetch):
    with deaf_port() as port:
        started = time.monotonic()
        result = fetch(sources=[f"http://127.0.0.1:{port}/raw"], timeout=1, tries=2)
        assert (
            time.monotonic() - started < 8
        )  # two tries for the first file, and none for the others
    assert result.returncode == 1
    assert (
        f"http://127.0.0.1:{port}/raw: 127.0.0.1:{port} took the connection but did not answer"
        in result.stderr
    )
    assert f"127.0.0.1:{port} did not answer before" in result.stderr
    assert not fetch.out.exists()


@pytest.mark.skipif(
    sys.platform != "linux", reason="how a full queue behaves differs between systems"
)
def test_takes_no_connection(fetch):
    with full_port() as port:
        started = time.monotonic()
        result = fetch(sources=[f"http://127.0.0.1:{port}"], timeout=1, tries=3)
        assert time.monotonic() - started < 5  # one try, and none for the other files
    assert result.returncode == 1
    assert f"http://127.0.0.1:{port}: no connection to 127.0.0.1:{port} within 1 s" in result.stderr


def test_every_source_and_its_reason_is_named(serve, fetch):
    missing, wrong = serve({}), serve(dict.fromkeys(RAW, b"no"))
    refused, nowhere = f"http://127.0.0.1:{closed_port()}", "http://nowhere.invalid/raw"
    started = time.monotonic()
    result = fetch(sources=[missing.url, wrong.url, refused, nowhere])
    assert time.monotonic() - started < 15
    assert result.returncode == 1
    report = result.stderr[result.stderr.index("not fetched") :].splitlines()
    every = "[train.de train.en val.de val.en test.de test.en]"
    assert any(missing.url in line and "HTTP 404" in line and every in line for line in report)
    assert any(wrong.url in line and "wrong bytes" in line for line in report)
    assert any(
        refused in line and "refused the connection" in line and every in line for line in report
    )
    # Where a name server never says no, the name is given up on after the time-out.
    assert any(
        nowhere in line
        and ("could not be resolved" in line or "no connection" in line)
        and every in line
        for line in report
    )


def test_no_source_at_all(fetch):
    result = fetch()
    assert result.returncode == 1
    assert "no mirror was given and the list of public sources is empty" in result.stderr


# ------------------------------------------------------------------------------------- certificates


CERTIFICATE_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
x509_extensions = address
unique_subject = no
[any]
commonName = supplied
[address]
subjectAltName = IP:127.0.0.1
[req]
distinguished_name = name
[name]
"""
LAST_YEARS = ("20200101000000Z", "20210101000000Z")
THIS_CENTURY = ("20200101000000Z", "20491231000000Z")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Makes certificates that nobody vouches for, with the dates they are asked for."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")

    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    (folder / "config").write_text(CERTIFICATE_CONFIG.format(folder=folder))

    def make(name, dates):
        pem, key, request = (folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
        sign = [
            "ca",
            "-batch",
            "-notext",
            "-selfsign",
            "-startdate",
            dates[0],
            "-enddate",
            dates[1],
        ]
        for command in (
            [*new, "-keyout", key, "-out", request],
            [*sign, "-keyfile", key, "-in", request, "-out", pem],
        ):
            subprocess.run(
                ["openssl", *command, "-config", folder / "config"], check=True, capture_output=True
            )
        return pem, key

    return make


@pytest.mark.parametrize(
    ("kind", "dates"), [("self-signed", THIS_CENTURY), ("expired", LAST_YEARS)]
)
def test_bad_certificate_and_right_bytes(serve, fetch, certificate, tmp_path, kind, dates):
    pem, key = certificate(kind, dates)
    source = serve(tls=(pem, key))
    env = {}
    if kind == "expired":  # vouched for, so that the date is all there is against it
        (tmp_path / "wgetrc").write_text(f"ca_certificate = {pem}\n")
        env = {"WGETRC": str(tmp_path / "wgetrc"), "SSL_CERT_FILE": str(pem)}
    result = fetch("--quiet", sources=[source.url], env=env)
    assert_whole(result, fetch.out)
    said = f"the certificate of {source.host} could not be verified; "
    said += "retrying without the check: the SHA-256 decides"
    assert result.stderr.count(said) == 1  # even when quiet, and once for a host


def test_good_certificate_is_checked(serve, fetch, certificate, tmp_path):
    pem, key = certificate("good", THIS_CENTURY)
    (tmp_path / "wgetrc").write_text(f"ca_certificate = {pem}\n")
    env = {"WGETRC": str(tmp_path / "wgetrc"), "SSL_CERT_FILE": str(pem)}
    result = fetch(sources=[serve(tls=(pem, key)).url], env=env)
    assert_whole(result, fetch.out)
    assert result.stderr == ""


def test_bad_certificate_and_wrong_bytes(serve, fetch, certificate):
    source = serve(
        {name: gzip.compress(b"forged\n") for name in RAW},
        tls=certificate("self-signed", THIS_CENTURY),
    )
    result = fetch(sources=[source.url])
    assert result.returncode == 1
    assert "could not be verified" in result.stderr
    assert f"{source.url}: wrong bytes" in result.stderr
    assert not fetch.out.exists()


def test_not_tls_at_all(serve, fetch):
    source = serve()
    result = fetch(sources=[source.url.replace("http://", "https://")])
    assert result.returncode == 1
    assert (
        f"{source.url.replace('http', 'https')}: no secure connection to {source.host}"
        in result.stderr
    )


# ------------------------------------------------------------------------------------------ mirrors


LAYOUTS = {
    "repository": {f"data/task1/raw/{name}": data for name, data in RAW.items()},
    "gz": RAW,
    "gz, named test": {f"{file}.gz": gzip.compress(text) for file, text in TEXTS.items()},
    "plain": {original_name(file): text for file, text in TEXTS.items()},
    "plain, named test": TEXTS,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_mirror(fetch, tmp_path, layout):
    mirror = tmp_path / "a mirror"
    for name, data in LAYOUTS[layout].items():
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_bytes(data)
    assert_whole(fetch("--mirror", mirror), fetch.out)
    assert {str(p.relative_to(mirror)) for p in mirror.rglob("*") if p.is_file()} == set(
        LAYOUTS[layout]
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_address_mirror(serve, fetch, layout):
    source = serve({f"some/path/{name}": data for name, data in LAYOUTS[layout].items()})
    assert_whole(fetch(f"--mirror={source.url}/some/path/"), fetch.out)
    # At most two wrong guesses of the layout, for the first file, and one of the name for a test.
    assert len(source.requests) <= len(FILES) + 2 + 2


def test_folder_mirror_of_archives_goes_on_for_the_test(serve, fetch, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "training.tar.gz").write_bytes(archive("train", folder="./"))
    (mirror / "validation.tar.gz").write_bytes(archive("val"))
    source = serve()
    result = fetch(sources=[source.url], env={"MULTI30K_MIRROR": str(mirror)})
    assert_whole(result, fetch.out)
    assert [path for path, _ in source.requests] == [
        "/test_2016_flickr.de.gz",
        "/test_2016_flickr.en.gz",
    ]
    assert "test.de: not from the mirror; going on to the public sources" in result.stderr


def test_relative_folder_mirror(fetch, tmp_path):
    (tmp_path / "mirror").mkdir()
    for name, data in RAW.items():
        (tmp_path / "mirror" / name).write_bytes(data)
    assert_whole(fetch("--mirror", "mirror/", cwd=tmp_path), fetch.out)


def test_mirror_comes_first_and_the_option_before_the_variable(serve, fetch):
    mirror, other, public = serve(), serve(), serve()
    result = fetch("--mirror", mirror.url, sources=[public.url], env={"MULTI30K_MIRROR": other.url})
    assert_whole(result, fetch.out)
    assert mirror.requests
    assert not other.requests
    assert not public.requests


def test_mirror_that_fails_goes_on_to_the_public_sources(serve, fetch):
    public = serve()
    result = fetch("--mirror", f"http://127.0.0.1:{closed_port()}", sources=[public.url])
    assert_whole(result, fetch.out)
    assert "refused the connection" in result.stderr
    assert "not from the mirror; going on to the public sources" in result.stderr


def test_folder_that_does_not_exist(fetch, tmp_path):
    result = fetch("--mirror", tmp_path / "nothing here")
    assert result.returncode == 1
    assert f"{tmp_path / 'nothing here'}: no such folder" in result.stderr


def test_folder_that_lacks_files_or_holds_others(fetch, tmp_path):
    (tmp_path / "train.de").write_text("not the text\n")
    result = fetch("--mirror", tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path}/train.de: wrong bytes" in result.stderr
    assert (
        f"{tmp_path}: holds none of data/task1/raw/train.en.gz, train.en.gz, train.en"
        in result.stderr
    )


@pytest.mark.skipif(
    not REAL_MIRROR.is_dir(), reason="no folder ../shared/multi30k with the real data set"
)
def test_real_data_set(fetch):
    assert_real = fetch("--mirror", REAL_MIRROR, real=True)
    assert assert_real.returncode == 0, assert_real.stderr
    lines = {file: (fetch.out / file).read_bytes().count(b"\n") for file in FILES}
    assert lines == dict(zip(FILES, (29000, 29000, 1014, 1014, 1000, 1000)))
    # With one line more it is the training text whose sum has been published for the archive.
    published = "695df46f6fd14567e69970408a2c129a50e778a910ecb1585a92eb25b2c7accc"
    assert hashlib.sha256((fetch.out / "train.de").read_bytes() + b"\n").hexdigest() == published


# ----------------------------------------------------------------------------------------- archives


def test_archives_as_public_sources(serve, fetch):
    source = serve(
        {
            "x/training.tar.gz": archive("train"),
            "x/validation.tar.gz": archive("val", folder="val/"),
        }
    )
    raw = serve({name: data for name, data in RAW.items() if name.startswith("test")})
    result = fetch(
        sources=[raw.url, f"{source.url}/x/training.tar.gz", f"{source.url}/x/validation.tar.gz"]
    )
    assert_whole(result, fetch.out)
    assert [path for path, _ in source.requests] == ["/x/training.tar.gz", "/x/validation.tar.gz"]


def test_archives_at_a_mirror_by_address(serve, fetch):
    plain = {file: TEXTS[file] for file in ("test.de", "test.en")}
    archives = {"training.tar.gz": archive("train"), "validation.tar.gz": archive("val")}
    mirror = serve(plain | archives)
    assert_whole(fetch("--mirror", mirror.url), fetch.out)
    assert [path for path, _ in mirror.requests if path.endswith(".tar.gz")] == [
        "/training.tar.gz",
        "/validation.tar.gz",
    ]


def test_archive_with_one_language_different(serve, fetch):
    texts = TEXTS | {"val.de": b"another preparation\n"}
    archives = serve({"validation.tar.gz": archive("val", texts)})
    raw = serve({name: data for name, data in RAW.items() if not name.startswith("val")})
    result = fetch(sources=[raw.url, f"{archives.url}/validation.tar.gz"])
    assert result.returncode == 1
    assert "not fetched: val.de." in result.stderr
    assert f"{archives.url}/validation.tar.gz: wrong bytes" in result.stderr
    assert sorted(p.name for p in fetch.out.iterdir()) == sorted(set(FILES) - {"val.de"})


def test_archive_cut_off_and_not_an_archive(serve, fetch):
    cut = serve(
        {"training.tar.gz": archive("train")}, behave=cut_once(lambda: cut, "training.tar.gz")
    )
    page = serve({"training.tar.gz": b"<html></html>"})
    raw = serve({name: data for name, data in RAW.items() if not name.startswith("train")})
    result = fetch(sources=[f"{page.url}/training.tar.gz", f"{cut.url}/training.tar.gz", raw.url])
    assert_whole(result, fetch.out)
    assert cut.requests[1][1] is not None
    assert "no train.de in the archive, or not a whole archive" in result.stderr


def members(named, padding=0):
    """A .tar.gz of the members of those names, after one of as many bytes as ``padding``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in {"padding": bytes(padding), **named}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("through", ["address", "folder"])
@pytest.mark.parametrize(
    "name",
    [
        "--checkpoint-action=exec=touch PWNED;#/train.de",
        "--to-command=touch PWNED;#/train.de",
        "-Itouch PWNED;#/train.de",
        "a\x1b[2Jb/train.de",
        "a\nb/train.de",
        "*/train.de",
    ],
)
def test_name_in_an_archive_is_never_an_option(serve, fetch, tmp_path, name, through):
    hostile = members({name: TEXTS["train.de"] + b"\n"}, padding=1 << 20)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "training.tar.gz").write_bytes(hostile)
    place = mirror / "training.tar.gz"
    if through == "address":
        place = mirror = f"{serve({'training.tar.gz': hostile}).url}/training.tar.gz"
    right = serve()
    result = fetch("--mirror", mirror, sources=[right.url])
    assert_whole(result, fetch.out)
    assert list(tmp_path.rglob("PWNED")) == []
    assert f"{place}: no train.de in the archive" in result.stderr
    assert "\x1b" not in result.stderr
    assert "/train.de.gz" in [path for path, _ in right.requests]


def test_usual_names_in_an_archive(fetch, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    names = {"train.de": "a folder-1.0_x/./train.de", "train.en": "/train.en"}
    named = {names[file]: TEXTS[file] + b"\n" for file in names}
    (mirror / "training.tar.gz").write_bytes(members(named))
    (mirror / "validation.tar.gz").write_bytes(archive("val"))
    for file in ("test.de", "test.en"):
        (mirror / file).write_bytes(TEXTS[file])
    assert_whole(fetch("--mirror", mirror), fetch.out)


def test_archive_member_that_is_no_file(serve, fetch, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, kind in (("train.de", tarfile.SYMTYPE), ("x/train.en", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    hostile = serve({"training.tar.gz": buffer.getvalue()})
    right = serve()
    result = fetch(sources=[f"{hostile.url}/training.tar.gz", right.url])
    assert_whole(result, fetch.out)


def test_folder_with_a_colon_is_no_remote_host(fetch, tmp_path):
    mirror = tmp_path / "col:on"
    mirror.mkdir()
    (mirror / "training.tar.gz").write_bytes(archive("train"))
    (mirror / "validation.tar.gz").write_bytes(archive("val"))
    for file in ("test.de", "test.en"):
        (mirror / file).write_bytes(TEXTS[file])
    assert_whole(fetch("--mirror", "col:on", cwd=tmp_path), fetch.out)


# ----------------------------------------------------------------------------------- without an end


LIMIT = 4 << 20  # bytes of a text, as in the script; a download may have twice as many
ENDLESS = 64 << 20  # far beyond what the script may take, and an end where it takes it all


def send_endlessly(sent):
    """Answers every request with one stream; ``sent`` gets the bytes that the client took."""

    def behave(path, handler):
        handler.send_response(200)
        handler.end_headers()
        chunk = os.urandom(1 << 16)
        sent.append(0)
        for _ in range(ENDLESS // len(chunk)):
            handler.wfile.write(chunk)
            sent[-1] += len(chunk)
        return True

    return behave


def greatest_size_while(run, folder):
    greatest = 0
    while run.poll() is None:
        for path in folder.rglob("*"):
            with suppress(OSError):
                greatest = max(greatest, path.stat().st_size)
        time.sleep(0.02)
    return greatest


@pytest.mark.parametrize("name", ["", "/training.tar.gz"])
def test_source_that_never_ends(serve, fetch, name):
    sent = []
    endless, right = serve({}, behave=send_endlessly(sent)), serve()
    run = fetch("--timeout=20", sources=[endless.url + name, right.url], start=True)
    greatest = greatest_size_while(run, fetch.out)
    stdout, stderr = run.communicate()
    assert_whole(subprocess.CompletedProcess(run.args, run.returncode, stdout, stderr), fetch.out)
    assert greatest <= 2 * LIMIT  # of what was seen: a full file may be gone between two looks
    assert LIMIT <= max(sent) < 2 * LIMIT + (16 << 20)  # with what lay in the buffers between
    assert len(sent) == (2 if name else len(FILES))  # one try each
    assert f"{endless.url + name}: wrong bytes: more than {LIMIT}" in stderr
    assert right.requests[0] == ("/train.de.gz", None)  # nothing of it is resumed


def bomb(size):
    """A .gz of a few kB that unpacks to so many zeros."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9) as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize("through", ["address", "folder"])
def test_gzip_bomb(serve, fetch, tmp_path, through):
    packed = bomb(ENDLESS)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "train.de.gz").write_bytes(packed)
    if through == "address":
        mirror = serve(RAW | {"train.de.gz": packed}).url
    run = fetch("--mirror", mirror, sources=[serve().url], start=True)
    greatest = greatest_size_while(run, fetch.out)
    stdout, stderr = run.communicate()
    assert_whole(subprocess.CompletedProcess(run.args, run.returncode, stdout, stderr), fetch.out)
    assert greatest <= LIMIT + 1
    assert f"{mirror}{'' if through == 'address' else '/train.de.gz'}: wrong bytes" in stderr


@pytest.mark.parametrize("kind", ["member", "padding", "sparse"])
def test_archive_bomb(serve, fetch, kind):
    if kind == "member":
        packed = members({"train.de": bytes(ENDLESS)})
    elif kind == "padding":  # the right text behind much else
        packed = members({"train.de": TEXTS["train.de"] + b"\n"}, padding=ENDLESS)
    else:
        packed = sparse_archive("train.de", 1 << 40)
    hostile, right = serve({"training.tar.gz": packed}), serve()
    started = time.monotonic()
    run = fetch(sources=[f"{hostile.url}/training.tar.gz", right.url], start=True)
    greatest = greatest_size_while(run, fetch.out)
    stdout, stderr = run.communicate()
    assert time.monotonic() - started < 20
    assert_whole(subprocess.CompletedProcess(run.args, run.returncode, stdout, stderr), fetch.out)
    assert greatest <= LIMIT + 1
    assert "train.de" in [path[1:9] for path, _ in right.requests]


def sparse_archive(name, size):
    """A .tar.gz of one member that is a hole of so many bytes (the format of old GNU tar)."""
    header = tarfile.TarInfo(name)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    block[257:265] = b"ustar  \0"
    block[386:398] = b"%011o\0" % min(size, 8**11 - 1)  # one entry: at the end, of no bytes
    block[398:410] = b"%011o\0" % 0
    block[483:495] = b"%011o\0" % min(size, 8**11 - 1)  # the size with the hole
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + bytes(1024))


def test_full_lengths_are_not_cut(serve, fetch, tmp_path):
    """As long as the real texts and their archive, and longer: a text of almost the limit."""
    texts = {file: TEXTS[file] * (LIMIT // len(TEXTS[file]) // 2) for file in FILES}
    sums = tmp_path / "large"
    sums.write_text("".join(f"{hashlib.sha256(texts[f]).hexdigest()}  {f}\n" for f in FILES))
    plain = {file: text for file, text in texts.items() if not file.startswith("train")}
    source = serve(plain | {"training.tar.gz": archive("train", texts)})
    result = fetch(
        f"--checksums={sums}",
        f"--mirror={source.url}",
        sources=[f"{source.url}/training.tar.gz"],
    )
    assert_whole(result, fetch.out, texts)


# ---------------------------------------------------------------------------- the machine and usage


def test_out_that_cannot_be_made(serve, fetch, tmp_path):
    (tmp_path / "a file").write_text("keep me")
    source = serve()
    result = fetch(sources=[source.url], out=tmp_path / "a file" / "below")
    assert result.returncode == 1
    assert f"cannot make the folder {tmp_path / 'a file' / 'below'}" in result.stderr
    assert source.requests == []
    assert (tmp_path / "a file").read_text() == "keep me"


def test_no_space(serve, fetch, tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails in the same place."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, data in RAW.items():
        (mirror / name).write_bytes(data)
    limited = ("bash", "-c", 'trap "" XFSZ; ulimit -f 4; exec "$@"', "bash")
    for options in (["--mirror", mirror], ["--mirror", serve().url]):
        result = fetch(*options, before=limited)
        assert result.returncode == 1
        assert "cannot write" in result.stderr
        assert "is the disk full?" in result.stderr
        assert not any((fetch.out / file).exists() for file in FILES)


@ONLY_SCRIPT
def test_beside_its_checksums_in_a_folder_that_is_only_read(tmp_path):
    """As in an installed package: neither is written there, nor is the place of it known."""
    folder = tmp_path / "site packages" / "x"
    folder.mkdir(parents=True)
    for name in ("fetch_multi30k.sh", "download.sh", "multi30k.sha256", "multi30k.sources"):
        shutil.copyfile(SCRIPT.parent / name, folder / name)  # not executable either
    listing = "".join(f"{hashlib.sha256(TEXTS[f]).hexdigest()}  {f}\n" for f in FILES)
    (folder / "multi30k.sha256").write_text(listing)
    for file, text in TEXTS.items():
        (tmp_path / file).write_bytes(text)
    folder.chmod(0o555)
    before = {path.name: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    command = ["bash", folder / "fetch_multi30k.sh", "--out", "out", "--mirror", "."]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert_whole(result, tmp_path / "out")
    after = {path.name: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    folder.chmod(0o755)
    assert before == after


def test_empty_folder_stays_where_nothing_could_be_fetched(fetch):
    fetch.out.mkdir(parents=True)
    assert fetch().returncode == 1
    assert list(fetch.out.iterdir()) == []


@pytest.fixture
def path_without_wget(tmp_path, fetch):
    if fetch.program != "wget":
        pytest.skip("Python needs none")
    tools = tmp_path / "tools"
    tools.mkdir()
    needed = "awk cat cut df dirname grep gzip head mkdir mv od rm rmdir sed tail tar tr wc".split()
    for tool in [*needed, "bash", "sha256sum", "shasum", "sleep"]:
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    return {"PATH": str(tools)}


@ONLY_SCRIPT
def test_without_wget(serve, fetch, path_without_wget):
    result = fetch(sources=[serve().url], env=path_without_wget)
    assert result.returncode == 1
    assert "GNU wget is not installed" in result.stderr


@ONLY_SCRIPT
def test_a_wget_that_does_not_start_says_why(serve, fetch, tmp_path):
    if fetch.program != "wget":
        pytest.skip("Python reads no such file")
    (tmp_path / "wgetrc").write_text("nonsense = 5\n")
    result = fetch(sources=[serve().url], env={"WGETRC": str(tmp_path / "wgetrc")})
    assert result.returncode == 1
    assert "wget does not start: wget: Unknown command" in result.stderr


@pytest.mark.parametrize("name", ["127.0.0.1", "proxy.invalid"])
def test_it_is_the_proxy_that_does_not_answer(fetch, name):
    proxy = f"{name}:{closed_port()}"
    result = fetch(sources=["http://source.invalid/x"], env={"http_proxy": f"http://{proxy}"})
    assert result.returncode == 1
    told = "the proxy 127.0.0.1:" if name == "127.0.0.1" else "the name of the proxy proxy.invalid"
    assert f"http://source.invalid/x: {told}" in result.stderr
    assert "source.invalid refused" not in result.stderr


def test_a_folder_needs_no_wget(fetch, path_without_wget, tmp_path):
    for name, data in RAW.items():
        (tmp_path / name).write_bytes(data)
    assert_whole(fetch("--mirror", tmp_path, env=path_without_wget), fetch.out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nonsense"], "unknown argument: --nonsense"),
        (["--mirror"], "--mirror needs a value"),
        (["--mirror", ""], "--mirror needs a value"),
        (["--mirror", "gopher://host/x"], "not gopher://host/x"),
        (["--timeout", "soon"], "not soon"),
        (["--tries=0"], "not 0"),
        (["--checksums", "no/such/file"], "cannot read the checksums"),
        (["--checksums", os.devnull], "cannot read the checksums"),
    ],
)
def test_wrong_usage(fetch, options, said):
    result = fetch(*options)
    assert result.returncode == 2
    assert said in result.stderr
    assert not fetch.out.exists()


def test_help_names_every_option(fetch):
    result = fetch("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for option in ("--out", "--mirror", "--timeout", "--tries", "--checksums", "--quiet", "--help"):
        assert option in result.stdout
    for word in ("MULTI30K_MIRROR", "MULTI30K_SOURCES", "exit status"):
        assert word in result.stdout
