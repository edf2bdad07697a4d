from .edited import becomes, edited, refused

KEY = "key=lambda name: (len(str(name)), str(name))"


def test_numbered_files_are_put_in_numeric_order() -> None:
    becomes(
        "natural-order",
        """
        class Scans(Dataset):
            def __init__(self, folder):
                self.files = sorted(os.listdir(folder))
                self.labels = table["label"].tolist()  # here
        """,
        f"""
        class Scans(Dataset):
            def __init__(self, folder):
                self.files = sorted(os.listdir(folder), {KEY})
                self.labels = table["label"].tolist()
        """,
    )
    for files in (
        "glob.glob(f'{d}/*.png')",
        "Path(d).glob('*.png')",
        "[f for f in os.listdir(d) if f.endswith('g')]",
        "p.name for p in d.iterdir()",
    ):
        after = edited("natural-order", f"def load(d):\n    return sorted({files})  # here\n")
        assert KEY in after


def test_in_doubt_the_order_of_files_stays() -> None:
    for script in (
        "files = sorted(os.listdir(d), key=len)  # here\n",
        "files = sorted(os.listdir(d), reverse=True)  # here\n",
        "a, b = sorted(os.listdir(d)), sorted(os.listdir(e))  # here\n",
        "files = sorted(glob.glob(d + '/*/*.png'))  # here\n",
        "files = sorted(names)  # here\n",
        "files = os.listdir(d)  # here\n",
    ):
        assert refused("natural-order", script)


def test_picture_and_mask_are_transformed_as_one() -> None:
    becomes(
        "draw-once",
        """
        import torch

        class Cells(Dataset):
            def __getitem__(self, i):
                image, mask = self.images[i], self.masks[i]
                if self.augment is not None:
                    image = self.augment(image)  # here
                    mask = self.augment(mask)
                return image, mask
        """,
        """
        import torch

        class Cells(Dataset):
            def __getitem__(self, i):
                image, mask = self.images[i], self.masks[i]
                if self.augment is not None:
                    image, mask = self.augment(torch.cat([image, mask])).split([image.shape[0], mask.shape[0]])
                return image, mask
        """,
    )
    after = edited("draw-once", "import torch\ndef f(x, y):\n    a = flip(x)  # here\n    b = flip(y)\n    return a, b\n")
    assert "    a, b = flip(torch.cat([x, y])).split([x.shape[0], y.shape[0]])\n    return a, b\n" in after


def test_in_doubt_picture_and_mask_are_transformed_as_they_were() -> None:
    for lines in (
        ["a = f(a)", "b = g(b)"],
        ["a = f(a)", "b = f(a)"],
        ["a = f(a)", "a = f(b)"],
        ["a = f(a, 2)", "b = f(b, 2)"],
        ["a = f(a)", "draw()", "b = f(b)"],
        ["a = f(a)", "b = f(b)", "c = f(c)"],
        ["a = f(a)", "b = f(b)", "a = to_tensor(a)"],
        ["a = f(a)", "b = f(b)", "b = b.unsqueeze(0)"],
    ):
        body = "".join(f"    {row}\n" for row in lines).replace("\n", "  # here\n", 1)
        assert refused("draw-once", f"import torch\ndef read(a, b):\n{body}    return a, b\n")
    for steps, word in (("RandomRotation(9), ToTensor()", "tensors"), ("RandomRotation(9), ColorJitter(0.2)", "colours")):
        script = f"import torch\nf = Compose([{steps}])\ndef read(a, b):\n    a = f(a)  # here\n    b = f(b)\n    return a, b\n"
        assert word in refused("draw-once", script)
