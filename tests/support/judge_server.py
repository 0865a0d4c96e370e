"""A real server process that answers as an OpenAI-compatible endpoint does, well or badly: `judge_server.py
TASTE LOG TROUBLE,TROUBLE,...`.

It prints its port, deals out one trouble a request, then follows its taste; every request becomes a line of
LOG.
"""

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TASTE = sys.argv[1]
LOG = sys.argv[2]
TROUBLES = [name for name in sys.argv[3].split(",") if name]
RAW = {
    "malformed": b'{"choices": [{"mess',
    "hollow": b'{"choices": []}',
    "number": b'{"choices": [{"message": {"content": 1}}]}',
}
TASTES = {
    "first": lambda one, two: "1",
    "tie": lambda one, two: "=",
    "longer": lambda one, two: "1" if len(one) > len(two) else "2",
    "good": lambda one, two: "Answer: 1" if "good" in one else "2",
    "chatter": lambda one, two: "I like both.",
    "refusal": lambda one, two: None,
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        trouble = TROUBLES.pop(0) if TROUBLES else ""
        with open(LOG, "a") as log:
            log.write(
                json.dumps(
                    {
                        "path": self.path,
                        "key": self.headers.get("Authorization"),
                        "body": body,
                        "trouble": trouble,
                    }
                )
                + "\n"
            )
        if trouble == "drop":
            return self.connection.close()
        if trouble == "slow":
            time.sleep(1.5)
        if trouble.isdigit():
            echoed = json.dumps({"error": f"refused {self.headers.get('Authorization')}"})
            return self.answer(int(trouble), echoed.encode(), {"Retry-After": "0", "Location": "/elsewhere"})
        prompt = body["messages"][0]["content"]
        one, two = (re.findall(f"<text{number}>(.*)</text{number}>", prompt)[0] for number in (1, 2))
        content = TASTES[TASTE](one, two)
        completion = {"choices": [{"message": {"role": "assistant", "content": content}}]}
        return self.answer(200, RAW.get(trouble) or json.dumps(completion).encode(), {})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # whoever asked has lost patience
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
