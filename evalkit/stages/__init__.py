"""The stages of a pipeline. Everything in ``__all__`` can be named in a spec."""

from evalkit.stages import assemble, chunk, embed, index, rerank, retrieve
from evalkit.stages.assemble import *  # noqa: F403
from evalkit.stages.chunk import *  # noqa: F403
from evalkit.stages.embed import *  # noqa: F403
from evalkit.stages.index import *  # noqa: F403
from evalkit.stages.rerank import *  # noqa: F403
from evalkit.stages.retrieve import *  # noqa: F403

__all__: list[str] = []
__all__ += chunk.__all__
__all__ += embed.__all__
__all__ += index.__all__
__all__ += retrieve.__all__
__all__ += rerank.__all__
__all__ += assemble.__all__
