"""A request that is refused, in the shape that OpenAI's errors have."""

from typing import Any

BAD = "invalid_request_error"
OURS = "server_error"


class RequestError(Exception):
    """`status` of HTTP, one sentence, the field that is wrong and OpenAI's short name of the error, where there are."""

    def __init__(self, status: int, message: str, field: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": BAD if status < 500 else OURS, "param": field, "code": code}
        }
