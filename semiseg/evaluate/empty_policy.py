"""What a class scores where its truth or its prediction is empty, decided by the truth alone."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from semiseg.errors import UserError

_GOES_WITH: dict[str, str] = {"nan": "nan", "perfect": "worst"}
"""``both`` → the ``invented`` that goes with it: the two that let the truth alone decide."""


@dataclasses.dataclass(frozen=True)
class EmptyPolicy:
    """What a class scores where a mask is empty. Stored beside the results
    (``dataclasses.asdict``), because it moves their means.

    Whether a subject is scored depends on its truth, never on the prediction: else a method could
    leave subjects out of its own mean, or bring them in.

    Raises:
      UserError: an option that does not exist, or a pair that lets the prediction decide.

    Example:
      >>> EmptyPolicy(both="perfect", invented="worst")
      EmptyPolicy(both='perfect', missed='diagonal', invented='worst')
    """

    both: Literal["nan", "perfect"] = "nan"
    """Neither mask has a voxel: undefined, or ``perfect`` (overlap 1, distance 0), as some
    challenges do.
    """
    missed: Literal["diagonal"] = "diagonal"
    """Distance where the truth is present and the prediction empty: the image diagonal in units."""
    invented: Literal["nan", "worst"] = "nan"
    """The truth is empty and the prediction present: undefined, or with ``both="perfect"`` the
    worst value (overlap 0, the image diagonal).
    """

    def __post_init__(self) -> None:
        for name, kind in _OPTIONS.items():
            if getattr(self, name) not in kind:
                raise UserError(
                    f"empty policy: {name}={getattr(self, name)!r} does not exist; choose "
                    f"{' or '.join(kind)}"
                )
        if _GOES_WITH[self.both] != self.invented:
            raise UserError(
                f"empty policy: both={self.both!r} with invented={self.invented!r} would let a "
                f"prediction decide whether a subject is scored; give "
                f"invented={_GOES_WITH[self.both]!r}"
            )


_OPTIONS: dict[str, tuple[str, ...]] = {
    "both": ("nan", "perfect"),
    "missed": ("diagonal",),
    "invented": ("nan", "worst"),
}


TRUTH_DECIDES = EmptyPolicy()
"""The policy of every run: what has no truth is not scored, whatever is predicted."""


def policy_of(summary: dict[str, Any], split: str) -> dict[str, Any] | None:
    """The policy under which a run's last checkpoint was scored on a split; None if not recorded.

    Args:
      summary: content of summary.json.
      split: "val" or "test"; one that was evaluated later has a policy of its own.

    Example:
      >>> policy_of({"empty_policy": {"invented": "diagonal"}}, "val")
      {'invented': 'diagonal'}
    """
    by_split = summary.get("empty_policy_by_split", {})
    policy = by_split.get(split) or summary.get("empty_policy")
    return policy if isinstance(policy, dict) else None
