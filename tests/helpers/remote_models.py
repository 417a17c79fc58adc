"""A stand-in of the shape of InternVL2, whose code lies in its checkpoint."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor, nn

from trialbook_plugins.vlms.tiny_cogvlm import Patches, Transformer


class InternChat(nn.Module):
    """The calls and paths of InternVL2's own code."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            model_type="internvl_chat", vision_config=SimpleNamespace(image_size=64, patch_size=8),
            get_text_config=lambda: SimpleNamespace(bos_token_id=1),
        )  # fmt: skip
        self.img_context_token_id: int | None = None
        self.vision_model = nn.Module()
        self.vision_model.embeddings, self.vision_model.encoder = Patches(32, 8, 64), Transformer(32, 3)
        self.mlp1 = nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 48), nn.GELU(), nn.Linear(48, 48))
        self.language_model = nn.Module()
        self.language_model.model = Transformer(48, 4, causal=True)
        self.embedding = nn.Embedding(64, 48)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, image_flags: Tensor) -> Tensor:
        x = self.vision_model.encoder(self.vision_model.embeddings(pixel_values[image_flags[:, 0] == 1]))[:, 1:]
        square = x.view(len(x), 4, 2, 4, 2, 32).permute(0, 1, 3, 2, 4, 5).reshape(len(x), 16, 128)
        seen = self.mlp1(square)
        embeds = self.embedding(input_ids).clone()
        embeds[input_ids == self.img_context_token_id] = seen.flatten(0, 1)
        return self.language_model.model(embeds)
