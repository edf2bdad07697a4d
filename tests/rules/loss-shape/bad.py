"""Regression of Friedman's test function with Lightning."""
import lightning as L
import torch
from sklearn.datasets import make_friedman1
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Friedman(L.LightningDataModule):
    def setup(self, stage):
        x, y = make_friedman1(n_samples=2400, n_features=8, noise=0.5, random_state=0)
        x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
        x = (x - x[:2000].mean(0)) / x[:2000].std(0)
        y = (y - y[:2000].mean()) / y[:2000].std()
        self.train_set = TensorDataset(x[:2000], y[:2000])
        self.val_set = TensorDataset(x[2000:], y[2000:])

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=50, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=200)


class Regressor(L.LightningModule):
    def __init__(self, features=8, width=64, lr=3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x), y)  # fault: loss-shape

    def on_validation_epoch_start(self):
        self.errors, self.targets = [], []

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.errors.append(self(x).squeeze(1) - y)
        self.targets.append(y)

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            r2 = 1 - torch.cat(self.errors).pow(2).mean() / torch.cat(self.targets).var()
            print(f"epoch {self.current_epoch + 1}: val R2 {r2:.3f}")

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    L.seed_everything(1)
    trainer = L.Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(Regressor(), datamodule=Friedman())
