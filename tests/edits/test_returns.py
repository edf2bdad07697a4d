"""What a function hands back."""

from .edited import becomes, refused


def test_a_training_step_returns_its_loss_on_every_path() -> None:
    becomes(
        "return-loss",
        """
        class Net(LightningModule):
            def training_step(self, batch, index):
                loss = self.criterion(self(batch[0]), batch[1])
                if index % 10 == 9:
                    self.log("loss", loss)
                    return loss  # here

            def validation_step(self, batch, index):
                pass
        """,
        """
        class Net(LightningModule):
            def training_step(self, batch, index):
                loss = self.criterion(self(batch[0]), batch[1])
                if index % 10 == 9:
                    self.log("loss", loss)
                    return loss
                return loss

            def validation_step(self, batch, index):
                pass
        """,
    )


def test_a_training_step_without_a_return_gets_one() -> None:
    becomes(
        "return-loss",
        """
        def training_step(self, batch, index):
            train_loss = F.mse_loss(self(batch[0]), batch[1])  # here
            self.log("loss", train_loss)
        """,
        """
        def training_step(self, batch, index):
            train_loss = F.mse_loss(self(batch[0]), batch[1])
            self.log("loss", train_loss)
            return train_loss
        """,
    )


def test_what_is_returned_already_or_not_clear_is_left() -> None:
    refused("return-loss", "def f(self):\n    loss = g()  # here\n    return loss\n")
    refused("return-loss", "def f(self):\n    loss_a = g()  # here\n    loss_b = g()\n    show(loss_a)\n")
    refused("return-loss", "loss = g()  # here\n")
