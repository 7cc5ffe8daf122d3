"""A client of a server over HTTP."""

import json
from http.client import HTTPConnection

from foveate.serving.field import CHAT


class Client:
    """Asks the server at a port."""

    def __init__(self, port, headers=()):
        self.port, self.headers = port, {"content-type": "application/json", **dict(headers)}

    def send(self, method, path, body=None, timeout=120):
        """(status, headers, text)."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            line.request(method, path, data, self.headers)
            answer = line.getresponse()
            return answer.status, dict(answer.headers), answer.read().decode()
        finally:
            line.close()

    def ask(self, body, path=CHAT):
        return self.send("POST", path, body)

    def text(self, body, header="x-foveate-visual-tokens"):
        """(the answer's text, a header of it) of a request that is fine."""
        status, headers, text = self.ask(body)
        assert status == 200, text
        if body.get("stream"):
            return "".join(pieces(text)), headers.get(header)
        return json.loads(text)["choices"][0]["message"]["content"], headers.get(header)


def pieces(text):
    """Those of a streamed chat completion."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    found = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    return [piece for piece in found if piece]
