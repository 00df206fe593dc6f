"""A chat server on a real socket that misbehaves when it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer(ThreadingHTTPServer):
    """Answers "<prompt>!" to each prompt.

    ``tricks[prompt]`` says how the next requests for it go wrong; then all goes well. ``habits`` go on for ever.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tricks: dict[str, list[str]] = {}
        self.habits: set[str] = set()
        self.pauses: dict[str, float] = {}  #: seconds before the answer to a prompt
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.given: dict[str, int] = defaultdict(int)  #: whole replies by prompt
        self.lock, self.now, self.most = threading.Lock(), 0, 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """What was asked, in order."""
        return [prompt_of(request) for request in self.requests]

    def handle_error(self, *_: Any) -> None: ...  # clients that hang up are part of the tests

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


def prompt_of(request: dict[str, Any]) -> str:
    """What is asked; "embeddings" where vectors are, which it can only refuse."""
    if "input" in request:
        return "embeddings"
    return request["prompt"] if "prompt" in request else request["messages"][-1]["content"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self) -> None:
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = prompt_of(asked)
        with server.lock:
            server.requests.append({**asked, "path": self.path})
            server.keys.append(self.headers["Authorization"])
            left = server.tricks.get(prompt, [])
            trick = left.pop(0) if left else "none"
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            time.sleep(server.pauses.get(prompt, 0.0))
            self.reply(asked, prompt, trick)
        finally:
            with server.lock:
                server.now -= 1

    def reply(self, asked: dict[str, Any], prompt: str, trick: str) -> None:
        server, habits = self.server, self.server.habits
        key = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        n = 1 if "ignores n" in habits else asked.get("n", 1)
        seed = asked.get("seed")
        text = f"{prompt}!"
        if "echoes the key" in habits:
            text += f" Your key is {key}."
        if "leaves the stop" in habits:
            text += asked["stop"][0] + " and more"
        if "response_format" in asked and "ignores the schema" not in habits:
            text = json.dumps({"title": prompt})
        choices = []
        for index in range(n):
            said = f"{text} {seed + index}" if n > 1 or "tells the seed" in habits else text
            content = {"message": {"role": "assistant", "content": said}} if "messages" in asked else {"text": said}
            choices.append({"index": index, "finish_reason": "stop", **content})
        if "refuses" in habits:
            choices[0]["message"] = {"role": "assistant", "content": None, "refusal": "I had rather not"}
        answer: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"]}
        answer["choices"] = choices
        if "counts nothing" not in habits:
            answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 5 * n, "total_tokens": 10 + 5 * n}
        status, body, headers = 200, json.dumps(answer), {"Content-Type": "application/json"}
        if trick[:3].isdecimal():
            status = int(trick[:3])
            code = trick[4:] if not trick[4:].startswith("after") else None
            body = json.dumps({"error": {"message": f"no good:\n{key}", "type": "some", "code": code}})
            if code is None and "after" in trick:
                headers["Retry-After"] = trick.split()[-1]
        if trick == "no json":
            headers["Content-Type"], body = "text/html", "<html>a proxy's error page</html>"
        if trick == "other json":
            body = '{"answer": 42}'
        if trick == "no text":
            body = '{"choices": [{"message": {"content": ["a", "list"]}}]}'
        if trick == "no choice":
            body = '{"choices": []}'
        content = body.encode()
        if trick == "half json":
            content = content[: len(content) // 2]
        if trick == "hang up":
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if trick == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        if trick == "drip":  # each byte in good time, the whole never
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
        self.wfile.write(content)
        if trick == "none":
            with server.lock:
                server.given[prompt] += 1

    def log_message(self, *_: Any) -> None: ...
