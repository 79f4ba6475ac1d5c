"""``recommend --chat``: turns from a pipe, and from a terminal."""

import io
import json

import pytest

from recbole_genrec import Conversation, GenRecommender
from recbole_genrec.cli.main import main
from tests.servers import ScriptedServer


@pytest.fixture
def talk(trained, monkeypatch, capsys):
    """Runs the command on some lines; gives its output and errors."""

    def run(lines, *options, terminal=False):
        stdin = io.StringIO("".join(f"{line}\n" for line in lines))
        stdin.isatty = lambda: terminal
        monkeypatch.setattr("sys.stdin", stdin)
        code = main(["recommend", "--checkpoint", str(trained["trie"][2]), "--chat", *options])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out, captured.err

    return run


def test_a_piped_conversation(talk, trained):
    turns = ["I liked Alien", "no horror", "", "xyzzy", "exit", "not read"]
    printed, errors = talk(turns, "--topk=2")
    assert ">" not in printed and "Say what" not in printed
    conversation = Conversation(GenRecommender.from_checkpoint(trained["trie"][2]), topk=2)
    replies = [conversation.say(turn) for turn in ("I liked Alien", "no horror", "xyzzy")]
    blocks = printed.strip().split("\n\n")
    assert [block.splitlines()[-1] for block in blocks] == [reply.line for reply in replies]
    for block, reply in zip(blocks, replies):
        assert [line.strip().split("  ")[1].strip() for line in block.splitlines()[:-1]] == [
            recommendation.title for recommendation in reply.recommendations
        ]


def test_a_terminal_is_prompted_and_the_end_of_input_ends(talk):
    printed, errors = talk(["comedies"], terminal=True)
    assert printed.count("> ") == 2 and "'exit' ends" in printed and "Understood: genre is Comedy." in printed


def test_lines_of_json(talk):
    printed, _ = talk(["I liked Heat", "1", "undo"], "--json", "--item=m9", "--where=genre=Crime|Comedy", "--topk=3")
    first, asked, chosen, undone = map(json.loads, printed.splitlines())
    assert first["said"] == "" and len(first["recommendations"]) == 3
    assert asked["options"] == ["Heat", "Heat (2)"] and asked["recommendations"] == []
    assert chosen["understood"] == "Understood: you liked Heat." and chosen["said"] == "1"
    assert undone["recommendations"] == first["recommendations"]
    assert not {"m8", "m9", "m5", "m6"} & {each["item_id"] for each in chosen["recommendations"]}


def test_a_user_of_the_dataset(talk):
    printed, _ = talk(["why"], "--user=u1", "--topk=3")
    assert "The list so far." in printed and "History: " in printed


def test_a_language_model(talk, tmp_path, monkeypatch):
    pytest.importorskip("openai", reason="needs the extra 'chat'")
    monkeypatch.setenv("TEST_KEY", "sk-0123456789-0123456789")

    def script(body, number):
        return '{"topk": 2}' if "schema" in body["messages"][0]["content"] else '{"text": "Take [1]."}'

    with ScriptedServer(script) as server:
        options = [f"--base_url={server.url}", "--chat_model=small", "--api_key_env=TEST_KEY", "--json_mode"]
        options += [f"--chat_cache={tmp_path}", "--request_timeout=30", "--request_attempts=1"]
        printed, _ = talk(["a pair, please"], *options)
        assert server.bodies[0]["response_format"] == {"type": "json_object"}
        assert server.bodies[0]["model"] == "small" and server.keys[0] == "Bearer sk-0123456789-0123456789"
    assert "Understood: a list of 2.\nTake " in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--chat", "--exclude_seen"], "--exclude_seen is not for --chat"),
        (["--chat", "--explain"], "--explain is not for --chat"),
        (["--item=m1", "--chat_model=x"], "--chat_model is for --chat"),
        (["--chat", "--base_url=http://localhost"], "--base_url is for --chat_model"),
        (["--chat", "--topk=0"], "'topk' must be a whole number from 1 to 100"),
        (["--chat", "--chat_model=x", "--base_url=localhost"], "'base_url' must begin with http"),
        (["--chat", "--chat_model=x", "--request_timeout=soon"], "--request_timeout must be a positive whole number"),
        (["--chat", "--where=genre=War"], "no item has 'War'"),
    ],
)
def test_mistakes_are_one_line(trained, capsys, options, message):
    assert main(["recommend", "--checkpoint", str(trained["trie"][2]), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1] and not captured.out
