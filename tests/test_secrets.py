"""No key and no password comes into a log, a result, a checkpoint, a cache, a report or an error."""

import json
import logging
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("openai", reason="needs the extra 'chat'")

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.chat.client import ChatClient
from recbole_genrec.cli.main import main
from recbole_genrec.config.arguments import PromptLLMArguments
from recbole_genrec.errors import without_passwords
from recbole_genrec.report import write_report
from recbole_genrec.serve.export import export
from tests.builders import SCRATCH, write_films
from tests.servers import ScriptedServer

CHAT_KEY = "sk-chat-0123456789abcdef"
SECRETS = {
    "OPENAI_API_KEY": CHAT_KEY,
    "HF_TOKEN": "hf_0123456789abcdefSecret",
    "WANDB_API_KEY": "wandb0123456789abcdefSecret",
    "HF_ENDPOINT": "https://me:mirror-password@hub.invalid",
    "HTTPS_PROXY": "http://me:proxy-password@127.0.0.1:9",
}
HIDDEN = [CHAT_KEY, SECRETS["HF_TOKEN"], SECRETS["WANDB_API_KEY"], "mirror-password", "proxy-password"]


@pytest.fixture
def secrets(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    """An empty working folder, and the settings of a small world."""
    monkeypatch.chdir(tmp_path)
    data_path = write_films(write_dataset, tmp_path / "data")
    return {**SCRATCH, "data_path": data_path, "epochs": 1, "metrics": ["NDCG"], "max_prompt_tokens": 400}


def secrets_in(text):
    return [secret for secret in HIDDEN if secret in text]


def check_files(folder):
    """No file below ``folder`` holds a secret; returns their names' endings."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert not secrets_in(path.read_bytes().decode("latin-1")), path
    return {path.suffix for path in files}


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """Weights & Biases that writes everything down."""
    module = ModuleType("wandb")
    module.__spec__ = ModuleSpec("wandb", None, origin="here")
    module.run = None

    def note(*given, **named):
        with open(tmp_path / "wandb.txt", "a", encoding="utf-8") as file:
            print(given, named, file=file)

    def init(**named):
        note(**named)
        module.run = SimpleNamespace(summary={})

    module.init, module.log, module.define_metric = init, note, note
    module.finish = lambda: setattr(module, "run", None)
    monkeypatch.setitem(sys.modules, "wandb", module)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
def test_nothing_that_a_run_leaves_behind_holds_a_secret(secrets, settings, wandb, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    pytest.importorskip("plotly", reason="needs the extra 'report'")

    def server_that_repeats(body, number):
        if not number:
            return {"status": 500, "body": json.dumps({"error": {"message": f"bad key {CHAT_KEY}"}}).encode()}
        logging.getLogger("urllib3").warning("retry of %s/me/model", SECRETS["HF_ENDPOINT"])
        return json.dumps({"titles": ["Heat", f"You sent {CHAT_KEY}", "Up"]})

    with ScriptedServer(server_that_repeats) as server:
        chat = {"ranking": "chat", "chat_model": "small", "base_url": server.url, "retry_wait": 0.01, "json_mode": True}
        models = {"PromptLLM": chat, "log_wandb": True}
        results = run_recbole_genrec("PromptLLM,GenRec", "tiny", config_dict=settings | models)
        assert set(server.keys) == {f"Bearer {CHAT_KEY}"}
    assert results[0]["usage"]["retries"] == 1
    export(results[1]["checkpoint"], "plain", merged=True)
    write_report("results")
    endings = check_files(tmp_path)
    assert {".json", ".npz", ".log", ".safetensors", ".yaml", ".md", ".html", ".txt"} <= endings
    assert list(Path("log_tensorboard").rglob("events*"))
    (log,) = Path("log/PromptLLM").glob("*.log")
    assert "retry of https://***@hub.invalid/me/model" in log.read_text("utf-8")
    (answer, *_) = Path("chat_cache").rglob("*.json")
    assert "You sent ***" in json.loads(answer.read_text("utf-8"))["text"]
    printed = capfd.readouterr()
    assert "NDCG" in printed.out.upper() and not secrets_in(printed.out + printed.err + caplog.text)


def test_a_refused_request_is_told_without_the_key(secrets, settings, tmp_path, capfd):
    said = {"status": 401, "body": json.dumps({"error": {"message": f"Incorrect API key: {CHAT_KEY}"}}).encode()}
    with ScriptedServer(lambda body, number: said) as server:
        options = ["--model=PromptLLM", "--dataset=tiny", f"--data_path={settings['data_path']}", "--ranking=chat"]
        options += ["--chat_model=small", f"--base_url={server.url}", "--topk=[3]", "--valid_metric=NDCG@3"]
        assert main(options) == 2
    printed = capfd.readouterr()
    assert "status 401 (Incorrect API key: ***)" in printed.err and not secrets_in(printed.out + printed.err)
    check_files(tmp_path)


def test_a_mirror_that_cannot_be_reached_is_told_without_its_password(secrets, settings, tmp_path, monkeypatch, capfd):
    """Through a comparison: its log, its record of the failure, and what it prints."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ["--models=GenRec", "--datasets=tiny", f"--data_path={settings['data_path']}"]
    options += ["--backbone=me/model", "--topk=[3]", "--valid_metric=NDCG@3"]
    assert main(["compare", *options]) == 1
    told = json.loads(Path("results/GenRec-tiny-2020.failed.json").read_text("utf-8"))
    assert "Cannot load the backbone 'me/model'" in told["error"] and "https://***@hub.invalid" in told["error"]
    assert "https://***@hub.invalid" in Path("results/GenRec-tiny-2020.log").read_text("utf-8")
    check_files(tmp_path)
    printed = capfd.readouterr()
    assert not secrets_in(printed.out + printed.err)


@pytest.mark.parametrize("address", [
    "http://me:0secret0@host/v1",
    "http://0secret0@host/v1",
    "me:0secret0@host/v1",
    "https:/me:0secret0@host/v1",
    "//me:0secret0@host/v1",
    "http://[me:0secret0@host/v1",
    "http://host/v1?key=0secret0",
    "http://host/v1#0secret0",
    "ftp://host/0secret0",
])  # fmt: skip
def test_a_secret_in_an_address_is_refused_and_not_shown(settings, tmp_path, capfd, address):
    files = set(tmp_path.rglob("*"))
    options = ["--model=PromptLLM", "--dataset=tiny", f"--data_path={settings['data_path']}", "--ranking=chat"]
    assert main([*options, "--chat_model=small", f"--base_url={address}"]) == 2
    printed = capfd.readouterr()
    assert "error: 'base_url'" in printed.err and "0secret0" not in printed.err + printed.out
    assert set(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("name", ["sk-0123", "hf_0123456789abcdef", "gsk_0123456789", "0123", ""])
def test_a_key_in_the_place_of_its_name_is_refused_and_not_shown(name):
    with pytest.raises(GenRecError, match="'api_key_env' must be the name") as caught:
        PromptLLMArguments(api_key_env=name)
    assert not name or name not in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "Authorization", "extra-headers", "token"])
