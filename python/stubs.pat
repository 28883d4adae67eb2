# What the stub of _core imports besides what nanobind finds.
__prefix__:
    import pandas
    from .types import Costs, Memory
    __version__: str
