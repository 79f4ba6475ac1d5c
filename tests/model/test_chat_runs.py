"""Runs with a chat model: faults of a server, the cache of answers, the key, and a real server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec
from tests.model.conftest import KEY
from tests.model.promptllm_world import needs_chat, oracle
from tests.servers import ScriptedServer, completion, save_chat_model

FAULTS = {
    "429": {"status": 429, "body": b"{}", "headers": {"Retry-After": "0"}},
    "500": {"status": 500, "body": b"{}"},
    "cut": {"cut": "within", "text": "{}"},
    "slow": {"delay": 3.0},
    "malformed": {"body": b'{"choices"'},
}
RUN = "import json, sys; from recbole_genrec import run_recbole_genrec as run; "
RUN += "run('PromptLLM', 'tiny', config_dict=json.loads(sys.argv[1]))"


@needs_chat
def test_faults_that_pass_change_nothing(chat):
    seen, lock, faults = set(), threading.Lock(), list(FAULTS.values())

    def moody(body, number):
        question = json.dumps(body, sort_keys=True)
        with lock:
            first = question not in seen
            seen.add(question)
        return faults[len(seen) % len(faults)] if first else oracle(body)

    with ScriptedServer(moody) as server:
        settings = chat(server, eval_step=0, request_timeout=1.5, concurrency=4)
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    assert result["test_result"]["hit@1"] == 1
    assert result["usage"]["retries"] >= result["usage"]["requests"] == len(seen)


@needs_chat
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_one_error_and_the_next_run_goes_on(chat, fault):
    with ScriptedServer(lambda body, number: oracle(body) if number < 5 else FAULTS[fault]) as server:
        settings = chat(server, eval_step=0, concurrency=1, request_attempts=2, request_timeout=1.5)
        with pytest.raises(GenRecError, match="5 answers of this run are kept in 'chat_cache'"):
            run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        assert len(server.bodies) == 7
        assert not Path("results").exists()
        server.script = oracle
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings | {"request_timeout": 60.0})
        assert result["usage"]["from_cache"] == 5
        assert len(server.bodies) == 7 + result["usage"]["requests"] - 5


@needs_chat
def test_a_second_run_asks_nothing(chat):
    with ScriptedServer(oracle) as server:
        settings = chat(server, input_price=1.0, output_price=2.0)
        first = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        asked = len(server.bodies)
        second = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        assert len(server.bodies) == asked
    assert first["test_result"] == second["test_result"]
    assert first["usage"]["cost"] == second["usage"]["cost"] == first["usage"]["spent"] > 0
    assert second["usage"]["spent"] == 0


@needs_chat
def test_the_key_is_in_no_file(chat, tmp_path):
    with ScriptedServer(oracle) as server:
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=chat(server))
        assert set(server.keys) == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in str(result)


@needs_chat
def test_a_killed_run_repeats_no_finished_request(chat):
    """Killed with SIGKILL with three requests under way, then run to its end."""
    reached = threading.Event()

    def holding(body, number):
        if number < 11:
            return oracle(body)
        if number == 13:
            reached.set()
        return {"delay": 60}

    with ScriptedServer(holding) as server:
        settings = chat(server, concurrency=3, eval_step=0, request_timeout=120.0)
        command = [sys.executable, "-c", RUN, json.dumps(settings)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert reached.wait(300)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert len(list(Path("chat_cache").rglob("*.json"))) == 11  # all that was answered is kept
        server.script = oracle
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    assert result["test_result"]["hit@1"] == 1
    assert result["usage"]["from_cache"] == 11
    assert set(server.answered.values()) == {1}  # no finished request was sent again
    assert len(server.bodies) == result["usage"]["requests"] + 3


# ---- a real server ----


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    """``transformers serve`` with a tiny LLaMA that has learnt one answer."""
    transformers = shutil.which("transformers", path=str(Path(sys.executable).parent))
    if transformers is None or find_spec("fastapi") is None or find_spec("uvicorn") is None:
        pytest.skip("needs transformers[serving]")
    titles = ["Toy Story", "heat", "The Sting", "Nowhere", "Heat", "Up"]
    folder = save_chat_model(tmp_path_factory.mktemp("served"), json.dumps({"titles": titles}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [transformers, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = open(tmp_path_factory.mktemp("log") / "serve.log", "w+b")
    run = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while not _is_up(port):
            if run.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                pytest.fail(f"transformers serve did not start: {log.read()[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        run.kill()
        run.wait()
        log.close()


def _is_up(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@needs_chat
def test_a_real_server_answers(chat, real_server):
    url, model = real_server
    settings = chat(url, chat_model=model, eval_users=4, eval_step=0, few_shot=1, request_timeout=60.0)
    settings["chat_options"] = {"max_tokens": 120, "temperature": None}
    result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    grounding = result["generation"]["grounding"]
    assert (grounding["answers"], grounding["refused"], grounding["titles"]) == (4, 0, 4 * 6)
    assert (grounding["exact"], grounding["invented"], grounding["repeated"]) == (4 * 4, 4, 4)
    assert result["usage"]["input_tokens"] > 0 and result["usage"]["output_tokens"] > 100
    again = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    assert again["usage"]["from_cache"] == again["usage"]["requests"] == result["usage"]["requests"]
    assert again["test_result"] == result["test_result"]


def test_completions_of_the_scripted_server_look_like_the_real_ones():
    body = {"model": "small", "messages": [{"role": "user", "content": "a b"}]}
    assert completion("c", body)["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
