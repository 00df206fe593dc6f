"""The client of ``seqlore serve``: :class:`Client` and :class:`AsyncClient`, with the types of requests and answers."""

from seqlore.client.client import AsyncClient, Client
from seqlore.client.errors import ServiceError
from seqlore.client.wire import ByTitle, Filters, NewItem

__all__ = ["AsyncClient", "ByTitle", "Client", "Filters", "NewItem", "ServiceError"]