def test_a_key_among_the_parameters_of_a_request_is_refused_and_not_shown(name):
    with pytest.raises(GenRecError, match=f"'chat_options' cannot hold '{name}'") as caught:
        PromptLLMArguments(chat_options={name: "0secret0"})
    assert "0secret0" not in str(caught.value)
    assert PromptLLMArguments(chat_options={"max_tokens": 5}).chat_options["max_tokens"] == 5


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """A function that asks a server once with a key."""

    def once(server, key, **changes):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        settings = {"ranking": "chat", "chat_model": "small", "base_url": server.url, "request_attempts": 1, **changes}
        client = ChatClient(PromptLLMArguments(chat_cache=str(tmp_path / "cache"), **settings))
        return client.ask([[{"role": "user", "content": "hello"}]])[0].text

    return once


def test_a_line_break_after_the_key_is_no_part_of_it(ask):
    with ScriptedServer(lambda body, number: "yes") as server:
        assert ask(server, f"{CHAT_KEY}\n") == "yes"
        assert server.keys == [f"Bearer {CHAT_KEY}"]


@pytest.mark.parametrize("key", ["0secret0\nmore", "0secret0\u2026", "0secret0\x7f"])
def test_a_key_that_no_header_can_hold_is_not_shown(ask, key):
    with ScriptedServer(lambda body, number: "yes") as server:
        with pytest.raises(GenRecError, match="'OPENAI_API_KEY' .* holds characters that no key has") as caught:
            ask(server, key)
        assert "0secret0" not in str(caught.value) and not server.bodies


def test_a_placeholder_in_the_place_of_a_key_may_stand_in_an_answer(ask):
    with ScriptedServer(lambda body, number: "Heat, EMPTY, Up") as server:
        assert ask(server, "EMPTY") == "Heat, EMPTY, Up"


@pytest.mark.parametrize(("text", "shown"), [
    ("at https://me:secret@host/v1, twice", "at https://***@host/v1, twice"),
    ("'http://secret@host'", "'http://***@host'"),
    ("http://me:sec@ret@host/a@b", "http://***@host/a@b"),
    ("https://host/v1 and me@host", "https://host/v1 and me@host"),
    ("socks5://me:secret@host", "socks5://***@host"),
])  # fmt: skip
def test_passwords_of_addresses_are_hidden(text, shown):
    assert without_passwords(text) == shown
    assert str(GenRecError(text)) == shown
