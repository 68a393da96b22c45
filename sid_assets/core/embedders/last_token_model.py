"""A transformer on a device: token ids in, unit vectors of the last token out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import torch


class LastTokenModel:
    """Loaded weights. Padding is on the left, so that the last position is a text's last token.

    Args:
        network: A transformer with a config, on the device.
        device: Where it runs.
        pad: Id of the padding token (masked, so that it has no effect).
    """

    def __init__(self, network: Any, device: str, pad: int) -> None:
        self._model = network.eval()
        self._device = device
        self._pad = pad
        self.vocabulary: int = network.config.vocab_size

    @classmethod
    def load(cls, model: str, revision: str | None, device: str, dtype: str, pad: int) -> Self:
        """Load weights.

        Args:
            model: Repository on the Hugging Face hub, or a folder.
            revision: Commit of the repository; None for a folder.
            device: Where it runs.
            dtype: Name of the weights' dtype.
            pad: Id of the padding token.
        """
        import torch
        from transformers import AutoModel

        network = AutoModel.from_pretrained(
            model,
            revision=revision,
            dtype=getattr(torch, dtype),
            attn_implementation=fastest_attention(device, dtype),
            use_safetensors=True,
            trust_remote_code=False,
        )
        return cls(network.to(device), device, pad)

    def embed(self, batch: Sequence[Sequence[int]]) -> np.ndarray | None:
        """The vectors of a batch of texts.

        Args:
            batch: Token ids of each text.

        Returns:
            float32, shape (len(batch), hidden size), unit norm; None if memory runs out.
        """
        import torch

        longest = max(map(len, batch))
        ids = np.full((len(batch), longest), self._pad, np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, text in enumerate(batch):
            ids[row, longest - len(text) :] = text
            mask[row, longest - len(text) :] = 1
        try:
            return self._embed_padded(torch.from_numpy(ids), torch.from_numpy(mask))
        except torch.OutOfMemoryError:
            pass  # frees the tensors that the traceback keeps alive, before the next try
        except RuntimeError as error:  # raised by the CPU allocator
            if "DefaultCPUAllocator" not in str(error):
                raise
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
        return None

    def close(self) -> None:
        """Free the weights."""
        import torch

        del self._model
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _embed_padded(self, ids: "torch.Tensor", mask: "torch.Tensor") -> np.ndarray:
        import torch

        # Without padding, no mask is needed, and attention is faster without one.
        padded = not bool(mask.all())
        mask = mask.to(self._device)
        with torch.inference_mode():
            states = self._model(
                input_ids=ids.to(self._device),
                attention_mask=mask if padded else None,
                # Positions count from a text's own first token, not from the padding.
                position_ids=(mask.cumsum(1) - 1).clamp(min=0) if padded else None,
                use_cache=False,
            ).last_hidden_state
            vectors = torch.nn.functional.normalize(states[:, -1].float(), dim=1)
        return vectors.cpu().numpy()


def fastest_attention(device: str, dtype: str) -> str:
    """The fastest attention implementation that this machine has."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    half = dtype in ("bfloat16", "float16")
    flash = device.startswith("cuda") and half and is_flash_attn_2_available()
    return "flash_attention_2" if flash else "sdpa"
