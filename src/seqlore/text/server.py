"""A server that speaks OpenAI's protocol: its address, the key that may go there, and its failures in plain words.

Shared by all that ask such a server: text vectors, language models, hosted fine-tuning.

The key comes from the argument or the environment and goes nowhere else: ``OPENAI_API_KEY`` to OpenAI, or to the
address in ``OPENAI_BASE_URL``; to any other address only ``SEQLORE_API_KEY``, because a recipe that names a stranger's
server must not be given a key that was meant for OpenAI. What else the official client would read from the environment
and send along (``OPENAI_CUSTOM_HEADERS``, organisation, project) stays at home by the same rule.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from seqlore.errors import ConfigError, DataError, MissingExtraError, SeqloreError

if TYPE_CHECKING:
    import openai

OFFICIAL = "https://api.openai.com/v1"


class Server:
    """Address and key. The key is in no representation, error or identity."""

    def __init__(self, what: str, base_url: str | None = None, api_key: str | None = None) -> None:
        """Find address and key; nothing is asked of the server yet.

        Args:
            what: who asks, the beginning of error messages: "encoder openai:small".
            base_url: up to and with ``/v1``; None = ``OPENAI_BASE_URL``, else OpenAI.
            api_key: None = from the environment, see above.

        Raises: ConfigError: an address that is none, or that holds a key; no key where one is needed, or one that
            cannot be sent.
        """
        usual = (os.environ.get("OPENAI_BASE_URL") or OFFICIAL).rstrip("/")
        self.base_url = (base_url or usual).rstrip("/")
        try:
            address = urlsplit(self.base_url)
            _ = address.port  # which is read here, and may be none
        except ValueError:  # whose words hold what stands where a port should, which may be a key
            raise ConfigError(f"{what}: the server's address is none; write http://HOST:PORT/v1") from None
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"{what}: the server's address must begin with http:// or https://")
        if address.username or address.password or address.query:
            raise ConfigError(f"{what}: no key in the server's address: set SEQLORE_API_KEY instead")
        self.where = f"{what} at {self.base_url}"
        self.official = self.base_url == OFFICIAL
        self.variable = "OPENAI_API_KEY" if self.base_url in (usual, OFFICIAL) else "SEQLORE_API_KEY"
        self._key = (api_key or os.environ.get(self.variable) or "").strip()
        if not self._key and self.official:
            raise ConfigError(f"{what}: OpenAI needs a key; set the environment variable {self.variable}")
        if not (self._key.isascii() and self._key.isprintable()):  # the client's own error would show the key
            raise ConfigError(f"{what}: the key in {self.variable} holds characters that no key has; copy it anew")

    def client(self, purpose: str, *, retries: int, timeout: float) -> openai.OpenAI:
        """The official client. Raises: MissingExtraError: it is not installed; the message begins with ``purpose``."""
        return _library(purpose).OpenAI(**self._settings(purpose), max_retries=retries, timeout=timeout)

    def async_client(self, purpose: str, *, retries: int, timeout: float) -> openai.AsyncOpenAI:
        """The official client for asyncio, which waits ten seconds for a connection. Raises: as ``client``."""
        library = _library(purpose)
        patience = library.Timeout(timeout, connect=min(timeout, 10.0))
        return library.AsyncOpenAI(**self._settings(purpose), max_retries=retries, timeout=patience)

    def _settings(self, purpose: str) -> dict[str, Any]:
        # The client insists on some key, even for a server that asks for none.
        settings = {"api_key": self._key or "none", "base_url": self.base_url}
        if self.variable == "OPENAI_API_KEY":
            return settings
        lines = (os.environ.get("OPENAI_CUSTOM_HEADERS") or "").split("\n")
        names = [line.partition(":")[0].strip() for line in lines if ":" in line]
        names = [name for name in names if name.lower() != "authorization"]
        kept = dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", *names], _library(purpose).Omit())
        return settings | {"default_headers": {**kept, "Authorization": f"Bearer {settings['api_key']}"}}

    def clean(self, text: str, shortest: int = 1) -> str:
        """``text`` without the key, which some servers repeat; a key below ``shortest`` characters may stay."""
        return text.replace(self._key, "…") if len(self._key) >= shortest else text

    def failure(self, error: Exception, wanted: str, retries: int, then: str = "", about: str = "") -> SeqloreError:
        """What the client's ``error`` means to the user.

        The caller raises it outside its ``except`` clause: nothing of the client's, which knows the key, is then part
        of the traceback.

        Args:
            wanted: what the answer should have been: "a list of embeddings".
            retries: how often it was asked again.
            then: what to do about a failure that may pass.
            about: what it was asked about: "prompt '…'".
        """
        import openai

        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return ConfigError(f"{self.where}: the server refuses the key; set {self.variable} to a valid one")
        if isinstance(error, openai.NotFoundError):
            named = f" ({about})" if about else ""
            return ConfigError(f"{self.where}: the server knows no such model or path{named}; check the name and /v1")
        if _out_of_credit(error):
            return ConfigError(f"{self.where}: the account has no credit left; top it up and run it again")
        if may_pass(error):
            status = f"status {error.status_code}" if isinstance(error, openai.APIStatusError) else ""
            cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
            what = status or type(cause).__name__
            return SeqloreError(f"{self.where}: still failing after {retries} retries ({what}){then}")
        if isinstance(error, openai.APIStatusError):
            body: Any = error.body  # OpenAI's error, or what another server says in a form of its own
            told = body.get("message") if isinstance(body, dict) else None
            said = " ".join(self.clean(told if isinstance(told, str) else error.response.text).split())[:300]
            about = f", {about}" if about else ""
            return ConfigError(f"{self.where}: the server refuses the request ({error.status_code}{about}): {said}")
        return DataError(f"{self.where}: the answer is not {wanted} ({type(error).__name__})")


def may_pass(error: Exception) -> bool:
    """Whether asking again may help: 408, 409, 429, 5xx, cut connections and timeouts."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return (error.status_code >= 500 or error.status_code in (408, 409, 429)) and not _out_of_credit(error)
    return isinstance(error, openai.APIConnectionError | TimeoutError)


def _out_of_credit(error: Exception) -> bool:
    """OpenAI says with the status of a rate limit that an account is empty, which no waiting mends."""
    return getattr(error, "code", None) == "insufficient_quota"


def _library(purpose: str) -> Any:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError(f"{purpose} need the openai client: pip install 'seqlore[llm]'") from error
    return openai
