"""What goes over the wire between ``seqlore serve`` and its clients, as types that both sides read.

Requests refuse unknown keys, so that a misspelt one is told and not passed over; answers take them, so that a client
reads a newer service. Lengths that depend on the service's settings are checked there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from seqlore.client.errors import ITEM_TAGS

#: An item's id as its catalogue writes it.
ItemId = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Text = Annotated[str, Field(max_length=20_000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Request(BaseModel):
    """The base of requests."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Answer(BaseModel):
    """The base of answers."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class ByTitle(Request):
    """An item named by words of its title: not exact, in any order, with typing errors."""

    title: Word


def _told(message: str) -> WrapValidator:
    """One sentence for a union, where pydantic would tell what is wrong with its first member."""

    def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("union", message) from None  # type: ignore[arg-type]

    return WrapValidator(check)


def _kind(ref: Any) -> str | None:
    by_id, by_title = ITEM_TAGS
    return by_id if isinstance(ref, str) else by_title if isinstance(ref, (dict, ByTitle)) else None


ItemRef = Annotated[
    Annotated[ItemId, Tag(ITEM_TAGS[0])] | Annotated[ByTitle, Tag(ITEM_TAGS[1])],
    Discriminator(
        _kind,
        custom_error_type="item_ref",
        custom_error_message='an item is its id, or {"title": "words of its title"}',
        custom_error_context={},
    ),
]
History = list[ItemRef]
Value = Annotated[str | int | float | bool, _told("must be text, a number, true or false")]
ModelName = Annotated[
    str | None,
    Field(description="A served model's name; none = the first that can.", examples=[None], max_length=256),
]
UserId = Annotated[str | None, Field(description="For models that know users; a stranger is served too.")]


class Filters(Request):
    """Which items may be listed; several conditions must all hold."""

    items: list[ItemId] | None = Field(default=None, description="Only these.")
    exclude: list[ItemId] | None = Field(default=None, description="None of these.")
    attributes: dict[str, list[Value]] | None = Field(
        default=None,
        description="Attribute → values, one of which the item must have; an attribute that is a list must hold one.",
        examples=[{"brand": ["Dove"]}],
    )


class RecommendRequest(Request):
    """One history, or many of them."""

    model: ModelName = None
    history: History | None = Field(default=None, description="Ids or titles, oldest first.", examples=[["B004756YJA"]])
    histories: list[History] | None = Field(default=None, description="Many histories; give this or `history`.")
    users: list[str] | None = Field(default=None, description="A user a history, for models that know users.")
    k: int = Field(default=10, ge=1, description="Length of each list.")
    exclude_seen: bool = Field(default=True, description="Leave the items of the history out of the list.")
    filters: Filters | None = None


class SimilarRequest(Request):
    """Items like one item."""

    model: ModelName = None
    item: ItemRef
    k: int = Field(default=10, ge=1)
    filters: Filters | None = None


class RerankRequest(Request):
    """Candidates to be put in the order in which a model would list them."""

    model: ModelName = None
    history: History = Field(examples=[["B004756YJA"]])
    candidates: Annotated[list[ItemRef], Field(min_length=1)]
    user: UserId = None
    exclude_seen: bool = Field(default=False, description="Leave out candidates that stand in the history.")


class ExplainRequest(Request):
    """Why items follow a history."""

    model: ModelName = None
    history: History
    items: Annotated[list[ItemId], Field(min_length=1, description="Recommended items to be explained.")]
    user: UserId = None
    nearest: int = Field(default=3, ge=0, description="Nearest items of the history to name.")
    label: bool = Field(
        default=False, description="Let the model say what each item is like, where it can; takes a while."
    )


class NewItem(BaseModel):
    """An item that came after training: its id and texts, under the names of the catalogue's columns."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[  # pyright: ignore
        str,
        Annotated[
            Text | list[str] | float | bool | None,
            _told("must be text of up to 20,000 characters, a list of texts, a number, true, false or null"),
        ],
    ]

    item_id: ItemId
    title: Word


