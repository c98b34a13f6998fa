"""What a new store says of itself, and how replicates are cut into blocks. Frozen: a change needs another schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mfstudy.replicate import field_names
from mfstudy.study import Block, Point, Study
from mfstudy.theory import claims

FORMAT = "mfstudy"
SCHEMA = 3


def block_length(size: int) -> int:
    """Return the number of replicates in a block at size N.

    16 up to N = 4096, then halved with each doubling of N: small blocks make retries cheap, long ones keep the
    number of files and of tasks low. Frozen with the store's schema; stored with each point.
    """
    return max(1, min(16, 2 ** int(math.log2(65536 / size)))) if size < 65536 else 1


def plan_blocks(replicates: Mapping[Point, int], lengths: Mapping[Point, int]) -> list[Block]:
    """Return the whole blocks that hold a number of replicates at each point, by point and index."""
    return [
        Block(point, index, lengths[point])
        for point, count in replicates.items()
        for index in range(math.ceil(count / lengths[point]))
    ]


def root_attributes(study: Study) -> dict[str, Any]:
    """Return all that reading needs, so that no component is imported then."""
    problem, law = study.problem, study.problem.initial
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "identity": problem.identity,
        "name": study.name,
        "problem": problem.canonical,
        "study": study.text,
        "force": problem.force,
        "save": list(problem.time.save),
        "fields": list(field_names(problem)),
        "observables": problem.tables,
        "theorems": [asdict(claim) for claim in claims(problem)],
        "law": {
            "support_dimension": law.support_dimension,
            "bounded": math.isfinite(law.support_radius),
            "regular": law.regular,
            "moment_order": law.moment_order if math.isfinite(law.moment_order) else None,
        },
    }
