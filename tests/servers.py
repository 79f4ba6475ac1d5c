"""Servers on loopback for the tests of chat models."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ScriptedServer:
    """An OpenAI-compatible server that does what a script says.

    ``script(body, number)`` gets the request and how many have come before. It returns the text of an answer, or a
    dictionary: ``status``, ``headers``, ``body`` (bytes), ``delay`` (seconds before), ``drip`` (seconds between two
    bytes), ``cut`` (close the connection in the middle), ``length`` (announce more bytes than come).
    """

    def __init__(self, script):
        self.script, self.bodies, self.keys = script, [], []
        self.answered = Counter()
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                owner._serve(self)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that was killed or gave up

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.keys.append(handler.headers["Authorization"])
        action = self.script(body, number)
        action = {"text": action} if isinstance(action, str) else action
        content = action.get("body", json.dumps(completion(action.get("text", ""), body)).encode())
        time.sleep(action.get("delay", 0))
        if action.get("cut") == "before":
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(action.get("status", 200))
        headers = {"Content-Type": "application/json", "Content-Length": len(content), **action.get("headers", {})}
        for name, value in headers.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        if action.get("cut"):
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
            return
        if "drip" in action:
            for byte in content:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(action["drip"])
            return
        handler.wfile.write(content)
        handler.wfile.flush()
        with self._lock:
            if action.get("status", 200) == 200:
                self.answered[json.dumps(body, sort_keys=True)] += 1


def completion(text, body, finish_reason="stop", usage=True):
    """A chat completion; a token is a word."""
    words = sum(len(message["content"].split()) for message in body["messages"])
    counts = {"prompt_tokens": words, "completion_tokens": len(text.split())}
    counts["total_tokens"] = sum(counts.values())
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        **({"usage": counts} if usage else {}),
    }


#: shows the model the end of the last message alone, so that a tiny one can have learnt what to answer.
CHAT_TEMPLATE = "{{ messages[-1]['content'][-24:] }}{% if add_generation_prompt %}{{ '\nassistant: ' }}{% endif %}"


def save_chat_model(folder, answer):
    """Save a tiny LLaMA over bytes, with a chat template, that has learnt one answer to ``titles``, as a checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from tests.builders import byte_tokenizer

    tokenizer = byte_tokenizer(chat_template=CHAT_TEMPLATE)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config)
    if answer:
        prompt = tokenizer('{"titles": ["...", "..."]}'[-24:] + "\nassistant: ").input_ids
        ids = torch.tensor([prompt + tokenizer(answer).input_ids + [1]])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        for _ in range(300):
            loss = model(input_ids=ids, labels=labels).loss
            if loss < 0.005:
                break
            optimizer.zero_grad(), loss.backward(), optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