class AddItemsRequest(Request):
    """New items, recommended from the next request on; they are gone when the service stops."""

    model: ModelName = None
    items: Annotated[list[NewItem], Field(min_length=1)]


class Item(Answer):
    """An item as it is shown."""

    item_id: str
    title: str


class ScoredItem(Item):
    """An item with the model's score; scores of different models do not compare."""

    score: float


class RecommendedList(Answer):
    """What one history is given. ``history``: how it was understood; ``unknown``: ids that the model does not know."""

    history: list[Item]
    unknown: list[str] = []
    items: list[ScoredItem]


class RecommendAnswer(Answer):
    """A list for each history, in their order."""

    model: str
    lists: list[RecommendedList]


class SimilarAnswer(Answer):
    """Items like one item; ``by`` vectors (cosine), or the model's list after this item alone."""

    model: str
    item: Item
    by: Literal["vectors", "list"]
    items: list[ScoredItem]


class RerankAnswer(Answer):
    """The candidates that the model knows, best first."""

    model: str
    unknown: list[str] = []
    items: list[ScoredItem]


class NearItem(Item):
    """An item of the history and how much it has to do with a recommended one."""

    weight: float


class Explanation(Answer):
    """Why one item.

    ``by`` "vectors": weights are cosines of item vectors; "occlusion": by how much the item's score falls when that
    item of the history is left out; "none": the model has neither. ``knowledge``: generated texts that the service
    holds on the item. ``label``: what the model itself says the item is like.
    """

    item_id: str
    title: str
    by: Literal["vectors", "occlusion", "none"]
    nearest: list[NearItem]
    knowledge: list[str] = []
    label: str | None = None


class ExplainAnswer(Answer):
    """An explanation for each item that was asked for, in their order."""

    model: str
    unknown: list[str] = []
    items: list[Explanation]


class ItemsAnswer(Answer):
    """Items of a catalogue. ``total``: all that there are, where nothing was searched for."""

    model: str
    total: int
    items: list[Item]


class ItemDetail(Item):
    """All that is known of an item."""

    attributes: dict[str, Any]
    knowledge: list[str] = []
    added: bool = False


class AddItemsAnswer(Answer):
    """Models that took the items, and why others did not."""

    models: list[str]
    refused: dict[str, str] = {}


class IndexInfo(Answer):
    """The index of a large catalogue. ``recall``: share of the exact list that it finds, at ``k``, on ``queries``
    queries; ``depth``: candidates that it scores exactly for each place of a list.
    """

    kind: str
    recall: float
    k: int
    queries: int
    depth: int


class ModelInfo(Answer):
    """A served model."""

    name: str
    model: str
    paper: str
    items: int
    abilities: list[str]
    attributes: list[str]
    digest: str
    loaded: str
    added: int = 0
    index: IndexInfo | None = None
    about: dict[str, Any] = {}


class ModelsAnswer(Answer):
    """Everything that is served, the default first."""

    models: list[ModelInfo]


class ReloadAnswer(Answer):
    """The model that now answers under this name."""

    model: ModelInfo


class Problem(Answer):
    """What was wrong: one sentence, and the field of the request where it was."""

    detail: str
    field: str | None = None


class BoardMetric(Answer):
    """One metric of a row: the mean over seeds, and the 95 % interval over cases."""

    mean: float | None
    interval: tuple[float, float] | None = None


class BoardRow(Answer):
    """One line of a leaderboard. ``served``: the name under which its model answers here, if it does."""

    label: str
    model: str
    ties: str
    seeds: int
    text: bool
    metrics: dict[str, BoardMetric]
    published: dict[str, float | None] = {}
    served: str | None = None


class Plot(Answer):
    """A figure, to be had at ``/v1/runs/{run}/plots/{plot}``."""

    title: str
    how: str


class Run(Answer):
    """A run folder: leaderboard and figures."""

    name: str
    metric: str
    protocol: str
    rows: list[BoardRow]
    plots: list[Plot]


class RunsAnswer(Answer):
    """All run folders that are served."""

    runs: list[Run]
