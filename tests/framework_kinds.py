"""Models of timm and transformers, an accelerate-prepared set, a Trainer, a LightningModule: added to the kinds that check() takes."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
import torch.nn.functional as F
from kinds import CLASSES, Call, Dicts, N, kind, loader, mlp, tokens, x, y
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@kind
def timm_model() -> Call:
    import timm

    model = timm.create_model("resnet10t", num_classes=CLASSES, in_chans=1, stem_width=8, channels=(8, 8, 8, 8))
    return (model, loader(torch.randn(N, 1, 32, 32), y)), {}


def hugging_face_model() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            num_labels=CLASSES,
        )
    )


@kind
def tokenised_dataset() -> Call:
    return (
        hugging_face_model(),
        DataLoader(Dicts(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=y), 8, shuffle=True),
    ), {}


def hugging_face_trainer(folder: str = tempfile.gettempdir(), **options: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        folder, per_device_train_batch_size=8, report_to=[], use_cpu=True, max_steps=6, save_strategy="no", disable_tqdm=True
    )
    data = Dicts(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=y)
    return Trainer(hugging_face_model(), arguments, train_dataset=data, eval_dataset=data, **options)


@kind
def hugging_face_trainer_object() -> Call:
    return (hugging_face_trainer(),), {}


@kind
def accelerate_prepared() -> Call:
    from accelerate import Accelerator

    model = mlp()
    model, optimizer, batches = Accelerator(cpu=True).prepare(model, torch.optim.AdamW(model.parameters(), 1e-3), loader(x, y))
    return (model, batches), {"optimizer": optimizer}


def lightning_module() -> Any:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.seen = mlp(), []

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = F.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss)
            self.seen.append(loss.item())
            return loss

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), 1e-3)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2)}}

    return Module()


@kind
def lightning_with_a_loader() -> Call:
    return (lightning_module(), loader(x, y)), {}


@kind
def lightning_with_a_data_module() -> Call:
    import lightning

    class Data(lightning.LightningDataModule):
        def setup(self, stage: str) -> None:
            self.train, self.val = TensorDataset(x[:32], y[:32]), TensorDataset(x[32:], y[32:])

        def train_dataloader(self) -> DataLoader:
            return DataLoader(self.train, 8, shuffle=True)

        def val_dataloader(self) -> DataLoader:
            return DataLoader(self.val, 8)

    return (lightning_module(), Data()), {}
