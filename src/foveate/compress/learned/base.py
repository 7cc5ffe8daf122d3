"""The interface of learned compressors, and their table by name."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.registry import discover

Grid = int | tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class LearnedConfig:
    """What every learned compressor must know of the model around it.

    Attributes:
        grid: rows and columns of patches of a tile or frame; one number for a square.
        width: features of a patch, and of a token that comes out.
        multi_level_width: features of several vision layers side by side.
        text_width: features of the question's vector; 0 if the question is not used.
    """

    grid: Grid
    width: int
    multi_level_width: int
    text_width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", as_grid(self.grid))
        if self.width < 1 or min(self.multi_level_width, self.text_width) < 0:
            raise InputError(
                f"width must be at least 1 and the other widths at least 0, got {self}"
            )

    def to_dict(self) -> dict[str, Any]:
        """What a model's config.json keeps; `build` reads it."""
        return {key: _plain(value) for key, value in asdict(self).items()}


class LearnedCompressor(nn.Module):
    """Base of all learned compressors.

    Attributes:
        name: under which it is registered.
        needs: its inputs besides the patches, of "multi_level" and "text".
        config: its settings.
    """

    name: ClassVar[str]
    config: Any

    @property
    def needs(self) -> tuple[str, ...]:
        """Its inputs besides the patches."""
        return ()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            draw = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
            if module is not self and draw is not None:
                draw()

    def searching(self) -> list[nn.Parameter]:
        """The weights to train first, with projector and LLM frozen; by default all."""
        return list(self.parameters())

    def counts(self, grid: Grid | None = None) -> tuple[int, ...]:
        """Token counts that can be asked for at a grid, the largest first; default the config's grid."""
        raise NotImplementedError

    def count(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """Tokens that come out of one tile.

        Args:
            grid: of the tile; default the config's.
            tokens: how many are asked for; None for the most that it can make.

        Raises:
            InputError: it cannot make that many.
        """
        able = self.counts(grid)
        if tokens is not None and tokens not in able:
            shown = ", ".join(map(str, able[:8])) + (", ..." if len(able) > 8 else "")
            raise InputError(f"{self.name} makes {shown} tokens of this grid; asked for {tokens}")
        return able[0] if tokens is None else tokens

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """FLOPs of one tile; a multiply-add counts as 2."""
        raise NotImplementedError

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None = None,
        text: Float[Tensor, "B q T"] | None = None,
        *,
        grid: Grid | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "B n D"]:
        """Compress B tiles.

        Args:
            patches: (B, N, D), features of one vision layer, row by row.
            multi_level: (B, N, M), features of several vision layers, side by side.
            text: (B, q, T), the vectors of q questions about each tile; each question gets n tokens.
            grid: rows and columns of these tiles; default the config's.
            tokens: how many are asked for, where a compressor leaves the choice.
        """
        raise NotImplementedError

    def _place(self, patches: Tensor, grid: Grid | None) -> tuple[int, int]:
        """The grid of these patches.

        Raises:
            InputError: they are not as many as the grid has.
        """
        rows, columns = as_grid(self.config.grid if grid is None else grid)
        if patches.shape[1] != rows * columns:
            raise InputError(
                f"{self.name} got {patches.shape[1]} patches for a grid of {rows} x {columns}; "
                "name the grid of these tiles with grid=(rows, columns)"
            )
        return rows, columns

    def _needed(self, name: str, value: Tensor | None) -> Tensor:
        """A tensor that this compressor cannot do without.

        Raises:
            InputError: it is missing.
        """
        if value is None:
            raise InputError(f"{self.name} needs {name}; it looks at {', '.join(self.needs)}")
        return value


@dataclass(frozen=True)
class Learned:
    """One row of the table of learned compressors.

    Attributes:
        name: what a config and `foveate train` call it.
        paper: its source, as an arXiv number; "" for none.
        config: class of its settings.
        build: makes the module from them.
    """

    name: str
    paper: str
    config: type[LearnedConfig]
    build: Callable[[Any], LearnedCompressor]

    @property
    def summary(self) -> str:
        """First line of the module's docstring."""
        return (self.build.__doc__ or "").strip().splitlines()[0]


_TABLE: dict[str, Learned] = {}


def register_learned(
    name: str, *, config: type[LearnedConfig], paper: str = ""
) -> Callable[[type[T]], type[T]]:
    """Class decorator that enters a learned compressor into the table.

    Raises:
        InputError: the name is taken.
    """

    def enter(cls: type[T]) -> type[T]:
        if name in _TABLE and _TABLE[name].build.__qualname__ != cls.__qualname__:  # type: ignore[attr-defined]
            raise InputError(f"a learned compressor named {name!r} is already registered")
        cls.name = name  # type: ignore[attr-defined]
        _TABLE[name] = Learned(name, paper, config, cls)  # type: ignore[arg-type]
        return cls

    return enter


def learned() -> dict[str, Learned]:
    """All learned compressors by name, sorted."""
    discover("foveate.compress.learned")
    return dict(sorted(_TABLE.items()))


def build(name: str, **knobs: Any) -> LearnedCompressor:
    """Make a compressor from its name and settings: `build("quecc", grid=24, width=1024, ...)`.

    Lists are taken for tuples, as JSON has them.

    Raises:
        InputError: unknown name or setting, or a value out of range.
    """
    table = learned()
    if name not in table:
        raise InputError(f"unknown learned compressor {name!r}; known: {', '.join(table)}")
    row = table[name]
    knobs = {
        key: tuple(value) if isinstance(value, list) else value for key, value in knobs.items()
    }
    try:
        config = row.config(**knobs)
    except TypeError as error:
        allowed = ", ".join(field.name for field in fields(row.config))
        raise InputError(f"{name} cannot take {knobs}: {error}; its settings: {allowed}") from None
    return row.build(config)


def as_grid(grid: Grid | list[int]) -> tuple[int, int]:
    """Rows and columns.

    Raises:
        InputError: not a positive number nor a pair of them.
    """
    pair = (grid, grid) if isinstance(grid, int) else tuple(grid)
    if len(pair) != 2 or min(pair) < 1:
        raise InputError(f"grid must be a number or (rows, columns) of at least 1, got {grid!r}")
    return int(pair[0]), int(pair[1])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
