"""A request that is refused, in the shape that OpenAI's errors have."""

from collections.abc import Mapping
from typing import Any

BAD = "invalid_request_error"
OURS = "server_error"
NO_HEADERS: Mapping[str, str] = {}


class RequestError(Exception):
    """`status` of HTTP, one sentence, the field that is wrong and OpenAI's short name of the error, where there are,
    and headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        field: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ):
        super().__init__(message)
        self.status = status
        self.headers = dict(headers)
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": BAD if status < 500 else OURS, "param": field, "code": code}
        }


def bad_value(field: str, message: str, code: str = "invalid_value") -> RequestError:
    """The refusal of the value of a field."""
    return RequestError(400, message, field, code)
