# pyarrow ships no types and makes much of its API when it is imported. The stubs on PyPI describe
# an API of six versions ago and refuse correct calls; so pyarrow is typed as Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
