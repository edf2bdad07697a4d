"""A GRU that reads digits row by row, with Lightning."""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class RowReader(L.LightningModule):
    def __init__(self, hidden=48, lr=3e-3):
        super().__init__()
        self.lr = lr
        self.rnn = nn.GRU(input_size=8, hidden_size=hidden, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, rows):
        states, _ = self.rnn(rows)
        summary = states[:, -1].detach()  # fault: no-gradient
        return self.out(self.norm(summary))

    def training_step(self, batch, batch_idx):
        rows, labels = batch
        return F.cross_entropy(self(rows), labels)

    def validation_step(self, batch, batch_idx):
        rows, labels = batch
        scores = self(rows)
        self.log("val_loss", F.cross_entropy(scores, labels))
        self.log("val_acc", (scores.argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class DigitsData(L.LightningDataModule):
    def setup(self, stage=None):
        digits = load_digits()
        rows = torch.tensor(digits.images, dtype=torch.float32)
        labels = torch.tensor(digits.target)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        rows, labels = rows[order], labels[order]
        rows = (rows - rows[:1500].mean()) / rows[:1500].std()
        self.train_set, self.val_set = TensorDataset(rows[:1500], labels[:1500]), TensorDataset(rows[1500:], labels[1500:])

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=50, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=99)


if __name__ == "__main__":
    L.seed_everything(0)
    trainer = L.Trainer(max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(RowReader(), datamodule=DigitsData())
    print(f"validation accuracy {trainer.callback_metrics['val_acc']:.3f}")
