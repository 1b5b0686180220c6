"""Published models: what they are called, where they lie, and how one's folder is fetched.

``places`` knows ModelScope, Hugging Face, mirrors and folders; ``fetch`` takes what is needed from
one of them; ``minilm`` finds the model that an optional package holds. ``pretrained`` then reads
the folder. Nothing here needs MindSpore.
"""

from step_llm.models.published.fetch import fetch_model, model_folder
from step_llm.models.published.minilm import INSTALL_MINILM, minilm_folder
from step_llm.models.published.places import KNOWN, FetchError

__all__ = [
    "INSTALL_MINILM", "KNOWN", "FetchError", "fetch_model", "minilm_folder", "model_folder",
]  # fmt: skip
