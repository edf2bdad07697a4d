from .edited import becomes, edited, refused


def test_pixels_are_scaled() -> None:
    assert edited("rescale-input", "x = raw.float().unsqueeze(1)  # here\n", by=255) == "x = raw.float().unsqueeze(1) / 255\n"
    assert refused("rescale-input", "x, y = raw.float(), labels  # here\n", by=255)
    assert refused("rescale-input", "x = load()  # here\n", by=255)


def test_missing_values_are_filled() -> None:
    assert (
        edited("fill-missing", "import torch\nx = torch.tensor(table)  # here\n")
        == "import torch\nx = torch.nan_to_num(torch.tensor(table))\n"
    )


def test_labels_are_counted_from_zero() -> None:
    assert edited("count-from-zero", "y = torch.from_numpy(t).long()  # here\n") == "y = torch.from_numpy(t).long() - 1\n"
    assert edited("count-from-zero", "y = t.long().to(d)  # here\n") == "y = (t.long() - 1).to(d)\n"


def test_both_parts_are_standardised_by_the_training_part() -> None:
    becomes(
        "standardise-input",
        """
        x_train, x_val = torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)  # here
        """,
        """
        x_train, x_val = torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)
        mean, std = x_train.mean(dim=0), x_train.std(dim=0).clamp(min=1e-6)
        x_train, x_val = (x_train - mean) / std, (x_val - mean) / std
        """,
    )


def test_validation_gets_a_transform_that_draws_nothing() -> None:
    becomes(
        "plain-validation",
        """
        from torch.utils.data import Subset, random_split
        augment = T.Compose([T.RandomCrop(28), T.ToTensor()])
        data = Digits("path", transform=augment)  # here
        train_set, val_set = random_split(data, [900, 100])
        """,
        """
        from torch.utils.data import Subset, random_split
        augment = T.Compose([T.RandomCrop(28), T.ToTensor()])
        data = Digits("path", transform=augment)
        train_set, val_set = random_split(data, [900, 100])
        val_set = Subset(Digits("path", transform=T.Compose([T.ToTensor()])), val_set.indices)
        """,
    )


def test_a_transform_with_an_unknown_step_is_left() -> None:
    script = """
    augment = T.Compose([Mine(), T.ToTensor()])
    data = Digits("path", transform=augment)  # here
    train_set, val_set = random_split(data, [900, 100])
    """
    assert refused("plain-validation", script)
