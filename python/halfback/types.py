"""Names for what arguments accept."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, Union

#: ``"f,i,w"`` or ``"f,i,w,b"``, these numbers, a row of them for each stage (arrays too), or a cost file.
Costs: TypeAlias = Union[str, Sequence[float], Sequence[Sequence[float]], Mapping[str, Any], "os.PathLike[str]", Any]

#: The bytes of stages: a memory file as a path or a dictionary.
Memory: TypeAlias = Union[str, Mapping[str, Any], "os.PathLike[str]"]
