# What the stub of _core imports besides what nanobind finds.
_core.__prefix__:
    from .types import Costs, Memory
    __version__: str
