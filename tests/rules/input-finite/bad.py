"""Malignant or benign, from a laboratory table in which some cells are blank. Lightning."""
import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def read_table():
    table, target = load_breast_cancer(return_X_y=True)
    blank = np.random.default_rng(5).random(table.shape) < 0.01
    return np.where(blank, np.nan, table), target


class Classifier(L.LightningModule):
    def __init__(self, features, width=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean(), on_epoch=True, batch_size=len(y))

    def on_train_epoch_end(self):
        metrics = self.trainer.callback_metrics
        print(f"epoch {self.current_epoch}: loss {metrics['train_loss']:.4f}, val acc {metrics['val_acc']:.4f}")

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main():
    L.seed_everything(0)
    table, target = read_table()
    x_train, x_val, y_train, y_val = train_test_split(table, target, test_size=0.25, stratify=target, random_state=0)
    mean, std = np.nanmean(x_train, axis=0), np.nanstd(x_train, axis=0)
    x_train, x_val = (torch.tensor((x - mean) / std, dtype=torch.float32) for x in (x_train, x_val))  # fault: input-finite
    y_train, y_val = torch.tensor(y_train), torch.tensor(y_val)
    train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(x_val.nan_to_num(0.0), y_val), batch_size=64)
    trainer = L.Trainer(
        max_epochs=12, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(Classifier(table.shape[1]), train_loader, val_loader)


if __name__ == "__main__":
    main()
